"""Images made on the fly: shapes under any microscope, in a new pose, focus and noise every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.exposure import counts_of, expected_photons
from msl_store.optics.labelling import Labelling, brightness_of, get_labelling, label
from msl_store.optics.microscope import Microscope, get_microscope
from msl_store.optics.rotations import VIEWS, view_rotation
from msl_store.shapes import VOXEL_UM
from msl_store.stream.form import Reader, Sample, refuse_no_integer
from msl_store.stream.meshes import MeshCuts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library
    from msl_store.shapes import Mesh
    from msl_store.store import Cut

FOCUSES = 11
"""Focal planes that are drawn from a range: each needs optics of its own, computed once a process and kept."""

LEAST_REACH_PX, LEAST_DEPTH_UM = 64, 1.0
"""Half the extent, lateral and axial, that optics are computed for at least; and for twice, four times, ... of it."""

_WITHIN = 0.999  # rounding must not take an anchor into the next range


@dataclass(frozen=True)
class Simulated:
    """Images simulated when they are asked for.

    Makes ``name`` (batch, image, y, x), uint16 counts or without noise float32 photons, and the truth that they show:
    ``name.rotation`` (batch, image, 3, 3), ``name.centre`` (batch, 3) in voxels, ``name.shift_um`` (batch, image, 2)
    and ``name.focus_um`` (batch, image), all float64. A point p of the raw frame lies at
    ``(p - centre) * voxel_um @ rotation``, shifted along the first two axes: column, row, and depth above the plane
    ``focus_um = 0``, in um from the image's middle.

    All of it is a pure function of the stream's seed, the epoch and the instance's id, as is everything drawn. It is
    computed in threads, one an instance; the loops that take the time leave Python's lock to others.

    Attributes
    ----------
    microscope : str or Microscope
        A preset's or an instrument's name, or a description; as `msl_store.simulate` takes it.
    images : int
        Images of every instance, of the same emitters.
    pose : "random" or tuple of str
        Rotations: uniformly random ones, or drawn from these views.
    focus_um : float or tuple of float
        Focal plane above the shape's middle, or the lowest and highest of eleven that are drawn from.
    shift_um : float
        Images show shapes shifted by up to this much along either axis.
    noise : bool
        Camera counts, with offset and peak drawn as the published images' were where the microscope has no camera; or
        the expected image.
    brightness : tuple of float
        Range of a factor on the light, drawn uniformly; for microscopes with a camera, which say how many photons
        there are.
    labelling : str or Labelling, optional
        Where emitters are; drawn anew every epoch.
    tolerance : float
        Largest error of the expected image, as a fraction of its maximum.
    """

    microscope: str | Microscope = "conf2"
    images: int = 1
    pose: Literal["random"] | tuple[str, ...] = "random"
    focus_um: float | tuple[float, float] = 0.0
    shift_um: float = 0.0
    noise: bool = True
    brightness: tuple[float, float] = (1.0, 1.0)
    labelling: str | Labelling | None = None
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        refuse_no_integer(self, "images")
        if not isinstance(self.brightness, tuple) or len(self.brightness) != 2:
            raise UsageError(f"Simulated(brightness={self.brightness!r}): allowed is a tuple (lowest, highest)")
        focus = self.focus_um if isinstance(self.focus_um, tuple) else (self.focus_um,)
        if len(focus) > 2 or not all(isinstance(end, Real) for end in focus):
            raise UsageError(
                f"Simulated(focus_um={self.focus_um!r}): allowed are a number, or a tuple (lowest, highest)"
            )
        low, high = self.focus_range_um
        known = self.pose == "random" or (isinstance(self.pose, tuple) and self.pose and set(self.pose) <= set(VIEWS))
        if not known:
            raise UsageError(f"Simulated(pose={self.pose!r}): allowed are random, or a tuple of some of {VIEWS}")
        if self.images < 1 or not 0 <= self.shift_um < math.inf or not -math.inf < low <= high < math.inf:
            raise UsageError(
                f"Simulated(images={self.images}, shift_um={self.shift_um}, focus_um={self.focus_um}): allowed are 1 "
                "image or more, a shift of 0 or more, and a focus or a range with the lower end first"
            )
        if not 0 < self.brightness[0] <= self.brightness[1] < math.inf:
            raise UsageError(f"Simulated(brightness={self.brightness}): allowed is a range above 0, lower end first")
        if self.brightness != (1.0, 1.0) and get_microscope(self.microscope).camera is None:
            raise UsageError(
                f"Simulated(brightness={self.brightness}): {get_microscope(self.microscope).name} has no camera, so "
                "that each of its images has a peak of its own; leave it out, or take a microscope with a camera"
            )

    @property
    def focus_range_um(self) -> tuple[float, float]:
        """Lowest and highest focal plane."""
        return self.focus_um if isinstance(self.focus_um, tuple) else (self.focus_um, self.focus_um)

    def of(self, library: Library) -> Reader:
        """Return what makes them."""
        return _Simulator(library, self)


class _Simulator(Reader):
    computes = True

    def __init__(self, library: Library, form: Simulated) -> None:
        self._cuts = MeshCuts(library)
        self._labelling = get_labelling(form.labelling)
        has = self._cuts.has
        if self._labelling.fills:
            has = has & library.table["watertight"].values
        super().__init__(library.store, has)
        self._form = form
        self._optics = get_microscope(form.microscope)
        self._voxel_um = float(library.attributes.get("voxel_um", VOXEL_UM))
        self._focuses = np.linspace(*form.focus_range_um, FOCUSES if isinstance(form.focus_um, tuple) else 1)

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        return self._cuts.of(place), (place, rng)

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        place, rng = chosen
        emitters, bright, centre = self._emitters(self._cuts.joined(place, values), rng)
        count = self._form.images
        rotations = np.stack([self._rotation(rng) for _ in range(count)])
        focuses = rng.choice(self._focuses, count)
        shifts = rng.uniform(-self._form.shift_um, self._form.shift_um, (count, 2))
        chip = int(rng.integers(2**62))
        turned = [
            self._image(emitters @ rotation + np.append(shift, 0.0), bright, float(focus), rng, chip)
            for rotation, shift, focus in zip(rotations, shifts, focuses, strict=True)
        ]
        truth = {".rotation": rotations, ".centre": centre, ".shift_um": shifts, ".focus_um": focuses}
        return {"": np.stack(turned), **truth}

    def _emitters(
        self, mesh: Mesh, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return emitters about their middle in um, their brightness, and that middle in voxels."""
        points = label(mesh.vertices_um(self._voxel_um), mesh.faces, self._labelling, rng)
        centre = points.mean(axis=0) if len(points) else np.zeros(3)
        return points - centre, brightness_of(self._labelling, len(points), rng), centre / self._voxel_um

    def _rotation(self, rng: np.random.Generator) -> NDArray[np.float64]:
        from scipy.spatial.transform import Rotation

        if self._form.pose == "random":  # a normal quaternion points anywhere
            matrix: NDArray[np.float64] = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
            return matrix
        return view_rotation(str(rng.choice(self._form.pose)))

    def _image(
        self,
        placed_um: NDArray[np.float64],
        bright: NDArray[np.float64],
        focus_um: float,
        rng: np.random.Generator,
        chip: int,
    ) -> NDArray[Any]:
        """Return one image of emitters that are in their places."""
        anchors = _anchors(placed_um, self._optics.pixel_um)
        photons = expected_photons(
            np.concatenate([placed_um, anchors]),
            self._optics,
            np.eye(3)[None],
            focus_um=focus_um,
            brightness=np.concatenate([bright, np.zeros(len(anchors))]),
            tolerance=self._form.tolerance,
        )[0]
        low, high = self._form.brightness
        if low != high or low != 1:
            photons *= np.float32(rng.uniform(low, high))
        return counts_of(photons, self._optics, rng, seed=chip) if self._form.noise else photons

    def nbytes(self, places: NDArray[np.int64]) -> int:
        rows, columns = self._optics.size_px
        return 3 * self._cuts.nbytes(places) + len(places) * self._form.images * rows * columns * 8


def _anchors(placed_um: NDArray[np.float64], pixel_um: float) -> NDArray[np.float64]:
    """Return dark emitters at the ends of a range, so that few ranges, and few computed optics, serve all poses."""
    extent = np.abs(placed_um).max(axis=0, initial=0.0)
    reach = _doubled(float(extent[:2].max()), LEAST_REACH_PX * pixel_um)
    depth = _doubled(float(extent[2]), LEAST_DEPTH_UM)
    return np.array([[reach, 0.0, depth], [0.0, reach, -depth]])


def _doubled(value: float, least: float) -> float:
    """Return the first of `least`, twice, four times, ... of it that is not below a value."""
    while least * _WITHIN < value:
        least *= 2
    return least * _WITHIN
