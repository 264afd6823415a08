"""Solids of voxels with known measures, turned and shifted at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MARGIN = 3


@dataclass(frozen=True, eq=False)
class Solid:
    """A shape of lengths near 1, as a function that is negative inside, and its measures.

    `reach` is how far from the origin it extends; `length` that of its medial axis, `tips` that from tip to tip.
    """

    distance: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    reach: float
    volume: float
    area: float
    genus: int
    pieces: int
    length: float
    tips: float
    ends: int = 0
    branches: int = 0

    def mask(self, radius: float, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return the voxels inside, `radius` of them to the unit of length, in an orientation drawn at random."""
        half = int(np.ceil(self.reach * radius)) + MARGIN
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        at = np.stack(np.meshgrid(*[np.arange(-half, half + 1.0)] * 3, indexing="ij"), axis=-1)
        inside = self.distance((at + rng.uniform(-0.5, 0.5, 3)) @ turn / radius) < 0
        low, high = np.argwhere(inside).min(axis=0), np.argwhere(inside).max(axis=0) + 1
        return np.pad(inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], MARGIN)


def segment(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of points from a straight line between two others."""
    along = end - start
    part = np.clip((points - start) @ along / (along @ along), 0, 1)
    return np.asarray(np.linalg.norm(points - start - part[..., np.newaxis] * along, axis=-1))


def _ring(points: NDArray[np.float64], axes: tuple[int, int, int], shift: float) -> NDArray[np.float64]:
    u, v, w = (points[..., axis] for axis in axes)
    return np.asarray(np.hypot(np.hypot(u - shift, v) - RING, w) - 1)


RING = 3.0
"""Radius of the tori's rings; that of their tubes is 1."""

CYLINDER = 6.0
"""Length of the capsule's cylinder; its radius is 1."""

_ENDS = np.array([[0.0, 0.0, 4.0], [0.0, 3.5, -3.0], [0.0, -3.0, -2.5]])
_HALF = np.array([0.0, 0.0, CYLINDER / 2])

SPHERE = Solid(
    lambda p: np.linalg.norm(p, axis=-1) - 1, 1.0, 4 / 3 * np.pi, 4 * np.pi, 0, 1, length=0.0, tips=2.0, ends=2
)
CAPSULE = Solid(
    lambda p: segment(p, -_HALF, _HALF) - 1,
    CYLINDER / 2 + 1,
    np.pi * (CYLINDER + 4 / 3),
    2 * np.pi * (CYLINDER + 2),
    0,
    1,
    length=CYLINDER,
    tips=CYLINDER + 2,
    ends=2,
)
TORUS = Solid(
    lambda p: _ring(p, (0, 1, 2), 0.0),
    RING + 1,
    2 * np.pi**2 * RING,
    4 * np.pi**2 * RING,
    1,
    1,
    length=2 * np.pi * RING,
    tips=2 * np.pi * RING,
)
LINKED = Solid(
    lambda p: np.minimum(_ring(p, (0, 1, 2), RING / 2), _ring(p, (0, 2, 1), -RING / 2)),
    1.5 * RING + 1,
    2 * TORUS.volume,
    2 * TORUS.area,
    2,
    2,
    length=2 * TORUS.length,
    tips=2 * TORUS.tips,
)
FORK = Solid(
    lambda p: np.min([segment(p, np.zeros(3), end) for end in _ENDS], axis=0) - 1,
    float(np.linalg.norm(_ENDS, axis=1).max()) + 1,
    np.nan,
    np.nan,
    0,
    1,
    length=float(np.linalg.norm(_ENDS, axis=1).sum()),
    tips=float(np.linalg.norm(_ENDS, axis=1).sum()) + 3,
    ends=3,
    branches=1,
)
