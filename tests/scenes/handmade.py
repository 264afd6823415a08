"""Scenes of given solids, without a library; tests of scenes import this by the name `handmade`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msl_store.optics.microscope import Microscope
from msl_store.scenes import Placed, Scene

if TYPE_CHECKING:
    from solids import Solid


def scene_of(*solids: Solid, field_um: tuple[float, float], emitters: int = 200) -> Scene:
    """Place solids where they are; emitters at random places of their vertices."""
    placed = []
    for number, (vertices, faces) in enumerate(solids):
        points = np.asarray(vertices, float)
        chosen = np.random.default_rng(number).integers(len(points), size=emitters)
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        placed.append(Placed(number, 0, points, faces.astype(np.uint32), points[chosen], np.eye(3), middle))
    return Scene(tuple(placed), field_um, seed=0)


def microscope(pixel_um: float, name: str = "test") -> Microscope:
    """A cheap microscope of some pixel size."""
    return Microscope(name=name, numerical_aperture=1.2, wavelength_um=0.6, pixel_um=pixel_um, n_sample=1.33)
