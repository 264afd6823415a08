"""What is wrong with one block of a library: objects, their indexes, every chunk, every instance's digest."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.contents import PARTS, Contents
from msl_store.errors import IntegrityError, MissingError
from msl_store.layout import part_rows
from msl_store.schema import BLOCK
from msl_store.store import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.contents import Instance
    from msl_store.store import Piece, Store

TOGETHER = 8
"""Instances that are read and tested together, fewer where they are large; whole ones take about 7 MB in memory."""

HEADS_AT_ONCE = 16
"""Sizes of objects that are asked for at the same time."""


@dataclass(frozen=True, order=True)
class Damage:
    """Something in a library that is not as it should be.

    Attributes
    ----------
    place : str
        The object, chunk, column or instance.
    reason : str
        What is wrong with it.
    """

    place: str
    reason: str

    def __str__(self) -> str:
        """Return ``place: reason``."""
        return f"{self.place}: {self.reason}"


@dataclass(eq=False)
class BlockState:
    """What was found of a block.

    Attributes
    ----------
    damages : set of Damage
        Everything that is wrong.
    sizes : dict of str to int or None
        The objects that should be there, each with the size that its index gives it; None where it has no index, or
        none that can be read.
    chunks : int
        How many chunks should be there.
    """

    damages: set[Damage] = field(default_factory=set)
    sizes: dict[str, int | None] = field(default_factory=dict)
    chunks: int = 0


def size_damage(path: str, found: int | None, expected: int | None) -> Damage | None:
    """Return what is wrong with the size of an object that should be there; `found` is None where it is not."""
    if found is None:
        return Damage(path, "the object is missing")
    if expected is None or found == expected:
        return None
    what = "it was cut short" if found < expected else "something follows its last chunk"
    return Damage(path, f"has {found} bytes, its index says {expected}: {what}")


def check_block(store: Store, block: int, *, read: bool, digests: bool, ask_sizes: bool) -> BlockState:
    """Look for everything that is wrong with a block of a library.

    Parameters
    ----------
    store : Store
        The library; the columns `msl_store.contents.INDEX_COLUMNS` must be sound.
    block : int
        Which block.
    read : bool
        Read every chunk and test its checksum; else only the shards' indexes.
    digests : bool
        Test what is read against the digests of the instances.
    ask_sizes : bool
        Ask the server for the size of every object.
    """
    check = _Check(store, block)
    check.indexes()
    if ask_sizes:
        check.sizes()
    if read:
        check.values(digests=digests)
    return check.state


class _Check:
    """One block under test."""

    def __init__(self, store: Store, block: int) -> None:
        self.state = BlockState()
        self._store = store
        self._contents = Contents(store)
        self._rows = range(block * BLOCK, min((block + 1) * BLOCK, len(store.ids)))
        self._wants = {row: dict(self._contents.wants(row, PARTS)) for row in self._rows}
        self._pieces = {
            row: {path: store.pieces(want) for path, want in self._wants[row].items()} for row in self._rows
        }
        self._lost: set[str] = set()
        self._missing: set[tuple[str, int]] = set()

    def _lose(self, damage: Damage, path: str) -> None:
        """Note what is wrong with a whole object, of which nothing is read from then on."""
        if path not in self._lost:
            self._lost.add(path)
            self.state.damages.add(damage)

    def _fault(self, place: str, error: IntegrityError) -> Damage:
        """Return an error as a damage: its message begins with the place already."""
        return Damage(place, str(error).removeprefix(f"{self._store.url}/{place}").lstrip(": "))

    def indexes(self) -> None:
        """Compare which chunks the shards have with which they should have."""
        pieces = [piece for parts in self._pieces.values() for group in parts.values() for piece in group]
        expected: dict[str, set[int]] = {}
        for piece in pieces:
            expected.setdefault(piece.path, set()).add(piece.number)
        self.state.chunks = sum(map(len, expected.values()))
        self.state.sizes = dict.fromkeys(expected)
        for path, error in self._store.learn(pieces).items():
            self._lose(self._fault(path, error), path)
        for path in {piece.path for piece in pieces if piece.array.shard is not None} - self._lost:
            index = self._store.index(path)
            if index is None:
                self._lose(Damage(path, "the object is missing"), path)
                continue
            there = np.flatnonzero(index[:, 0] != MISSING)
            self.state.sizes[path] = int(index[there].sum(axis=1).max(initial=np.uint64(0)))
            numbers = set(there.tolist())
            for number in expected[path] - numbers:
                self._missing.add((path, number))
                self.state.damages.add(Damage(f"{path} chunk {number}", "is missing, though an instance has it"))
            for number in numbers - expected[path]:
                self.state.damages.add(Damage(f"{path} chunk {number}", "is there, though no instance has it"))

    def sizes(self) -> None:
        """Compare the objects' sizes with what the server says."""
        paths = [path for path in self.state.sizes if path not in self._lost]
        with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
            for path, found in zip(paths, pool.map(self._size, paths), strict=True):
                if damage := size_damage(path, found, self.state.sizes[path]):
                    self._lose(damage, path)

    def _size(self, path: str) -> int | None:
        try:
            return self._store.objects.size(path)
        except MissingError:
            return None

    def values(self, *, digests: bool) -> None:
        """Read every chunk that is there, and every instance that is whole."""
        arrays = (self._store.array(path) for path in {path for wants in self._wants.values() for path in wants})
        sizes = [math.prod(array.shape[1:]) * array.dtype.itemsize for array in arrays if array.dims[0] == "instance"]
        together = min(TOGETHER, part_rows(sum(sizes)))
        for first in range(0, len(self._rows), together):
            rows = self._rows[first : first + together]
            values = {row: {path: self._store.empty(w) for path, w in self._wants[row].items()} for row in rows}
            places = [
                (row, path, piece) for row in rows for path, group in self._pieces[row].items() for piece in group
            ]
            good = [place for place in places if self._is_there(place[2])]
            spoiled = {row for row, _, piece in places if not self._is_there(piece)}
            spoiled |= self._fetch(good, values)
            for row in rows:
                if row not in spoiled:
                    found = self._contents.assembled(row, values[row])
                    self.state.damages.update(_face_damages(found))
                    if digests and self._digest_of(row) != found.digest:
                        reason = "its arrays do not have the digest in instances/digest: they, or it, have changed"
                        self.state.damages.add(Damage(f"instance {found.id}", reason))

    def _is_there(self, piece: Piece) -> bool:
        return piece.path not in self._lost and (piece.path, piece.number) not in self._missing

    def _fetch(
        self, places: Sequence[tuple[int, str, Piece]], values: Mapping[int, Mapping[str, NDArray[Any]]]
    ) -> set[int]:
        """Fetch and decode chunks into the rows' values; return the rows of which something is damaged."""
        spoiled: set[int] = set()

        def decode(number: int, data: memoryview | None) -> None:
            row, path, piece = places[number]
            try:
                if data is not None:
                    values[row][path][piece.to] = self._store.decoded(piece, data)[piece.take]
                    return
                damage = Damage(piece.path, "the object is missing")
            except IntegrityError as error:
                damage = self._fault(f"{piece.path} chunk {piece.number}", error)
            spoiled.add(row)
            if data is None or piece.array.shard is None:
                self._lose(Damage(piece.path, damage.reason), piece.path)
            else:
                place = f"{damage.place} (instance {self._store.ids[row]})"
                self.state.damages.add(Damage(place, damage.reason))

        try:
            self._store.fetch([piece for _, _, piece in places], decode)
        except IntegrityError as error:  # an object is shorter than its index says: find out which
            paths = sorted({piece.path for _, _, piece in places})
            if len(paths) == 1:
                self._lose(self._fault(paths[0], error), paths[0])
                return {row for row, _, _ in places}
            for path in paths:
                spoiled |= self._fetch([place for place in places if place[2].path == path], values)
        return spoiled

    def _digest_of(self, row: int) -> bytes:
        stored: bytes = self._store.columns(["instances/digest"])["instances/digest"][row].tobytes()
        return stored


def _face_damages(found: Instance) -> Iterator[Damage]:
    """Yield what is wrong with an instance's faces."""
    mesh = found.mesh
    if mesh is not None and len(mesh.faces) and (largest := int(mesh.faces.max())) >= len(mesh.vertices):
        last = len(mesh.vertices) - 1
        reason = f"a face names vertex {largest}, but the mesh has {last + 1} (0 to {last})"
        yield Damage(f"instance {found.id}", reason)
