"""From a volume to its objects: copied where that is needed, labelled by blocks, joined, and chosen among."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.em.components import DUST, Border, Components, all_components, check_choice, chosen
from ingest.em.downsample import copied, copying
from ingest.em.labelling import Connectivity, Labelling, block_of, check_connectivity
from ingest.em.merging import joined_pieces
from ingest.em.stages import Stage
from ingest.em.volume import Box, Grid, Triple, digest_of
from msl_store.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ingest.em.volume import Volume
    from msl_store.blockwise import Scheduler
    from msl_store.store import Objects, ZarrArray

BLOCK_SIDE = 256

BYTES_A_VOXEL = 16
"""Memory that a voxel of a block takes at the most while it is labelled (6 of a mask, 8 of uint32 were measured)."""


@dataclass(frozen=True)
class Segmentation:
    """How a volume becomes objects.

    Attributes
    ----------
    downsample : tuple of 3 ints
        Voxels that become one, along each axis.
    connectivity : {6, 18, 26}
        Whether voxels of equal labels are joined that share a face, also an edge, or also a corner.
    by_label : bool
        Every label of the volume is one object, which has the label as its id.
    dust : int
        The fewest voxels (after downsampling) of an object that stays.
    border : {"mark", "keep", "drop"}
        Objects at the volume's border: see `components.chosen`.
    block : int
        Edge of a block in voxels. It bounds the memory, and changes nothing else.
    """

    downsample: Triple = (1, 1, 1)
    connectivity: Connectivity = 26
    by_label: bool = False
    dust: int = DUST
    border: Border = "mark"
    block: int = BLOCK_SIDE

    def __post_init__(self) -> None:
        check_connectivity(self.connectivity)
        check_choice(dust=self.dust, border=self.border)
        block_of(self.block)
        if min(self.downsample) < 1:
            raise UsageError(f"downsample {self.downsample}: allowed are whole numbers, 1 or more")

    def to_dict(self) -> dict[str, Any]:
        """Return what the result depends on, as JSON types."""
        found = asdict(self)
        del found["block"]
        return {**found, "downsample": list(self.downsample)}


@dataclass(frozen=True, eq=False)
class Segmented:
    """A volume's objects, and where their voxels are.

    Attributes
    ----------
    labelling : Labelling
        The volume in blocks.
    labels : ZarrArray
        Every block's labels.
    components : Components
        The objects that were chosen.
    found : int
        Objects before the choice.
    digest : str
        Of all that this depends on.
    """

    labelling: Labelling
    labels: ZarrArray
    components: Components
    found: int
    digest: str


@dataclass(frozen=True)
class Place:
    """Where one object's voxels are; pickles, so that a worker can crop it.

    Attributes
    ----------
    labels : ZarrArray
        Every block's labels.
    grid : Grid
        The blocks.
    box : Box
        The object's.
    pieces : tuple of (int, int)
        The blocks that hold a part of it, and its label there.
    voxels : int
        How many it has.
    """

    labels: ZarrArray
    grid: Grid
    box: Box
    pieces: tuple[tuple[int, int], ...]
    voxels: int

    def crop(self, margin: Sequence[int] = (0, 0, 0)) -> NDArray[np.bool_]:
        """Return the object's box and a margin of outside around it: True in the object, and nowhere else.

        Raises
        ------
        IntegrityError
            The labels do not hold what was found in them.
        """
        out = np.zeros([side + 2 * m for side, m in zip(self.box.shape, margin, strict=True)], np.bool_)
        inner = out[tuple(slice(m, m + side) for m, side in zip(margin, self.box.shape, strict=True))]
        wanted: dict[int, list[int]] = {}
        for block, label in self.pieces:
            wanted.setdefault(block, []).append(label)
        for block, own in wanted.items():
            part = self.grid.box(block).common(self.box)
            values = self.labels.read(part.slices)
            inner[part.seen_from(self.box.start).slices] = values == own[0] if len(own) == 1 else np.isin(values, own)
        found = int(np.count_nonzero(inner))
        if found != self.voxels:
            raise IntegrityError(
                f"{self.labels.url}: {self.box} holds {found} voxels of an object of {self.voxels}: the work place has "
                "changed since the volume was labelled; remove it and run this again"
            )
        return out


def place_of(segmented: Segmented, row: int) -> Place:
    """Return where an object's voxels are, by its row in the components."""
    components = segmented.components
    pieces, voxels = components.pieces(row), int(components.voxels[row])
    return Place(segmented.labels, segmented.labelling.grid, components.box(row), pieces, voxels)


def segment(
    volume: Volume,
    work: Objects,
    options: Segmentation,
    *,
    scheduler: Scheduler = None,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _all: None,
) -> Segmented:
    """Find the objects of a volume, or go on where an earlier run was stopped.

    Memory is bounded by the blocks that are under way, `BYTES_A_VOXEL` a voxel, whatever the volume; besides, a few
    hundred bytes for every piece of an object in a block.

    Parameters
    ----------
    volume : Volume
        The labels.
    work : Objects
        Where intermediate results are kept.
    options : Segmentation
        What to do.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it.
    progress : callable
        Called with a stage's name, the pieces of work done and their number.

    Raises
    ------
    UsageError
        An option is not allowed.
    """
    block = block_of(options.block)
    source = volume
    budget = math.prod(block)
    small = all(c <= b for c, b in zip(volume.chunk, block, strict=True))
    if options.downsample != (1, 1, 1) or not small:
        plan = copying(volume, options.downsample, budget)
        stage = Stage(work, "volume", digest_of(volume.digest, list(options.downsample), list(plan.grid.block)))
        source = copied(plan, stage, scheduler=scheduler, progress=progress)
    labelling = Labelling(Grid(source.shape, block), options.connectivity, options.by_label)
    labels = Stage(work, "labels", digest_of(source.digest, options.connectivity, options.by_label, list(block)))
    array = labelling.labels(labels)
    array.create(("z", "y", "x"))
    labels.run(
        {number: partial(labelling.label_block, source, labels, number) for number in range(len(labelling.grid))},
        scheduler=scheduler,
        progress=progress,
    )
    joined = np.zeros((0, 4), np.int64)
    if not options.by_label:
        joined = joined_pieces(labelling, labels, labels.next("joins"), scheduler=scheduler, progress=progress)
    everything = all_components(labelling, labels, joined)
    components = chosen(everything, labelling, dust=options.dust, border=options.border)
    digest = digest_of(volume.digest, options.to_dict())
    return Segmented(labelling, array.reading(), components, len(everything), digest)
