"""Find pieces in packs without a lock: by key, and believed by digest."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msl_store.cache.packs import NOTHING_READ, DamagedPieceError, key_of, pack_of, read_record, scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from msl_store.cache.packs import Extent, PackIndex

log = logging.getLogger("msl_store.cache")

INDEXES_KEPT = 1024
"""Packs whose records' places a process remembers; a hundred places take 20 kB."""


class _Wanted(NamedTuple):
    """One of the extents that are looked for: its number, its key, and the extent."""

    number: int
    key: bytes
    extent: Extent


@dataclass
class Found:
    """What was found of one object.

    Attributes
    ----------
    bodies : list of memoryview or None
        A body an extent that was asked for; None where it is not there.
    packs : list of Path or None
        Where each was found.
    damaged : dict of bytes to Path
        Keys of pieces that failed their digest, and the packs where they lie.
    broken : set of Path
        Packs that cannot be read to their end.
    """

    bodies: list[memoryview | None]
    packs: list[Path | None]
    damaged: dict[bytes, Path] = field(default_factory=dict)
    broken: set[Path] = field(default_factory=set)


class Finder:
    """What a process remembers of packs, and how it reads them."""

    def __init__(self) -> None:
        self._indexes: dict[Path, PackIndex] = {}

    def find(self, path: str, extents: Sequence[Extent], places: Sequence[Path]) -> Found:
        """Look for pieces of one object in some folders' packs; what cannot be read is not there."""
        found = Found([None] * len(extents), [None] * len(extents))
        packs: dict[str, list[_Wanted]] = {}
        for number, extent in enumerate(extents):
            packs.setdefault(pack_of(path, extent), []).append(_Wanted(number, key_of(path, extent), extent))
        for name, wanted in packs.items():
            left = wanted
            for place in places:
                left = self._look_into(place / name, left, found)
                if not left:
                    break
        return found

    def _look_into(self, pack: Path, wanted: list[_Wanted], found: Found) -> list[_Wanted]:
        """Read what a pack has of what is wanted; return the rest."""
        try:
            fd = os.open(pack, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return wanted
        except OSError as error:
            log.warning("%s: %s; what it holds is fetched again", pack, error)
            return wanted
        try:
            index = scan(fd, self._indexes.get(pack, NOTHING_READ))
            left = self._read(fd, index, pack, wanted, found)
            if left and (not index.sound or any(item.key in index.offsets for item in left)):
                index = scan(fd)  # another file may have taken the name since it was read before
                left = self._read(fd, index, pack, left, found)
            if not index.sound and os.fstat(fd).st_size > index.end:
                found.broken.add(pack)
            self._remember(pack, index)
            if len(left) < len(wanted):
                with suppress(PermissionError):  # of somebody else's cache, which may be read all the same
                    os.utime(fd)
        except OSError as error:
            log.warning("%s: %s; what it holds is fetched again", pack, error)
            return [item for item in wanted if found.bodies[item.number] is None]
        finally:
            os.close(fd)
        return left

    @staticmethod
    def _read(fd: int, index: PackIndex, pack: Path, wanted: list[_Wanted], found: Found) -> list[_Wanted]:
        left = []
        for item in wanted:
            offset = index.offsets.get(item.key)
            body = None
            if offset is not None:
                try:
                    body = read_record(fd, offset, item.key, item.extent)
                    if found.damaged.get(item.key) == pack:
                        del found.damaged[item.key]
                except DamagedPieceError:
                    found.damaged[item.key] = pack
            if body is None:
                left.append(item)
            else:
                found.bodies[item.number], found.packs[item.number] = body, pack
        return left

    def _remember(self, pack: Path, index: PackIndex) -> None:
        if len(self._indexes) >= INDEXES_KEPT and pack not in self._indexes:
            self._indexes.clear()
        self._indexes[pack] = index
