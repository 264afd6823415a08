"""What a scene is: shapes with their emitters, placed in one field, in um.

Positions are (axis 0, axis 1, axis 2) in um, as the microscopes have them: axis 0 runs along columns (x), axis 1 along
rows (y), axis 2 is the depth above the coverslip (z). The origin is the middle of the field, where the focal plane 0
lies. Sizes of fields and images are given as arrays have them: (y, x).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.labelling import Labelling, brightness_of
from msl_store.optics.microscope import get_microscope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from msl_store.optics.microscope import Microscope

WHOLE = 1e-6
"""A field this close (in pixels) to a whole number of pixels has that number."""

PLACING, EMITTERS, SCALING, NOISE, MOTION, BRIGHTNESS = range(6)
"""Purposes of the random streams."""


@dataclass(frozen=True, eq=False)
class Placed:
    """One instance in a scene.

    Attributes
    ----------
    id : int
        Its id in the library.
    copy : int
        How many instances of the same id come before it in the scene.
    vertices_um : ndarray of float64, shape (n_vertex, 3)
        In the scene's coordinates.
    faces : ndarray of uint32, shape (n_face, 3)
        Vertex indices, counter-clockwise seen from outside.
    emitters_um : ndarray of float64, shape (n_emitter, 3)
        Fluorophores, in the scene's coordinates.
    rotation : ndarray of float64, shape (3, 3)
        The pose: ``(raw_um - loc_um) @ rotation + position_um`` takes the library's mesh into the scene, where
        ``loc_um`` is the middle of its bounding box. A deformation is not part of it.
    position_um : ndarray of float64, shape (3,)
        Where the middle of the bounding box has come to lie.
    """

    id: int
    copy: int
    vertices_um: NDArray[np.float64]
    faces: NDArray[np.uint32]
    emitters_um: NDArray[np.float64]
    rotation: NDArray[np.float64]
    position_um: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """Instances in one field; `msl_store.scenes.compose` makes one, `msl_store.scenes.moved` moves one.

    Attributes
    ----------
    placed : tuple of Placed
        The instances; the label of each is its position here plus 1.
    field_um : tuple of float
        Extent of the field in um (y, x); its middle is the origin.
    seed : int
        What the scene was drawn from; chose poses and emitters.
    source : mapping
        ``library`` (URL), ``digest``, ``license``, ``citation`` and ``rules`` of placing.
    frame : int
        Number in a time-lapse; 0 is the scene at rest.
    labelling : Labelling
        Where the emitters were put, and how they shine.
    motion : mapping
        The motion's parameters that brought the scene to this frame; empty at rest.
    """

    placed: tuple[Placed, ...]
    field_um: tuple[float, float]
    seed: int
    source: Mapping[str, Any] = field(default_factory=dict)
    frame: int = 0
    labelling: Labelling = field(default_factory=Labelling)
    motion: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the instances in their order, shape (instance,); an id may come more than once."""
        return np.array([item.id for item in self.placed], np.int64)

    @property
    def emitters_um(self) -> NDArray[np.float64]:
        """All emitters, instance after instance, shape (n_emitter, 3)."""
        return np.concatenate([np.empty((0, 3)), *(item.emitters_um for item in self.placed)])

    def brightness(self, frames: range | None = None) -> NDArray[np.float64]:
        """Return how bright every emitter is in consecutive frames, or in the scene's own: (frame, n_emitter).

        A still image is that of one frame: emitters may be off in it. Those of an instance do not depend on the others.
        """
        wanted = range(self.frame, self.frame + 1) if frames is None else frames
        traces = [
            brightness_of(
                self.labelling,
                len(item.emitters_um),
                stream(BRIGHTNESS, self.seed, item.id, item.copy),
                frames=wanted,
            )
            for item in self.placed
        ]
        return np.concatenate([np.empty((len(wanted), 0)), *traces], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return the scene at rest as plain values that JSON can hold; `recompose` is the inverse.

        Meshes and emitters are not among them: they follow from the library, the ids and the seed.
        """
        if self.motion:
            raise UsageError(
                f"this scene is frame {self.frame} of a motion; allowed is the scene at rest, with the motion's own "
                "to_dict beside it"
            )
        return self._values

    @cached_property
    def _values(self) -> dict[str, Any]:
        return {
            **self.source,
            "seed": self.seed,
            "field_um": list(self.field_um),
            "labelling": self.labelling.to_dict(),
            "instances": [
                {"id": item.id, "rotation": item.rotation.tolist(), "position_um": item.position_um.tolist()}
                for item in self.placed
            ],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `to_dict`'s values without the library's URL, and of motion and frame, in hexadecimal."""
        values = {name: value for name, value in self._values.items() if name != "library"}
        return _digest([values, dict(self.motion), self.frame])

    @cached_property
    def origin(self) -> str:
        """SHA-256 of what the scene was drawn from, the same for all frames of a time-lapse, in hexadecimal."""
        source = {name: value for name, value in self.source.items() if name != "library"}
        return _digest([source, self.seed, list(self.field_um), self.labelling.to_dict(), self.ids.tolist()])


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def field_of(microscope: str | Microscope) -> tuple[float, float]:
    """Return the extent of a microscope's own image in um (y, x): a field that it images with its own pixels.

    >>> [round(extent, 4) for extent in field_of("conf1")]
    [8.96, 8.96]
    """
    optics = get_microscope(microscope)
    return optics.size_px[0] * optics.pixel_um, optics.size_px[1] * optics.pixel_um


def fitted(microscope: str | Microscope, scene: Scene) -> Microscope:
    """Return a microscope with as many pixels as cover the scene's field."""
    optics = get_microscope(microscope)
    rows, columns = (cells(extent, optics.pixel_um) for extent in scene.field_um)
    return replace(optics, size_px=(rows, columns))


def cells(extent_um: float, edge_um: float) -> int:
    """Return the least number of cells of an edge that covers an extent.

    >>> cells(0.3, 0.1), cells(0.31, 0.1)
    (3, 4)
    """
    return max(1, math.ceil(extent_um / edge_um - WHOLE))


def centres(count: int, edge_um: float) -> NDArray[np.float64]:
    """Return the centres of cells in a row about the origin, in um, shape (count,).

    >>> centres(2, 0.1).tolist()
    [-0.05, 0.05]
    """
    places: NDArray[np.float64] = (np.arange(count, dtype=np.float64) + 0.5 - count / 2) * edge_um
    return places


def stream(purpose: int, *key: int) -> np.random.Generator:
    """Return the random stream of a purpose and key; streams of different keys are independent."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([purpose, *key])))


def checked_seed(seed: int) -> int:
    """Return a seed, or raise `UsageError`."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed!r}: allowed is a whole number, 0 to 2**63 - 1")
    return int(seed)
