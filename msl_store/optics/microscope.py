"""What forms an image: the objective, its media, the light and the camera, and the three published presets."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msl_store.errors import UsageError
from msl_store.optics.described import Described
from msl_store.optics.detector import Camera

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

MODALITIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "widefield": (),
        "published": (),
        "confocal": ("excitation_um", "pinhole_au"),
        "two-photon": ("excitation_um",),
        "light-sheet": ("sheet_um",),
    }
)
"""How light becomes an image, and what each modality must be given; `msl_store.optics.modality` has the equations.

``published`` is the square of the widefield intensity, which made the published confocal images.
"""

PSFS = ("scalar", "vectorial", "gaussian")
"""How a lens focuses: Gibson and Lanni's scalar integral, Richards and Wolf's vectors, or a Gaussian fit."""

IMMERSIONS: Mapping[str, float] = MappingProxyType(
    {"air": 1.0, "water": 1.333, "silicone": 1.406, "glycerol": 1.451, "oil": 1.515}
)
"""Usual immersion media and their refractive indices."""


@dataclass(frozen=True, kw_only=True)
class Microscope(Described):
    """A microscope: media and objective of the Gibson-Lanni model, light, pixel grid and camera.

    Every value is checked on construction. Symbols in parentheses are those of S. F. Gibson and F. Lanni,
    "Experimental test of an analytical model of aberration in an oil-immersion objective lens used in
    three-dimensional light microscopy", J. Opt. Soc. Am. A 8, 1601-1613 (1991), as written by J. Li, F. Xue and
    T. Blu, "Fast and accurate three-dimensional point spread function computation for fluorescence microscopy",
    J. Opt. Soc. Am. A 34, 1029-1034 (2017). *Design* values are those that the objective is corrected for; where
    they equal the actual ones, neither thickness nor working distance has any effect.

    Attributes
    ----------
    name : str
        What the images call it.
    modality : {"widefield", "confocal", "two-photon", "light-sheet", "published"}
        How light becomes an image; see `MODALITIES`.
    numerical_aperture : float
        Of the objective (NA).
    wavelength_um : float
        Vacuum wavelength of the emission in um.
    pixel_um : float
        Edge of a pixel in sample space, in um.
    size_px : tuple of int
        Rows and columns of an image (y, x).
    n_sample, n_immersion, n_glass : float
        Actual refractive indices (ns, ni, ng).
    n_immersion_design, n_glass_design : float
        Design indices (ni0, ng0).
    glass_um, glass_design_um : float
        Thickness of the coverslip (tg, tg0) in um.
    working_distance_um : float
        Thickness of the immersion layer under design conditions (ti0) in um.
    immersion_displacement_um : float
        Actual immersion thickness less ``working_distance_um`` in um: the microscope's own focus. Negative is towards
        the sample, and focuses above the coverslip.
    psf : {"scalar", "vectorial", "gaussian"}
        How the objective focuses; see `PSFS`.
    excitation_um : float, optional
        Vacuum wavelength of the excitation in um. Confocal and two-photon microscopes need it.
    pinhole_au : float, optional
        Diameter of a confocal's pinhole in Airy units, 1.22 wavelengths of the emission over the NA.
    sheet_um : float, optional
        Thickness of a light sheet in um: the full width at half maximum of its intensity in depth.
    magnification : float, optional
        Of the objective, for the record: `pixel_um` is in sample space already.
    camera : Camera, optional
        What turns photons into counts. Without one, counts are made as for the published images.
    source : str
        Where the numbers come from.

    Raises
    ------
    UsageError
        A value is outside what is allowed; the message names the field.

    Examples
    --------
    >>> oil = Microscope(name="oil", numerical_aperture=1.4, wavelength_um=0.6, pixel_um=0.1, n_sample=1.515)
    >>> Microscope.from_dict(oil.to_dict()) == oil
    True
    """

    name: str
    numerical_aperture: float
    wavelength_um: float
    pixel_um: float
    modality: str = "widefield"
    size_px: tuple[int, int] = (128, 128)
    n_sample: float = 1.33
    n_immersion: float = 1.515
    n_immersion_design: float = 1.515
    n_glass: float = 1.515
    n_glass_design: float = 1.515
    glass_um: float = 170.0
    glass_design_um: float = 170.0
    working_distance_um: float = 150.0
    immersion_displacement_um: float = -1.0
    psf: str = "scalar"
    excitation_um: float | None = None
    pinhole_au: float | None = None
    sheet_um: float | None = None
    magnification: float | None = None
    camera: Camera | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise self._refusal("name", self.name, "a text that is not empty")
        self._check_text("modality", tuple(MODALITIES))
        self._check_text("psf", PSFS)
        self._check_text("source")
        if self.camera is not None and not isinstance(self.camera, Camera):
            raise self._refusal("camera", self.camera, "a Camera")
        self._check_light()
        for item in ("numerical_aperture", "wavelength_um", "pixel_um", "working_distance_um"):
            self._check_number(item, above=0)
        for item in ("n_sample", "n_immersion", "n_immersion_design", "n_glass", "n_glass_design"):
            self._check_number(item, above=0.99, below=5)
        for item in ("glass_um", "glass_design_um"):
            self._check_number(item, least=0)
        self._check_number("immersion_displacement_um", above=-self.working_distance_um)
        self._check_number("magnification", above=0, optional=True)
        limit = min(self.n_immersion, self.n_immersion_design, self.n_glass, self.n_glass_design)
        if self.numerical_aperture >= limit:
            allowed = f"less than {limit:g}, the smallest index of immersion and glass"
            raise self._refusal("numerical_aperture", self.numerical_aperture, allowed)
        size = self.size_px
        if not isinstance(size, tuple) or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
            raise self._refusal("size_px", size, "a pair (rows, columns) of positive integers")

    def _check_light(self) -> None:
        needed = MODALITIES[self.modality]
        for item in ("excitation_um", "pinhole_au", "sheet_um"):
            if getattr(self, item) is not None:
                if item not in needed:
                    raise self._refusal(item, getattr(self, item), f"None where the modality is {self.modality}")
                self._check_number(item, above=0, below=20 if item == "pinhole_au" else math.inf)
            elif item in needed:
                raise self._refusal(item, None, f"given where the modality is {self.modality}")

    def focused(self, depth_um: float) -> float:
        """Return the immersion displacement in um that focuses paraxially at a depth above the coverslip in um.

        The quadratic terms of the Gibson-Lanni phase, ``-depth NA^2/(2 ns)`` and ``-displacement NA^2/(2 ni)``,
        cancel where ``displacement = -depth ni / ns``.
        """
        return -depth_um * self.n_immersion / self.n_sample

    @property
    def immersion(self) -> str:
        """The usual immersion medium whose index is nearest to the design's."""
        return min(IMMERSIONS, key=lambda medium: abs(IMMERSIONS[medium] - self.n_immersion_design))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; `from_dict` is the inverse.

        Light, PSF, camera and source are left out where they have their defaults.
        """
        values = super().to_dict()
        for item in fields(self):
            if item.name in _WHERE_GIVEN and getattr(self, item.name) == item.default:
                del values[item.name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a microscope from what `to_dict` returned.

        Raises
        ------
        UsageError
            A field is unknown, is missing, or is outside what is allowed.
        """
        camera = values.get("camera")
        return super().from_dict({**values, "camera": Camera.from_dict(camera)} if isinstance(camera, dict) else values)


_WHERE_GIVEN = ("psf", "excitation_um", "pinhole_au", "sheet_um", "magnification", "camera", "source")


def _published(name: str, modality: str, wavelength_um: float, pixel_um: float) -> Microscope:
    # recovered from the published images; indices and working distance are those of a common 1.4 NA oil objective
    return Microscope(
        name=name, modality=modality, numerical_aperture=1.4, wavelength_um=wavelength_um, pixel_um=pixel_um
    )


PRESETS: Mapping[str, Microscope] = MappingProxyType(
    {
        "conf1": _published("conf1", "published", 0.60, 0.070),
        "conf2": _published("conf2", "published", 0.488, 0.0488),
        "epi1": _published("epi1", "widefield", 0.608, 0.109),
    }
)
"""The three published microscopes by name."""


def get_microscope(microscope: str | Microscope) -> Microscope:
    """Return a microscope as it is, or the one of `PRESETS` or of `msl_store.optics.instruments` by its name.

    Raises
    ------
    UsageError
        There is no such preset; the message lists them.
    """
    from msl_store.optics.instruments import INSTRUMENTS

    if isinstance(microscope, Microscope):
        return microscope
    known = {**PRESETS, **INSTRUMENTS}
    if microscope in known:
        return known[microscope]
    raise UsageError(f"microscope {json.dumps(microscope, default=str)} is unknown; presets are {', '.join(known)}")
