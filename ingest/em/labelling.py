"""Connected pieces of one block: their labels, their measures, and the block's outer planes for its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numba
import numpy as np

from ingest.em.downsample import CHUNK
from msl_store.errors import UsageError
from msl_store.store import BlockArray, pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ingest.em.stages import Stage
    from ingest.em.volume import Grid, Volume

Connectivity = Literal[6, 18, 26]

NEIGHBOURS = {6: 1, 18: 2, 26: 3}
"""Axes along which a neighbour may differ, by the connectivity's name."""

FACES = ("low_0", "high_0", "low_1", "high_1", "low_2", "high_2")
"""The outer planes of a block: of every axis the first and the last."""


@dataclass(frozen=True)
class Labelling:
    """How a volume is taken apart.

    Attributes
    ----------
    grid : Grid
        The volume in blocks.
    connectivity : {6, 18, 26}
        Whether voxels of equal labels are joined that share a face, also an edge, or also a corner.
    by_label : bool
        Every label is one object, whether its voxels are joined or not.
    """

    grid: Grid
    connectivity: Connectivity = 26
    by_label: bool = False

    def __post_init__(self) -> None:
        check_connectivity(self.connectivity)

    def labels(self, stage: Stage) -> BlockArray:
        """Return the array that holds every block's labels, which count from 1 in each block."""
        chunk = tuple(min(side, CHUNK) for side in self.grid.block)
        return BlockArray(stage.work, stage.path("labels"), self.grid.shape, "uint32", self.grid.block, chunk)

    def label_block(self, volume: Volume, stage: Stage, number: int) -> None:
        """Label one block and write its labels, its outer planes and the measures of its pieces."""
        box = self.grid.box(number)
        values = volume.read(box)
        labels, count = pieces_of(values, self.connectivity, by_label=self.by_label)
        measures = measure_pieces(labels, values, count, box.start, self.grid.shape)
        self.labels(stage).put(self.grid.place(number), labels)
        planes = {
            name: np.asarray(labels.take(0 if name.startswith("low") else -1, axis=int(name[-1]))) for name in FACES
        }
        stage.work.put(stage.path(f"faces/{number:012d}"), pack(planes))
        stage.finish(number, pack(measures))


def check_connectivity(connectivity: int) -> None:
    """Raise `UsageError` where there is no such connectivity."""
    if connectivity not in NEIGHBOURS:
        raise UsageError(f"connectivity {connectivity}: allowed are 6 (faces), 18 (edges) and 26 (corners)")


def block_of(side: int) -> tuple[int, int, int]:
    """Return cubic blocks, or raise `UsageError` where the side is no multiple of the chunks that are written."""
    if side < 8 or (side > CHUNK and side % CHUNK):
        raise UsageError(f"block {side}: allowed are 8 to {CHUNK} voxels, and multiples of {CHUNK}")
    return (side, side, side)


def pieces_of(
    values: NDArray[Any], connectivity: Connectivity, *, by_label: bool = False
) -> tuple[NDArray[np.uint32], int]:
    """Label the connected pieces of equal, non-zero values.

    Parameters
    ----------
    values : ndarray of bool or integers, shape (n_0, n_1, n_2)
        Labels, 0 outside.
    connectivity : {6, 18, 26}
        As of `Labelling`.
    by_label : bool
        All voxels of a value are one piece.

    Returns
    -------
    labels : ndarray of uint32, of the same shape
        1 to count, 0 outside.
    count : int
    """
    # cc3d fails on rows of bool, on labels beyond 2^63 and on strided arrays (4.1); equal stays equal in these views.
    plain = np.ascontiguousarray(values)
    plain = plain.view({np.bool_: np.uint8, np.uint64: np.int64}.get(plain.dtype.type, plain.dtype))
    if by_label:
        import fastremap

        labels, names = fastremap.renumber(plain, start=1, preserve_zero=True)
        return labels.astype(np.uint32, copy=False), sum(name != 0 for name in names)
    import cc3d

    found, count = cc3d.connected_components(plain, connectivity=connectivity, return_N=True, out_dtype=np.uint32)
    return found.astype(np.uint32, copy=False), int(count)


def measure_pieces(
    labels: NDArray[np.uint32],
    values: NDArray[Any],
    count: int,
    start: tuple[int, int, int],
    shape: tuple[int, int, int],
) -> Mapping[str, NDArray[Any]]:
    """Measure the pieces of a block in the coordinates of the volume, all of it in whole numbers.

    Returns
    -------
    mapping of str to ndarray
        By piece: ``voxels``; ``sums`` (piece, axis) of the voxels' coordinates; ``low`` and ``high`` (piece, axis), the
        box's first voxel and the one after its last; ``first``, the first voxel's number in the volume, counted along
        the last axis first; ``value``, the label in the volume.
    """
    plain = values.view(np.uint8) if values.dtype == np.bool_ else values
    voxels, sums, low, high, first = _measured(labels, count)
    value = np.zeros(count, plain.dtype)
    if count:
        value[:] = plain.reshape(-1)[first]
    corner = np.asarray(start, np.int64)
    place = np.stack(np.unravel_index(first, labels.shape), axis=1) + corner
    return {
        "voxels": voxels,
        "sums": sums + voxels[:, None] * corner,
        "low": low + corner,
        "high": high + corner,
        "first": (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2],
        "value": value,
    }


@numba.njit(cache=True, nogil=True)
def _measured(
    labels: NDArray[np.uint32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return voxels, sums of coordinates, box and first voxel of labels 1 to count, by runs along the last axis."""
    voxels = np.zeros(count, np.int64)
    sums = np.zeros((count, 3), np.int64)
    low = np.full((count, 3), np.iinfo(np.int64).max, np.int64)
    high = np.zeros((count, 3), np.int64)
    first = np.full(count, -1, np.int64)
    n0, n1, n2 = labels.shape
    for i in range(n0):
        for j in range(n1):
            k = 0
            while k < n2:
                label = labels[i, j, k]
                if label == 0:
                    k += 1
                    continue
                begin = k
                while k < n2 and labels[i, j, k] == label:
                    k += 1
                p, run = label - 1, k - begin
                if first[p] < 0:
                    first[p] = (i * n1 + j) * n2 + begin
                    low[p, 0] = i
                voxels[p] += run
                sums[p, 0] += run * i
                sums[p, 1] += run * j
                sums[p, 2] += run * (begin + k - 1) // 2
                low[p, 1], low[p, 2] = min(low[p, 1], j), min(low[p, 2], begin)
                high[p, 0], high[p, 1], high[p, 2] = i + 1, max(high[p, 1], j + 1), max(high[p, 2], k)
    return voxels, sums, low, high, first
