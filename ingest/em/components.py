"""The objects of a volume: pieces of blocks joined, measured, numbered, and chosen among."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from ingest.em.volume import Box
from msl_store.errors import UsageError
from msl_store.store import unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest.em.labelling import Labelling
    from ingest.em.stages import Stage

Border = Literal["keep", "drop", "mark"]

DUST = 2000
"""Voxels of the smallest object that is kept; the paper's EM volumes hold smaller ones, which are no mitochondria."""


@dataclass(frozen=True, eq=False)
class Components:
    """Objects of a volume, in the order of their ids.

    Attributes
    ----------
    ids : ndarray of int64, shape (object,)
        1, 2, ... in the order of the objects' first voxels (counted along the last axis first), so that they do not
        depend on blocks; or the volume's own labels where these are trusted.
    voxels : ndarray of int64, shape (object,)
        How many voxels each has.
    centroid : ndarray of float64, shape (object, axis)
        Mean coordinates of the voxels; voxel centres are whole numbers.
    low, high : ndarray of int64, shape (object, axis)
        The box: its first voxel, and the one after its last.
    touches_border : ndarray of bool, shape (object,)
        The object reaches the border of the volume, so that part of it may be missing.
    value : ndarray, shape (object,)
        The volume's label.
    piece_start : ndarray of int64, shape (object + 1,)
        Where each object's pieces start in the next two.
    piece_block, piece_label : ndarray of int64, shape (piece,)
        The blocks that hold a part of the object, and the labels that it has there.
    """

    ids: NDArray[np.int64]
    voxels: NDArray[np.int64]
    centroid: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    touches_border: NDArray[np.bool_]
    value: NDArray[Any]
    piece_start: NDArray[np.int64]
    piece_block: NDArray[np.int64]
    piece_label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def box(self, row: int) -> Box:
        """Return an object's box."""
        a, b, c = self.low[row].tolist()
        d, e, f = self.high[row].tolist()
        return Box((a, b, c), (d, e, f))

    def pieces(self, row: int) -> tuple[tuple[int, int], ...]:
        """Return (block, label) of an object's pieces."""
        part = slice(int(self.piece_start[row]), int(self.piece_start[row + 1]))
        return tuple(zip(self.piece_block[part].tolist(), self.piece_label[part].tolist(), strict=True))

    def taken(self, keep: NDArray[np.bool_]) -> Self:
        """Return some of the objects."""
        counts = np.diff(self.piece_start)
        kept = {field.name: getattr(self, field.name)[keep] for field in fields(self) if "piece" not in field.name}
        pieces = np.repeat(keep, counts)
        return replace(
            self,
            **kept,
            piece_start=np.concatenate([[0], np.cumsum(counts[keep])]),
            piece_block=self.piece_block[pieces],
            piece_label=self.piece_label[pieces],
        )


def all_components(labelling: Labelling, labels: Stage, joined: NDArray[np.int64]) -> Components:
    """Join pieces into objects.

    Memory grows with the number of pieces, some 200 bytes each, and with nothing else.

    Parameters
    ----------
    labelling : Labelling
        How the volume was taken apart.
    labels : Stage
        Where the blocks' pieces are.
    joined : ndarray of int64, shape (pair, 4)
        From `merging.joined_pieces`; not needed where labels are trusted.

    Raises
    ------
    UsageError
        A label is negative, or too large for an id where labels are trusted.
    """
    numbers = range(len(labelling.grid))
    place = f"{labels.work.url}/{labels.folder}"
    found = [unpack(result, place)[0] for result in labels.results(numbers)]
    counts = np.array([len(piece["voxels"]) for piece in found], np.int64)
    pieces = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    first_piece = np.concatenate([[0], np.cumsum(counts)])
    if labelling.by_label:
        _, root = np.unique(pieces["value"], return_inverse=True)
        count = int(root.max()) + 1 if len(root) else 0
    else:
        count, root = _roots(len(pieces["voxels"]), first_piece[joined[:, :2]] + joined[:, 2:] - 1)
    order = np.argsort(root, kind="stable")
    size = np.bincount(root, minlength=count)
    start = np.concatenate([[0], np.cumsum(size)])
    voxels = _reduced(np.add, pieces["voxels"], order, start)
    low = _reduced(np.minimum, pieces["low"], order, start)
    high = _reduced(np.maximum, pieces["high"], order, start)
    first = _reduced(np.minimum, pieces["first"], order, start)
    value = pieces["value"][order][start[:-1]]
    most = 2**63 - 1 if labelling.by_label else 2**64 - 1
    if len(value) and not 0 < int(value.min()) <= int(value.max()) <= most:
        raise UsageError(
            f"labels run from {value.min()} to {value.max()}; allowed are 0 outside and 1 to 2^63 - 1"
            + (" where labels name objects" if labelling.by_label else "")
            + ": renumber them"
        )
    unnumbered = Components(
        ids=value.astype(np.int64) if labelling.by_label else first,
        voxels=voxels,
        centroid=_reduced(np.add, pieces["sums"], order, start) / np.maximum(voxels, 1)[:, None],
        low=low,
        high=high,
        touches_border=(low == 0).any(axis=1) | (high == np.array(labelling.grid.shape)).any(axis=1),
        value=value,
        piece_start=start,
        piece_block=np.repeat(np.arange(len(counts)), counts)[order],
        piece_label=(np.arange(len(root)) - np.repeat(first_piece[:-1], counts) + 1)[order],
    )
    return _sorted(unnumbered)


def check_choice(*, dust: int, border: str) -> None:
    """Raise `UsageError` where `chosen` does not allow its arguments."""
    if dust < 0:
        raise UsageError(f"dust {dust}: allowed is 0 or more voxels")
    if border not in get_args(Border):
        raise UsageError(f"border {border!r}: allowed are {', '.join(get_args(Border))}")


def chosen(components: Components, labelling: Labelling, *, dust: int = DUST, border: Border = "mark") -> Components:
    """Leave out dust and, where asked, objects cut by the volume's border; number the rest.

    Parameters
    ----------
    components : Components
        All objects.
    labelling : Labelling
        How they were found.
    dust : int
        The fewest voxels of an object that stays.
    border : {"mark", "keep", "drop"}
        Objects at the border of the volume: ``drop`` leaves them out. The others keep them; a library made with
        ``mark`` says in a column which they are, one made with ``keep`` has no such column.

    Raises
    ------
    UsageError
        An argument is not allowed.
    """
    check_choice(dust=dust, border=border)
    keep = components.voxels >= dust
    if border == "drop":
        keep &= ~components.touches_border
    found = components.taken(keep)
    return found if labelling.by_label else replace(found, ids=np.arange(1, len(found) + 1))


def _roots(count: int, edges: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Return how many sets of joined pieces there are, and each piece's."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return 0, np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(edges), np.bool_), edges.T), shape=(count, count))
    sets, root = connected_components(graph, directed=False)
    return int(sets), np.asarray(root, np.int64)


def _reduced(
    function: np.ufunc, values: NDArray[Any], order: NDArray[np.int64], start: NDArray[np.int64]
) -> NDArray[Any]:
    """Reduce the values of each object's pieces to one."""
    if not len(order):
        return values
    return np.asarray(function.reduceat(values[order], start[:-1], axis=0))


def _sorted(components: Components) -> Components:
    """Return the objects in the order of their ids."""
    order = np.argsort(components.ids, kind="stable")
    counts = np.diff(components.piece_start)
    plain = {
        field.name: getattr(components, field.name)[order] for field in fields(components) if "piece" not in field.name
    }
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    pieces = np.argsort(np.repeat(rank, counts), kind="stable")
    return Components(
        **plain,
        piece_start=np.concatenate([[0], np.cumsum(counts[order])]),
        piece_block=components.piece_block[pieces],
        piece_label=components.piece_label[pieces],
    )
