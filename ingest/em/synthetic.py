"""A made-up EM segmentation of any size: mitochondria of all kinds, dust between them, cut off at the borders.

Space is a lattice of cells; every cell draws its objects from the seed and its own place, so that any block of a volume
of any size is made from the few cells around it. Sizes follow `ingest.procedural`; lengths are in voxels of 24 nm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numba
import numpy as np

from ingest.em.downsample import CHUNK
from ingest.em.volume import Box, Edges, Grid, Triple, digest_of
from ingest.implicit import Tube, relative_square, segment_box
from msl_store.blockwise import run_blocks
from msl_store.errors import UsageError
from msl_store.shapes import VOXEL_UM
from msl_store.store import BlockArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from msl_store.blockwise import Outcome, Scheduler
    from msl_store.store import Objects

CELL = 128
"""Edge of a cell in voxels."""

REACH = CELL
"""How far an object reaches beyond its own cell at most, in voxels."""

KINDS = ("rod", "rod", "rod", "dot", "ring", "branched", "network")
"""What a cell's mitochondrion may be, by frequency."""

OBJECTS = 2
"""Mitochondria that a cell draws; some meet those of other cells."""

DUST = 3
"""Specks in a cell, far smaller than a mitochondrion: what a segmentation leaves behind."""

BLOCK = 128
"""Edge of a block of the volume, one stored object."""


@dataclass(frozen=True)
class SampleVolume:
    """A volume that is made where it is read.

    Attributes
    ----------
    shape : tuple of 3 ints
        Extents in voxels.
    seed : int
        Chooses everything in it; the same seed gives the same objects in volumes of all sizes.
    labelled : bool
        Whether voxels hold the number of their object's cell (1, 2, ...), as an instance segmentation would, or just 1.
        Dust and networks have the number of the cell that drew them; where objects meet, the later cell's is written.
    """

    shape: Triple
    seed: int = 0
    labelled: bool = False

    name: ClassVar[str] = "made up"
    chunk: ClassVar[Triple] = (1, 1, 1)
    voxel_nm: ClassVar[Edges] = (1000 * VOXEL_UM, 1000 * VOXEL_UM, 1000 * VOXEL_UM)

    @property
    def digest(self) -> str:
        """Of what chooses the voxels."""
        return digest_of("sample", list(self.shape), self.seed, self.labelled)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        return np.dtype(np.uint32 if self.labelled else np.uint8)

    def read(self, box: Box) -> NDArray[Any]:
        """Make the voxels of a box."""
        out = np.zeros(box.shape, self.dtype)
        lattice = [-(-extent // CELL) + 1 for extent in self.shape]
        near = [range((a - REACH) // CELL, -(-(b + REACH) // CELL)) for a, b in zip(box.start, box.stop, strict=True)]
        for place in product(*near):
            if not all(-1 <= at < count for at, count in zip(place, lattice, strict=True)):
                continue
            number = int(np.ravel_multi_index([at + 1 for at in place], [count + 1 for count in lattice]))
            value = number + 1 if self.labelled else 1
            for tube in cell_tubes(self.seed, place):
                _paint(out, tube.points - np.array(box.start), tube.radii, value)
        return out


@lru_cache(maxsize=4096)
def cell_tubes(seed: int, place: Triple) -> tuple[Tube, ...]:
    """Draw the objects of a cell, as tubes in the volume's coordinates."""
    rng = np.random.default_rng([seed, *(at + 1 for at in place)])
    corner = np.array(place, np.float64) * CELL
    tubes = []
    for _ in range(OBJECTS):
        middle = corner + rng.uniform(0.1, 0.9, 3) * CELL
        tubes += _DRAWN[KINDS[int(rng.integers(len(KINDS)))]](rng, middle)
    specks = corner + rng.uniform(0, CELL, (DUST, 3))
    tubes += [Tube(np.stack([speck, speck + rng.normal(0, 2, 3)]), rng.uniform(1.5, 4, 2)) for speck in specks]
    return tuple(_within_reach(tube, corner) for tube in tubes)


def _within_reach(tube: Tube, corner: NDArray[np.float64]) -> Tube:
    """Pull in whatever would reach too far from the cell."""
    edge = REACH - tube.radii[:, None] - 1
    return Tube(np.clip(tube.points, corner - edge, corner + CELL + edge), tube.radii)


def _line(rng: np.random.Generator, start: NDArray[np.float64], length: float, bend: float) -> NDArray[np.float64]:
    """Draw a line whose direction drifts, with a point about every four voxels."""
    steps = max(2, round(length / 4))
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    points = [start]
    for _ in range(steps):
        direction = direction + rng.normal(0, bend, 3)
        direction /= np.linalg.norm(direction)
        points.append(points[-1] + direction * length / steps)
    return np.array(points)


def _radii(rng: np.random.Generator, count: int, width: float) -> NDArray[np.float64]:
    """Draw radii that vary slowly along a line."""
    knots = rng.normal(1.0, 0.12, 6).clip(0.7, 1.3)
    return np.asarray(width * np.interp(np.linspace(0, 5, count), np.arange(6), knots))


def _centred(points: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points + middle - points.mean(axis=0))


def _rod(rng: np.random.Generator, middle: NDArray[np.float64]) -> list[Tube]:
    line = _centred(_line(rng, middle, float(np.exp(rng.uniform(np.log(60), np.log(220)))), 0.12), middle)
    return [Tube(line, _radii(rng, len(line), rng.uniform(7, 12)))]


def _dot(rng: np.random.Generator, middle: NDArray[np.float64]) -> list[Tube]:
    line = _centred(_line(rng, middle, rng.uniform(4, 12), 0.1), middle)
    return [Tube(line, _radii(rng, len(line), rng.uniform(9, 16)))]


def _ring(rng: np.random.Generator, middle: NDArray[np.float64]) -> list[Tube]:
    width = rng.uniform(5.5, 9)
    angle = np.linspace(0, 2 * np.pi, 49)
    across = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    ring = width * rng.uniform(2.4, 3.6) * (np.cos(angle)[:, None] * across[0] + np.sin(angle)[:, None] * across[1])
    radii = width * (1 + 0.15 * np.cos(angle + rng.uniform(0, 6)))
    return [Tube(ring + middle, radii)]


def _branched(rng: np.random.Generator, middle: NDArray[np.float64]) -> list[Tube]:
    width = rng.uniform(6, 9)
    stem = _centred(_line(rng, middle, rng.uniform(80, 160), 0.1), middle)
    starts = rng.integers(len(stem) // 4, 3 * len(stem) // 4, int(rng.integers(1, 4)))
    lines = [stem, *(_line(rng, stem[at], rng.uniform(30, 80), 0.1) for at in starts)]
    return [Tube(line, _radii(rng, len(line), width)) for line in lines]


def _network(rng: np.random.Generator, middle: NDArray[np.float64]) -> list[Tube]:
    """Join some nodes around the middle, each to the two nearest before it, so that loops form."""
    nodes = middle + rng.uniform(-0.5, 0.5, (int(rng.integers(5, 9)), 3)) * CELL
    width = rng.uniform(5, 8)
    tubes = []
    for number in range(1, len(nodes)):
        order = np.argsort(np.linalg.norm(nodes[:number] - nodes[number], axis=1))
        for other in order[:2]:
            part = np.linspace(0, 1, 25)[:, None]
            bow = np.sin(np.pi * part) * rng.normal(0, 8, 3)
            line = nodes[number] + part * (nodes[other] - nodes[number]) + bow
            tubes.append(Tube(line, _radii(rng, len(line), width)))
    return tubes


_DRAWN: dict[str, Callable[[np.random.Generator, NDArray[np.float64]], list[Tube]]] = {
    "rod": _rod,
    "dot": _dot,
    "ring": _ring,
    "branched": _branched,
    "network": _network,
}


@numba.njit(cache=True, nogil=True)
def _paint(out: NDArray[Any], points: NDArray[np.float64], radii: NDArray[np.float64], value: int) -> None:
    """Write a value where a voxel's centre is within the local radius of a line."""
    for s in range(len(points) - 1):
        low, high = segment_box(points[s], points[s + 1], max(radii[s], radii[s + 1]), out.shape)
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                for k in range(low[2], high[2]):
                    if relative_square(points, radii, s, i, j, k) <= 1:
                        out[i, j, k] = value


def write_sample_volume(
    target: Objects,
    shape: Triple,
    *,
    seed: int = 0,
    labelled: bool = False,
    scheduler: Scheduler = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write a made-up segmentation as an OME-Zarr 0.5 image, block by block.

    Parameters
    ----------
    target : Objects
        Where it goes.
    shape : tuple of 3 ints
        Extents in voxels of 24 nm: z, y, x.
    seed, labelled
        As of `SampleVolume`.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it.
    progress : callable
        Called with the blocks written and their number.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    UsageError
        An extent is not positive, or something else is at the target.
    """
    if min(shape) < 1:
        raise UsageError(f"size {','.join(map(str, shape))}: allowed are positive extents in voxels")
    if target.exists("zarr.json"):
        raise UsageError(f"{target.url}: holds a Zarr hierarchy; choose another target, or remove it")
    volume = SampleVolume(shape, seed, labelled)
    grid = Grid(shape, (BLOCK, BLOCK, BLOCK))
    array = BlockArray(target, "labels", shape, str(volume.dtype), grid.block, (CHUNK, CHUNK, CHUNK))
    done, written = 0, 0

    def tell(outcome: Outcome[int]) -> None:
        nonlocal done, written
        done, written = done + 1, written + (outcome.value or 0)
        progress(done, len(grid))

    run_blocks(
        {number: partial(_write_block, volume, grid, array, number) for number in range(len(grid))},
        scheduler=scheduler,
        done=tell,
    )
    array.create(("z", "y", "x"), group_attributes=_ome(shape))
    return written


def _write_block(volume: SampleVolume, grid: Grid, array: BlockArray, number: int) -> int:
    return array.put(grid.place(number), volume.read(grid.box(number)))


def _ome(shape: Triple) -> dict[str, Any]:
    """Return the attributes of an OME-Zarr 0.5 image with one level."""
    scale = {"type": "scale", "scale": [VOXEL_UM] * len(shape)}
    multiscale = {
        "name": "labels",
        "axes": [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"],
        "datasets": [{"path": "labels", "coordinateTransformations": [scale]}],
    }
    return {"ome": {"version": "0.5", "multiscales": [multiscale]}}
