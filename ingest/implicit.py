"""Smooth bodies from bundles of tubes: an implicit field near the tubes, roughened, and its surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.meshing import mesh_of_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.shapes import Mesh

FAR = 3.0
"""The field where no tube is near: distances are counted in tube radii."""

MARGIN = 3
"""Voxels that the field reaches beyond a tube's radius, so that marching cubes finds it smooth."""

MOST_VOXELS = 32_000_000
"""The largest box that is evaluated: 128 MB of float32."""


@dataclass(frozen=True, eq=False)
class Tube:
    """A curved tube with round ends.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 3)
        The centre line in voxels, two points or more.
    radii : ndarray of float64, shape (n,)
        The radius at each point in voxels.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]


@dataclass(frozen=True)
class Bumps:
    """Random unevenness of a surface.

    Attributes
    ----------
    spacing : float
        Distance between bumps in voxels.
    height : float
        Standard deviation of the surface's displacement, in units of the local radius.
    """

    spacing: float
    height: float


def mesh_of_tubes(
    tubes: Sequence[Tube], rng: np.random.Generator, *, blend: float = 0.5, bumps: Sequence[Bumps] = ()
) -> Mesh:
    """Mesh the union of some tubes.

    Parameters
    ----------
    tubes : sequence of Tube
        What to join, anywhere in space: the mesh is moved to lie close to the origin, at positive coordinates.
    rng : numpy.random.Generator
        Decides the bumps.
    blend : float
        Size of the fillets between tubes that meet, in radii.
    bumps : sequence of Bumps
        Unevenness, added up.

    Returns
    -------
    Mesh
        Closed, with outward faces, in voxels.

    Raises
    ------
    UsageError
        Where the tubes span more than `MOST_VOXELS`.
    """
    low = np.min([(tube.points - tube.radii[:, np.newaxis]).min(axis=0) for tube in tubes], axis=0)
    high = np.max([(tube.points + tube.radii[:, np.newaxis]).max(axis=0) for tube in tubes], axis=0)
    widest = max(float(tube.radii.max()) for tube in tubes)
    # Bumps and blends rise above the radius; what they add stays well below half of the widest one.
    edge = MARGIN + widest / 2
    shape = np.ceil(high - low + 2 * edge).astype(np.int64) + 1
    if shape.prod() > MOST_VOXELS:
        raise UsageError(f"the tubes span {shape.tolist()} voxels; allowed are {MOST_VOXELS} in all: make them smaller")
    field = np.full(tuple(shape), FAR, np.float32)
    for tube in tubes:
        _add_tube(field, tube.points - low + edge, tube.radii, blend)
    for bump in bumps:
        lattice = rng.normal(0.0, bump.height, np.ceil(shape / bump.spacing).astype(np.int64) + 2)
        _roughen(field, lattice.astype(np.float32), 1 / bump.spacing)
    return mesh_of_field(1 - field)


def _add_tube(
    field: NDArray[np.float32], points: NDArray[np.float64], radii: NDArray[np.float64], blend: float
) -> None:
    """Blend a tube into the part of the field around it, in place."""
    reach = radii[:, np.newaxis] * 1.5 + MARGIN
    low = np.maximum(np.floor((points - reach).min(axis=0)).astype(np.int64), 0)
    high = np.minimum(np.ceil((points + reach).max(axis=0)).astype(np.int64) + 1, field.shape)
    around = field[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    own = np.full(around.shape, FAR, np.float32)
    _fill(own, points - low, radii)
    _blend(around, own, blend)


@numba.njit(cache=True)
def _fill(field: NDArray[np.float32], points: NDArray[np.float64], radii: NDArray[np.float64]) -> None:
    """Lower the field to the distance from a tube's centre line in units of its local radius."""
    for s in range(len(points) - 1):
        reach = max(radii[s], radii[s + 1]) * 1.5 + MARGIN
        low, high = segment_box(points[s], points[s + 1], reach, field.shape)
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                for k in range(low[2], high[2]):
                    q = relative_square(points, radii, s, i, j, k)
                    if q < field[i, j, k] ** 2:
                        field[i, j, k] = np.sqrt(q)


@numba.njit(cache=True, nogil=True)
def segment_box(
    start: NDArray[np.float64], stop: NDArray[np.float64], reach: float, shape: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the voxels of a volume that lie within some reach of a line's segment, as the ends of a box."""
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        near, far = min(start[axis], stop[axis]), max(start[axis], stop[axis])
        low[axis] = max(int(near - reach), 0)
        high[axis] = min(int(far + reach) + 2, shape[axis])
    return low, high


@numba.njit(inline="always")
def relative_square(points: NDArray[np.float64], radii: NDArray[np.float64], s: int, i: int, j: int, k: int) -> float:
    """Return the squared distance of a voxel from segment s of a line, in units of the radius there."""
    d0, d1, d2 = points[s + 1, 0] - points[s, 0], points[s + 1, 1] - points[s, 1], points[s + 1, 2] - points[s, 2]
    length2 = max(d0 * d0 + d1 * d1 + d2 * d2, 1e-12)
    e0, e1, e2 = i - points[s, 0], j - points[s, 1], k - points[s, 2]
    t = min(max((e0 * d0 + e1 * d1 + e2 * d2) / length2, 0.0), 1.0)
    e0, e1, e2 = e0 - t * d0, e1 - t * d1, e2 - t * d2
    r = radii[s] + t * (radii[s + 1] - radii[s])
    return float((e0 * e0 + e1 * e1 + e2 * e2) / (r * r))


@numba.njit(cache=True)
def _blend(field: NDArray[np.float32], other: NDArray[np.float32], width: float) -> None:
    """Lower a field to its smooth minimum with another (the quadratic polynomial minimum of Quilez, 2013)."""
    for i in range(field.shape[0]):
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                a, b = field[i, j, k], other[i, j, k]
                overlap = width - abs(a - b)
                least = min(a, b)
                if overlap > 0 and least < FAR:
                    least -= overlap * overlap / (4 * width)
                field[i, j, k] = least


@numba.njit(cache=True)
def _roughen(field: NDArray[np.float32], lattice: NDArray[np.float32], step: float) -> None:
    """Subtract value noise: a random lattice, interpolated without kinks (Perlin's smoothstep, SIGGRAPH 1985)."""
    for i in range(field.shape[0]):
        x = i * step
        a = int(x)
        u = (x - a) ** 2 * (3 - 2 * (x - a))
        for j in range(field.shape[1]):
            y = j * step
            b = int(y)
            v = (y - b) ** 2 * (3 - 2 * (y - b))
            for k in range(field.shape[2]):
                if not 0.4 < field[i, j, k] < 2.0:
                    continue
                z = k * step
                c = int(z)
                w = (z - c) ** 2 * (3 - 2 * (z - c))
                total = 0.0
                for da in range(2):
                    for db in range(2):
                        weight = (u if da else 1 - u) * (v if db else 1 - v)
                        total += weight * ((1 - w) * lattice[a + da, b + db, c] + w * lattice[a + da, b + db, c + 1])
                field[i, j, k] -= total
