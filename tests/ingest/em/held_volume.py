"""Volumes in memory, and analytic bodies as volumes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.em.volume import Box


@dataclass(frozen=True, eq=False)
class HeldVolume:
    """A volume in memory."""

    values: np.ndarray
    voxel_nm: tuple[float, float, float] | None = (24.0, 24.0, 24.0)
    name: str = "held"
    chunk: tuple[int, int, int] = (1, 1, 1)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.values.tobytes() + repr((self.shape, self.voxel_nm)).encode()).hexdigest()

    def read(self, box: Box) -> np.ndarray:
        return self.values[box.slices]


def sphere(p: np.ndarray, radius: float) -> np.ndarray:
    """Whether points (..., 3) are in a ball about the origin."""
    return (p**2).sum(axis=-1) < radius**2


def torus(p: np.ndarray, ring: float, tube: float) -> np.ndarray:
    """Whether points are in a torus about axis 0."""
    return (np.hypot(p[..., 1], p[..., 2]) - ring) ** 2 + p[..., 0] ** 2 < tube**2


def capsule(p: np.ndarray, length: float, radius: float) -> np.ndarray:
    """Whether points are in a capsule along axis 2: a cylinder of a length with half balls on its ends."""
    over = np.maximum(np.abs(p[..., 2]) - length / 2, 0)
    return p[..., 0] ** 2 + p[..., 1] ** 2 + over**2 < radius**2


def linked_tori(p: np.ndarray, ring: float, tube: float) -> np.ndarray:
    """Whether points are in one of two tori that pass through each other without touching."""
    turned = (p - np.array([0, ring, 0]))[..., [2, 1, 0]]
    return torus(p, ring, tube) | torus(turned, ring, tube)


def body(
    inside: Callable[..., np.ndarray], half: tuple[float, float, float], edges_um: tuple[float, float, float], **sizes
) -> HeldVolume:
    """An analytic body in um as a volume: `half` are half the extents of the space around the origin."""
    counts = [int(np.ceil(2 * h / e)) for h, e in zip(half, edges_um, strict=True)]
    axes = [(np.arange(n) + 0.37) * e - h for n, h, e in zip(counts, half, edges_um, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return HeldVolume(inside(points, **sizes), tuple(1000 * edge for edge in edges_um))
