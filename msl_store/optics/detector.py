"""Cameras: photons to grey values, with the noise of scientific CMOS and of electron-multiplying CCD chips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.described import Described

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHIPS = ("scmos", "emccd")
"""``scmos``: every pixel has its own read noise. ``emccd``: electrons are multiplied before they are read."""


@dataclass(frozen=True, kw_only=True)
class Camera(Described):
    """A camera and how long and bright it exposes. Every value is checked on construction.

    Attributes
    ----------
    chip : {"scmos", "emccd"}
        How electrons are read; see `CHIPS`.
    photons_per_emitter : float
        Mean photons that an emitter of brightness 1 sends through the objective onto the camera in one frame. Where
        a focus is scanned (confocal, two-photon), those that reach the detector while it is on the emitter.
    background_photons : float
        Mean photons a pixel and frame from elsewhere.
    quantum_efficiency : float
        Electrons a photon, above 0 and at most 1.
    dark_electrons_per_s : float
        Dark current of a pixel.
    exposure_s : float
        Time of one frame.
    read_noise_electrons : float
        Standard deviation of reading a pixel; on sCMOS chips the median of all pixels'.
    read_noise_spread : float
        Standard deviation of the logarithm of the pixels' read noises, sCMOS alone.
    em_gain : float
        Mean electrons after multiplication for each before, EMCCD alone.
    electrons_per_count : float
        Electrons, after multiplication, for one grey value.
    offset_counts : float
        Grey value of a pixel without electrons.
    full_well_electrons : float
        Electrons, before multiplication, at which a pixel is full.
    bit_depth : int
        Grey values end at ``2**bit_depth - 1``; at most 16.
    source : str
        Where the numbers come from.

    Raises
    ------
    UsageError
        A value is outside what is allowed; the message names the field.
    """

    chip: str = "scmos"
    photons_per_emitter: float = 100.0
    background_photons: float = 0.0
    quantum_efficiency: float = 0.8
    dark_electrons_per_s: float = 0.0
    exposure_s: float = 0.1
    read_noise_electrons: float = 1.5
    read_noise_spread: float = 0.0
    em_gain: float = 1.0
    electrons_per_count: float = 0.5
    offset_counts: float = 100.0
    full_well_electrons: float = 30_000.0
    bit_depth: int = 16
    source: str = ""

    def __post_init__(self) -> None:
        self._check_text("chip", CHIPS)
        for item in ("photons_per_emitter", "exposure_s", "electrons_per_count", "full_well_electrons"):
            self._check_number(item, above=0)
        least = ("background_photons", "dark_electrons_per_s", "read_noise_electrons", "read_noise_spread")
        for item in (*least, "offset_counts"):
            self._check_number(item, least=0)
        self._check_number("quantum_efficiency", above=0, most=1)
        if type(self.bit_depth) is not int or not 1 <= self.bit_depth <= 16:
            raise self._refusal("bit_depth", self.bit_depth, "an integer from 1 to 16")
        self._check_number("em_gain", least=1)
        if self.em_gain != 1 and self.chip != "emccd":
            raise self._refusal("em_gain", self.em_gain, "1 but on an emccd chip")
        if self.read_noise_spread and self.chip != "scmos":
            raise self._refusal("read_noise_spread", self.read_noise_spread, "0 but on an scmos chip")
        self._check_text("source")


def detect(
    photons: NDArray[Any],
    camera: Camera,
    rng: np.random.Generator,
    *,
    pixel_rng: np.random.Generator | None = None,
) -> NDArray[np.uint16]:
    """Turn mean photons into counts.

    Photo- and dark electrons of a pixel are Poisson. An EMCCD multiplies n > 0 electrons by a random factor: the sum is
    gamma distributed with shape n and scale ``em_gain``, which doubles the variance (M. Hirsch et al., "A stochastic
    model for electron multiplication charge-coupled devices", PLoS ONE 8, e53671 (2013), section 2). Reading adds a
    normal number; on an sCMOS chip its deviation differs from pixel to pixel (F. Huang et al., "Video-rate nanoscopy
    using sCMOS camera-specific single-molecule localization algorithms", Nat. Methods 10, 653-658 (2013)).

    Parameters
    ----------
    photons : ndarray, shape (..., y, x)
        Mean photons on every pixel, background not included.
    camera : Camera
        The camera.
    rng : numpy.random.Generator
        Draws the noise.
    pixel_rng : numpy.random.Generator, optional
        Draws the pixels' read noises of an sCMOS chip with a spread, one field (y, x) for all images: seeded alike, it
        is the same chip. Without it `rng` does.

    Returns
    -------
    ndarray of uint16, shape (..., y, x)
        Counts, ``offset + electrons / electrons_per_count``, rounded, between 0 and the largest of the bit depth.

    Raises
    ------
    UsageError
        There are fewer than two axes, or a value is negative or not finite.
    """
    mean = np.asarray(photons, np.float64)
    if mean.ndim < 2 or not np.isfinite(mean).all() or (mean < 0).any():
        raise UsageError("photons must have at least the axes (y, x), and values that are finite and not negative")
    c = camera
    noise: float | NDArray[np.float64] = c.read_noise_electrons
    if c.read_noise_spread:
        noise = noise * np.exp(c.read_noise_spread * (pixel_rng or rng).standard_normal(mean.shape[-2:]))
    expected = c.quantum_efficiency * (mean + c.background_photons) + c.dark_electrons_per_s * c.exposure_s
    electrons = rng.poisson(np.minimum(expected, 1e15)).astype(np.float64)
    electrons = np.minimum(electrons, c.full_well_electrons)
    if c.chip == "emccd" and c.em_gain > 1:
        electrons = rng.standard_gamma(electrons) * c.em_gain
    electrons += noise * rng.standard_normal(mean.shape)
    counts = np.rint(c.offset_counts + electrons / c.electrons_per_count)
    return np.clip(counts, 0, 2**c.bit_depth - 1).astype(np.uint16)
