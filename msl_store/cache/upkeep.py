"""Pins made and undone, packs checked and repaired: what changes a cache besides reading."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msl_store.cache.change import remove_if_empty
from msl_store.cache.inventory import ABOUT_PIN, PINS, packs_in, read_document, remove_pack, write_document
from msl_store.cache.packs import DamagedPieceError, read_record, scan
from msl_store.cache.place import PLACE_SLACK_BYTES, prepare_place
from msl_store.errors import MissingError

if TYPE_CHECKING:
    from pathlib import Path

    from msl_store.cache.change import Change
    from msl_store.cache.folder import CacheFolder
    from msl_store.cache.shelf import Shelf


@dataclass(frozen=True)
class Damage:
    """What a check found: the library's URL, the damaged file, and how many of its bytes were kept and cut off."""

    url: str
    pack: Path
    kept_bytes: int
    lost_bytes: int
    pinned: bool


def _good_bytes(fd: int) -> tuple[int, bool]:
    """Return how many bytes of a pack are good from its start on, and whether damage follows.

    Damage is what is no record, and a piece that fails its digest unless a later record replaces it.
    """
    index = scan(fd)
    for key, offset in sorted(index.offsets.items(), key=lambda item: item[1]):
        try:
            good = read_record(fd, offset, key, None) is not None
        except DamagedPieceError:
            good = False
        if not good:
            return offset, True
    return index.end, not index.sound


def repair(change: Change, pack: Path, url: str) -> Damage | None:
    """Cut a pack off where its damage begins; what is lost is fetched again, and a pin that loses it is incomplete.

    Returns
    -------
    Damage or None
        None where the pack is good, or gone.
    """
    try:
        fd = os.open(pack, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        good, damaged = _good_bytes(fd)
        lost = os.fstat(fd).st_size - good
        if not damaged:
            return None
        os.ftruncate(fd, good)
    finally:
        os.close(fd)
    pinned = pack.parent.parent.name == PINS
    if pinned:
        _set_complete(pack.parent, complete=False)
    change.book(damaged=1)
    return Damage(url, pack, good, lost, pinned)


def find_damage(folder: CacheFolder) -> list[Damage]:
    """Check every piece of a cache against its digest, and repair what is damaged."""
    found = []
    for holding in folder.report()[0].holdings:
        for pack in holding.packs:
            try:
                fd = os.open(pack.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                damaged = _good_bytes(fd)[1]
            finally:
                os.close(fd)
            if damaged:
                with folder.changing() as change:
                    damage = repair(change, pack.path, holding.url)
                found += [] if damage is None else [damage]
    return found


def begin_pin(shelf: Shelf, name: str, about: dict[str, Any]) -> bool:
    """Make a pin's folder, or go on with it; False where there is no room for it."""
    place = shelf.pin_place(name)
    with shelf.folder.changing() as change:
        if not change.reserve(PLACE_SLACK_BYTES):
            return False
        prepare_place(shelf.folder.path, shelf.key)
        place.mkdir(parents=True, exist_ok=True)
        write_document(place / ABOUT_PIN, {**about, "complete": False})
        change.count()
    return True


def complete_pin(shelf: Shelf, name: str) -> None:
    """Write down that all of a pin is there; `MissingError` where another process has undone it meanwhile."""
    place = shelf.pin_place(name)
    with shelf.folder.changing():
        if not place.is_dir():
            raise MissingError(f"{shelf.folder.path}: the pin {name} was undone while it was made; pin it again")
        _set_complete(place, complete=True)


def _set_complete(pin: Path, *, complete: bool) -> None:
    write_document(pin / ABOUT_PIN, {**read_document(pin / ABOUT_PIN), "complete": complete})


def remove_pin(change: Change, pin: Path) -> None:
    """Undo a pin: what it held may be evicted from now on."""
    _set_complete(pin, complete=False)
    library = pin.parent.parent
    for pack in packs_in(pin):
        other = library / pack.name
        if other.exists() and other.stat().st_size >= pack.stat().st_size:
            remove_pack(pack)
        else:
            pack.replace(other)
    (pin / ABOUT_PIN).unlink(missing_ok=True)
    remove_if_empty(pin)
    remove_if_empty(pin.parent)
    change.count()
