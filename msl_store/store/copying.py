"""A block of a library made of another library's chunks: moved as they are stored, checked, never compressed again."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from msl_store.errors import FormatError
from msl_store.store.sharding import encode_shard, verified
from msl_store.store.writing import BlockWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.layout import ArrayLayout, Layout
    from msl_store.store.pieces import Piece, Want
    from msl_store.store.reading import Store

T = TypeVar("T")

Seen = Callable[[str, int, "NDArray[Any]"], None]
"""Told an array's path, a row of the new library, and the values that it took, without the instance dimension."""

TOGETHER_BYTES = 64 * 1024 * 1024
"""Arrays of a block whose chunks together are smaller than this are fetched together; a larger one by itself."""


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
    """A chunk, and which chunk of which new object it becomes."""

    taken: Taken
    piece: Piece
    path: str
    number: int


class BlockCopy:
    """One block of a new library, from chunks of another.

    Arrays are fetched in the order given, and while one is written the next is under way.

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
        Called for every row of an array when it has been fetched, array after array; without it nothing is
        decompressed.
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
        self._seen = seen
        self._moves = {path: _moves(source, layout, path, taken[path]) for path in taken}
        self._kinds = {path: layout.spec(path).kind for path in taken}
        self._slots = {path: math.prod(layout.array(layout.spec(path)).chunks_per_shard) for path in taken}
        self.encoded = BlockWriter(layout, block)
        """For the block's values that are no chunks of their own, and so are encoded anew."""

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Yield every stored object of the block as (path, bytes).

        Raises
        ------
        IntegrityError
            A chunk of the source is damaged or missing; the message names it.
        """
        yield from self.encoded.objects()
        yield from _one_ahead(self._copied())

    def _copied(self) -> Iterator[tuple[str, bytes]]:
        for fault in self._source.learn(move.piece for moves in self._moves.values() for move in moves).values():
            raise fault
        for paths in self._groups():
            moves = [move for path in paths for move in self._moves[path]]
            chunks = dict(zip(moves, self._fetched(moves), strict=True))
            for path in paths:
                if self._seen is not None:
                    self._show(path, chunks, self._seen)
                yield from self._shards(path, chunks)

    def _groups(self) -> Iterator[list[str]]:
        """Yield the arrays that are fetched together."""
        group: list[str] = []
        size = 0
        for path, moves in self._moves.items():
            ranges = (self._source.range_of(move.piece) for move in moves)
            here = sum(stop - start for start, stop in ranges)
            if group and size + here > TOGETHER_BYTES:
                yield group
                group, size = [], 0
            group.append(path)
            size += here
        yield group

    def _fetched(self, moves: Sequence[_Move]) -> list[memoryview]:
        """Return chunks as they are stored, their checksums tested."""
        found: dict[int, memoryview] = {}

        def check(number: int, data: memoryview | None) -> None:
            piece = moves[number].piece
            if data is None:
                raise self._source.missing(piece)
            verified(data, self._source.place_of(piece))
            found[number] = data

        self._source.fetch([move.piece for move in moves], check)
        return [found[number] for number in range(len(moves))]

    def _shards(self, path: str, chunks: Mapping[_Move, memoryview]) -> Iterator[tuple[str, bytes]]:
        """Yield an array's new objects."""
        shards: dict[str, dict[int, memoryview]] = {}
        for move in self._moves[path]:
            shards.setdefault(move.path, {})[move.number] = chunks[move]
        for name in sorted(shards):
            yield name, encode_shard([shards[name].get(slot) for slot in range(self._slots[path])])

    def _show(self, path: str, chunks: Mapping[_Move, memoryview], seen: Seen) -> None:
        """Decode what every row took, and hand it on."""
        values: dict[int, NDArray[Any]] = {}
        for move in self._moves[path]:
            row, want = move.taken.row, move.taken.want
            if row not in values:
                values[row] = self._source.empty(want)
            values[row][move.piece.to] = self._source.decoded(move.piece, chunks[move])[move.piece.take]
        for row, value in values.items():
            seen(path, row, value if self._kinds[path] == "ragged" else value[0])


def _moves(source: Store, layout: Layout, path: str, taken: Sequence[Taken]) -> list[_Move]:
    """Return where every chunk that some rows take goes."""
    array = layout.array(layout.spec(path))
    starts = layout.starts(path)[0] if array.spec.kind == "ragged" else None
    moves = []
    for one in taken:
        first = one.row if starts is None else int(starts[one.row]) // array.chunk[0]
        for piece in source.pieces(one.want):
            if not _is_whole(piece, array):
                raise FormatError(
                    f"{source.place_of(piece)}: holds more than what is taken of it, so it cannot be moved as it is; "
                    f"the schema has chunks of {array.chunk} that start with an instance: ingest this library again"
                )
            inner = [to.start // extent for to, extent in zip(piece.to, array.chunk, strict=True)]
            moves.append(_Move(one, piece, *array.object_of([first + inner[0], *inner[1:]])))
    return moves


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
