"""The point-spread function h(r, z) of a microscope."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.optics.lens import Gaussian, Lens
from msl_store.optics.modality import Confocal, LightSheet, Squared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Focusing, Psf
    from msl_store.optics.microscope import Microscope

AIRY_UNIT = 1.22
"""Diameter of the Airy disk's first dark ring in wavelengths over the NA: the first zero of J1, over pi."""


@lru_cache(maxsize=256)
def psf_of(microscope: Microscope) -> Psf:
    """Return the PSF that a microscope's modality and PSF model make."""
    m = microscope
    emission = _focusing(m, m.wavelength_um)
    if m.modality == "published":
        return Squared(emission)
    if m.modality == "two-photon" and m.excitation_um is not None:
        return Squared(_focusing(m, m.excitation_um))
    if m.modality == "light-sheet" and m.sheet_um is not None:
        return LightSheet(emission, m, m.sheet_um)
    if m.modality == "confocal" and m.excitation_um is not None and m.pinhole_au is not None:
        pinhole_um = m.pinhole_au * AIRY_UNIT * m.wavelength_um / m.numerical_aperture
        return Confocal(_focusing(m, m.excitation_um), emission, pinhole_um)
    return emission


def _focusing(microscope: Microscope, wavelength_um: float) -> Focusing:
    if microscope.psf == "gaussian":
        return Gaussian(microscope, wavelength_um)
    return Lens(microscope, wavelength_um, vectorial=microscope.psf == "vectorial")


def cutoff(microscope: Microscope) -> float:
    """Return the highest lateral frequency in the PSF, in cycles per um: 2 NA / wavelength, twice that when squared."""
    return psf_of(microscope).cutoff_per_um


def point_spread(
    radius_um: NDArray[Any], depth_um: NDArray[Any], microscope: Microscope, *, immersion_displacement_um: float
) -> NDArray[np.float64]:
    """Evaluate the PSF at all pairs of radius and depth.

    Parameters
    ----------
    radius_um : ndarray, shape (n_r,)
        Lateral distance from the emitter in um.
    depth_um : ndarray, shape (n_z,)
        Depth of the emitter above the coverslip in um. Negative depths continue the sample's phase analytically.
    microscope : Microscope
        The model's parameters.
    immersion_displacement_um : float
        f, the change of the immersion layer in um; negative focuses above the coverslip.

    Returns
    -------
    ndarray of float64, shape (n_r, n_z)
        The PSF, 1 at an aberration-free focus and at most 1 anywhere. An emitter is one such h: images are in units
        of the focal peak of one emitter. Equations are those of `msl_store.optics.lens.Lens` and
        `msl_store.optics.modality`.
    """
    radius, depth = np.asarray(radius_um, np.float64), np.asarray(depth_um, np.float64)
    psf = psf_of(microscope)
    return psf.profiles(radius, depth, immersion_displacement_um) * psf.gain(depth, immersion_displacement_um)
