"""A block of a library made of another library's chunks: moved as they are stored, checked, never compressed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from msl_store.errors import FormatError
from msl_store.store.sharding import shard_parts, verified
from msl_store.store.writing import BlockWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from msl_store.layout import ArrayLayout, Layout
    from msl_store.store.objects import Body
    from msl_store.store.pieces import Piece, Want
    from msl_store.store.reading import Store

T = TypeVar("T")

Seen = Callable[[int, Mapping[str, "NDArray[Any]"]], None]
"""Told a row of the new library, and the values that it took of every array, as reading them gives them."""

TOGETHER_BYTES = 64 * 1024 * 1024
"""Objects of a block whose chunks together are smaller than this are fetched together; a larger one by itself."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What one row of the new library takes of an array of the old one.

    Attributes
    ----------
    row : int
        The row of the new library; one of its block's.
    want : Want
        What of the old array: one row of it, narrowed in other dimensions or not, or an instance's rows of a ragged
        array.
    """

    row: int
    want: Want


@dataclass(frozen=True, eq=False)
class _Move:
    """A chunk, what it was taken for, and its number in the object that it goes to."""

    taken: Taken
    piece: Piece
    number: int


@dataclass(frozen=True, eq=False)
class _Shard:
    """An object to be: its path, how many chunks it can hold, and those that go there."""

    path: str
    slots: int
    moves: list[_Move] = field(default_factory=list)


class BlockCopy:
    """One block of a new library, from chunks of another.

    Arrays come in the order given, and while some objects are written the next ones are under way.

    Parameters
    ----------
    source : Store
        The other library.
    layout : Layout
        Of the new library.
    block : int
        Which block of it.
    taken : mapping of str to sequence of Taken
        What the block's rows take of every array that has shards, by its path in both libraries.
    seen : callable, optional
        Called for every row that takes anything, when all of it has come; without it nothing is decompressed.
    """

    def __init__(
        self,
        source: Store,
        layout: Layout,
        block: int,
        taken: Mapping[str, Sequence[Taken]],
        *,
        seen: Seen | None = None,
    ) -> None:
        self._source = source
        self._rows = None if seen is None else _Rows(source, seen)
        self._taken = taken
        self._layout = layout
        self.encoded = BlockWriter(layout, block)
        """For the block's values that are no chunks of their own, and so are encoded anew."""

    def objects(self) -> Iterator[tuple[str, Body]]:
        """Yield every stored object of the block as (path, bytes).

        Raises
        ------
        IntegrityError
            A chunk of the source is damaged or missing; the message names it.
        """
        yield from self.encoded.objects()
        for group, chunks in _one_ahead(self._fetched()):
            for shard in group:
                slots: list[memoryview | None] = [None] * shard.slots
                for move in shard.moves:
                    slots[move.number] = chunks[move]
                    if self._rows is not None:
                        self._rows.add(move, chunks[move])
                yield shard.path, shard_parts(slots)

    def _shards(self, path: str, taken: Sequence[Taken]) -> list[_Shard]:
        """Return the objects that an array's chunks make, in the order of the rows."""
        array = self._layout.array(self._layout.spec(path))
        slots = math.prod(array.chunks_per_shard)
        shards: dict[str, _Shard] = {}
        for name, move in _moves(self._source, self._layout, array, taken):
            shards.setdefault(name, _Shard(name, slots)).moves.append(move)
        return list(shards.values())

    def _groups(self, shards: Sequence[_Shard]) -> Iterator[list[_Shard]]:
        """Yield the objects whose chunks are fetched together."""
        group: list[_Shard] = []
        size = 0
        for shard in shards:
            ranges = (self._source.range_of(move.piece) for move in shard.moves)
            here = sum(stop - start for start, stop in ranges)
            if group and size + here > TOGETHER_BYTES:
                yield group
                group, size = [], 0
            group.append(shard)
            size += here
        yield group

    def _fetched(self) -> Iterator[tuple[list[_Shard], Mapping[_Move, memoryview]]]:
        """Yield objects together with their chunks as they are stored, checksums tested."""
        shards = [shard for path, taken in self._taken.items() for shard in self._shards(path, taken)]
        for fault in self._source.learn(move.piece for shard in shards for move in shard.moves).values():
            raise fault
        if self._rows is not None:
            self._rows.expect([move for shard in shards for move in shard.moves])
        for group in self._groups(shards):
            yield group, self._chunks([move for shard in group for move in shard.moves])

    def _chunks(self, moves: Sequence[_Move]) -> Mapping[_Move, memoryview]:
        found: dict[_Move, memoryview] = {}

        def check(number: int, data: memoryview | None) -> None:
            piece = moves[number].piece
            if data is None:
                raise self._source.missing(piece)
            verified(data, self._source.place_of(piece))
            found[moves[number]] = data

        self._source.fetch([move.piece for move in moves], check)
        return found


class _Rows:
    """The chunks of rows that are not whole yet, held as they are stored."""

    def __init__(self, source: Store, seen: Seen) -> None:
        self._source = source
        self._seen = seen
        self._left: dict[int, int] = {}
        self._held: dict[int, list[tuple[_Move, memoryview]]] = {}

    def expect(self, moves: Sequence[_Move]) -> None:
        """Count the chunks that are to come."""
        for move in moves:
            self._left[move.taken.row] = self._left.get(move.taken.row, 0) + 1

    def add(self, move: _Move, chunk: memoryview) -> None:
        """Hold a chunk; hand its row on where that is whole now."""
        row = move.taken.row
        self._held.setdefault(row, []).append((move, chunk))
        self._left[row] -= 1
        if self._left[row]:
            return
        values: dict[str, NDArray[Any]] = {}
        for one, data in self._held.pop(row):
            path = one.taken.want.path
            if path not in values:
                values[path] = self._source.empty(one.taken.want)
            values[path][one.piece.to] = self._source.decoded(one.piece, data)[one.piece.take]
        self._seen(row, values)


def _moves(source: Store, layout: Layout, array: ArrayLayout, taken: Sequence[Taken]) -> Iterator[tuple[str, _Move]]:
    """Yield every chunk that some rows take, with the object that it goes to."""
    starts = layout.starts(array.spec.path)[0] if array.spec.kind == "ragged" else None
    for one in taken:
        first = one.row if starts is None else int(starts[one.row]) // array.chunk[0]
        for piece in source.pieces(one.want):
            if not _is_whole(piece, array):
                raise FormatError(
                    f"{source.place_of(piece)}: holds more than what is taken of it, so it cannot be moved as it is; "
                    f"the schema has chunks of {array.chunk} that start with an instance: ingest this library again"
                )
            inner = [to.start // extent for to, extent in zip(piece.to, array.chunk, strict=True)]
            name, number = array.object_of([first + inner[0], *inner[1:]])
            yield name, _Move(one, piece, number)


def _is_whole(piece: Piece, array: ArrayLayout) -> bool:
    """Whether a chunk is a chunk of the new array too."""
    places = zip(piece.to, piece.take, array.chunk, strict=True)
    return piece.array.chunk == array.chunk and all(
        isinstance(to, slice) and isinstance(take, slice) and take.start == to.start % extent == 0
        for to, take, extent in places
    )


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield what an iterator yields, the next under way in a thread while one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="msl-store-ahead") as pool:
        coming = pool.submit(list, islice(items, 1))
        while found := coming.result():
            coming = pool.submit(list, islice(items, 1))
            yield found[0]
