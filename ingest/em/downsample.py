"""Smaller volumes: every voxel is what most of the voxels in it are, computed block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from ingest.em.ngff import ZarrVolume, zarr_volume
from ingest.em.volume import Grid, Triple
from msl_store.errors import UsageError
from msl_store.store import BlockArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ingest.em.stages import Stage
    from ingest.em.volume import Volume
    from msl_store.blockwise import Scheduler

CHUNK = 64
"""Edge of a chunk of the volumes that this package writes: what a small object's crop decodes at the least."""


def mode_of_cells(values: NDArray[Any], factor: Triple) -> NDArray[Any]:
    """Return the most frequent value of every cell of voxels: the majority of a mask, the mode of labels.

    Of values that are equally frequent the smallest is taken: outside, where just half of a cell is inside.

    Parameters
    ----------
    values : ndarray of bool or integers, shape (n_0, n_1, n_2)
        Labels.
    factor : tuple of 3 ints
        Extents of a cell; voxels at the upper ends that fill no whole cell are left out.

    Returns
    -------
    ndarray, shape (n_0 // factor_0, n_1 // factor_1, n_2 // factor_2)
        Of the same type.

    Examples
    --------
    >>> mode_of_cells(np.array([[[1, 1, 0, 7, 7, 0]]]), (1, 1, 3))
    array([[[1, 7]]])
    """
    shape = tuple(extent // f for extent, f in zip(values.shape, factor, strict=True))
    plain = values.view(np.uint8) if values.dtype == np.bool_ else values
    out = np.empty(shape, plain.dtype)
    _fill_modes(np.ascontiguousarray(plain), out, *factor)
    return out.view(values.dtype)


@numba.njit(cache=True, nogil=True)
def _fill_modes(values: NDArray[Any], out: NDArray[Any], f0: int, f1: int, f2: int) -> None:
    size = f0 * f1 * f2
    cell = np.empty(size, values.dtype)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                first, alike, n = values[i * f0, j * f1, k * f2], True, 0
                for a in range(i * f0, (i + 1) * f0):
                    for b in range(j * f1, (j + 1) * f1):
                        for c in range(k * f2, (k + 1) * f2):
                            cell[n] = values[a, b, c]
                            alike &= cell[n] == first
                            n += 1
                if alike:
                    out[i, j, k] = first
                    continue
                cell.sort()
                most, start = 0, 0
                for n in range(1, size + 1):
                    if n == size or cell[n] != cell[start]:
                        if n - start > most:
                            most = n - start
                            out[i, j, k] = cell[start]
                        start = n


@dataclass(frozen=True)
class Copying:
    """A volume on its way into blocks: smaller, and stored so that boxes of it are quick to read.

    Attributes
    ----------
    volume : Volume
        Where the labels come from.
    factor : tuple of 3 ints
        Voxels that become one, along each axis.
    grid : Grid
        The blocks of the result.
    """

    volume: Volume
    factor: Triple
    grid: Grid

    def target(self, stage: Stage) -> BlockArray:
        """Return the array that the stage writes."""
        chunk = tuple(min(side, CHUNK) for side in self.grid.block)
        dtype = str(self.volume.dtype)
        return BlockArray(stage.work, stage.path("volume"), self.grid.shape, dtype, self.grid.block, chunk)

    def copy(self, stage: Stage, number: int) -> None:
        """Read, shrink and write one block."""
        values = self.volume.read(self.grid.box(number).scaled(self.factor))
        self.target(stage).put(self.grid.place(number), mode_of_cells(values, self.factor))
        stage.finish(number)


def copying(volume: Volume, factor: Triple, budget: int) -> Copying:
    """Plan the copy of a volume.

    Parameters
    ----------
    volume : Volume
        What to copy.
    factor : tuple of 3 ints
        Voxels that become one, along each axis; voxels at the upper ends that fill no whole one are left out.
    budget : int
        The most voxels of the volume that a block may take. Only where a single chunk (a slice, as images of slices
        are read whole) has more are more in memory: that chunk's.

    Raises
    ------
    UsageError
        A factor is less than 1 or leaves nothing of the volume.
    """
    if min(factor) < 1 or any(f > extent for f, extent in zip(factor, volume.shape, strict=True)):
        raise UsageError(
            f"{volume.name}: downsampling by {','.join(map(str, factor))} of {volume.shape} voxels: allowed are whole "
            "numbers from 1 to the extents"
        )
    first, second, third = (extent // f for extent, f in zip(volume.shape, factor, strict=True))
    shape = (first, second, third)
    return Copying(volume, factor, Grid(shape, _copied_block(volume.chunk, factor, shape, budget)))


def _copied_block(chunk: Triple, factor: Triple, shape: Triple, budget: int) -> Triple:
    """Return blocks that take whole chunks of the volume, as many as the budget allows."""
    least = [c // math.gcd(c, f) for c, f in zip(chunk, factor, strict=True)]
    side = [min(own, extent) for own, extent in zip(least, shape, strict=True)]

    def taken(sides: Sequence[int]) -> int:
        return math.prod(s * f for s, f in zip(sides, factor, strict=True))

    while taken(side) > budget and max(side) > 1:
        longest = side.index(max(side))
        side[longest] = -(-side[longest] // 2)
    while True:
        grown = [
            [min(s * 2, extent) if axis == own else s for axis, s in enumerate(side)]
            for own, extent in enumerate(shape)
            if side[own] < extent
        ]
        fitting = [sides for sides in grown if taken(sides) <= budget]
        if not fitting:
            break
        side = min(fitting, key=lambda sides: (max(sides), sides))
    # Whole chunks of what is written; where a block spans the axis, the last chunk may reach beyond it.
    first, second, third = (
        s if s <= CHUNK else (-(-s // CHUNK) if s == extent else s // CHUNK) * CHUNK
        for s, extent in zip(side, shape, strict=True)
    )
    return (first, second, third)


def copied(
    plan: Copying, stage: Stage, *, scheduler: Scheduler, progress: Callable[[str, int, int], None]
) -> ZarrVolume:
    """Copy a volume into a stage and return the copy, whose digest is the stage's."""
    target = plan.target(stage)
    target.create(("z", "y", "x"))
    tasks = {number: partial(plan.copy, stage, number) for number in range(len(plan.grid))}
    stage.run(tasks, scheduler=scheduler, progress=progress)
    return replace(zarr_volume(target.reading(), None), digest=stage.digest)
