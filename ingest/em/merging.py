"""Pieces that continue from block to block, found in the blocks' outer planes, and joined into objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ingest.em.labelling import FACES, NEIGHBOURS, Connectivity, Labelling
from msl_store.store import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.em.stages import Stage
    from ingest.em.volume import Triple
    from msl_store.blockwise import Scheduler

BLOCKS_A_TASK = 16

LATER = [(a, b, c) for a, b, c in product((-1, 0, 1), repeat=3) if (a, b, c) > (0, 0, 0)]
"""The half of the 26 neighbouring blocks that come later: every pair of blocks is looked at once."""


@dataclass(frozen=True, eq=False)
class BlockPlanes:
    """What a block shows its neighbours.

    Attributes
    ----------
    shape : tuple of 3 ints
        The block's extents.
    planes : mapping of str to ndarray of uint32
        Labels on the outer planes, by the names `labelling.FACES`.
    value : ndarray
        The volume's label of each piece.
    """

    shape: Triple
    planes: dict[str, NDArray[np.uint32]]
    value: NDArray[np.generic]

    def border(self, step: Sequence[int]) -> NDArray[np.uint32]:
        """Return the labels at the border towards a neighbouring block: a plane, an edge or a corner, three axes."""
        axis = next(axis for axis in range(3) if step[axis])
        plane = np.expand_dims(self.planes[f"{'high' if step[axis] > 0 else 'low'}_{axis}"], axis)
        for other in range(axis + 1, 3):
            if step[other]:
                plane = plane.take([-1 if step[other] > 0 else 0], axis=other)
        return plane


def joined_pairs(
    here: BlockPlanes, there: BlockPlanes, step: Sequence[int], connectivity: Connectivity
) -> NDArray[np.uint32]:
    """Return which pieces of a block continue in a neighbouring one.

    Voxels on both sides of the border are compared at every shift along it that the connectivity allows: a neighbour
    differs by one along the axes that are crossed, and may differ by one along others, `NEIGHBOURS` axes in all.

    Parameters
    ----------
    here, there : BlockPlanes
        The two blocks.
    step : sequence of 3 ints
        From here to there, in blocks: -1, 0 or 1 along each axis.
    connectivity : {6, 18, 26}
        As of `Labelling`.

    Returns
    -------
    ndarray of uint32, shape (pair, 2)
        Labels here and there, each pair once, in order.
    """
    one, other = here.border(step), there.border([-s for s in step])
    spare = NEIGHBOURS[connectivity] - sum(map(abs, step))
    found = []
    for shift in product(*((0,) if s else (-1, 0, 1) for s in step)):
        if spare < sum(map(abs, shift)):
            continue
        a = one[tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, one.shape, strict=True))]
        b = other[tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, other.shape, strict=True))]
        both = (a != 0) & (b != 0)
        a, b = a[both].astype(np.uint64), b[both].astype(np.uint64)
        same = here.value[a - 1] == there.value[b - 1] if len(a) else np.zeros(0, np.bool_)
        found.append(np.unique(a[same] << np.uint64(32) | b[same]))
    codes = np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)
    return np.stack([codes >> np.uint64(32), codes & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def read_planes(labelling: Labelling, stage: Stage, numbers: Sequence[int]) -> dict[int, BlockPlanes]:
    """Return what some blocks show their neighbours."""
    paths = [stage.path(f"faces/{number:012d}") for number in numbers]
    answers = stage.work.get_many([(path, None) for path in paths])
    measures = stage.results(numbers)
    planes = {}
    for number, path, (data,), result in zip(numbers, paths, answers, measures, strict=True):
        faces = unpack(data, f"{stage.work.url}/{path}")[0]
        value = unpack(result, f"{stage.work.url}/{stage.folder}: block {number}")[0]["value"]
        planes[number] = BlockPlanes(labelling.grid.box(number).shape, {name: faces[name] for name in FACES}, value)
    return planes


def _join_blocks(labelling: Labelling, labels: Stage, stage: Stage, task: int) -> None:
    """Compare some blocks with those of their neighbours that come later, and write what is joined."""
    grid = labelling.grid
    rows = []
    for number in range(task * BLOCKS_A_TASK, min((task + 1) * BLOCKS_A_TASK, len(grid))):
        near = dict(_later_neighbours(labelling, number))
        planes = read_planes(labelling, labels, [number, *near])
        for neighbour, step in near.items():
            pairs = joined_pairs(planes[number], planes[neighbour], step, labelling.connectivity)
            blocks = np.broadcast_to(np.array([number, neighbour]), pairs.shape)
            rows.append(np.concatenate([blocks, pairs.astype(np.int64)], axis=1))
    joined = np.concatenate(rows) if rows else np.zeros((0, 4), np.int64)
    stage.finish(task, pack({"joined": joined}))


def _later_neighbours(labelling: Labelling, number: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Yield (block, step) of the neighbours of a block that come later and share a face, edge or corner that counts."""
    place, counts = labelling.grid.place(number), labelling.grid.counts
    for step in LATER:
        there = [p + s for p, s in zip(place, step, strict=True)]
        within = all(0 <= t < count for t, count in zip(there, counts, strict=True))
        if within and sum(map(abs, step)) <= NEIGHBOURS[labelling.connectivity]:
            yield labelling.grid.number(there), step


def joined_pieces(
    labelling: Labelling,
    labels: Stage,
    stage: Stage,
    *,
    scheduler: Scheduler,
    progress: Callable[[str, int, int], None],
) -> NDArray[np.int64]:
    """Return all pieces that continue in another block.

    Parameters
    ----------
    labelling : Labelling
        How the volume was taken apart.
    labels, stage : Stage
        Where the blocks' pieces are, and where to keep what is found.

    Returns
    -------
    ndarray of int64, shape (pair, 4)
        Block and block, label and label.
    """
    tasks = range(-(-len(labelling.grid) // BLOCKS_A_TASK))
    stage.run(
        {task: partial(_join_blocks, labelling, labels, stage, task) for task in tasks},
        scheduler=scheduler,
        progress=progress,
    )
    place = f"{stage.work.url}/{stage.folder}"
    return np.concatenate([unpack(result, place)[0]["joined"] for result in stage.results(tasks)])
