"""The point-spread function h(r, z) of Gibson and Lanni, by quadrature over the pupil.

Everything here and in `msl_store.optics.separable` keeps clear of BLAS and LAPACK: their threads may change the order
of a sum, and the same emitters must give the same bits in every process.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.microscope import Microscope


def intensity_power(microscope: Microscope) -> int:
    """Return the power to which the modality raises the widefield intensity."""
    return 2 if microscope.modality == "published" else 1


def aperture(microscope: Microscope) -> float:
    """Return the largest NA rho that still propagates in every layer: min(NA, ns).

    Light steeper than that is evanescent in the sample; its phase would be complex.
    """
    return min(microscope.numerical_aperture, microscope.n_sample)


def cutoff(microscope: Microscope) -> float:
    """Return the highest lateral frequency in the PSF, in cycles per um: 2 NA / wavelength, twice that when squared."""
    return 2 * aperture(microscope) / microscope.wavelength_um * intensity_power(microscope)


def point_spread(
    radius_um: NDArray[Any], depth_um: NDArray[Any], microscope: Microscope, *, immersion_displacement_um: float
) -> NDArray[np.float64]:
    """Evaluate the PSF at all pairs of radius and depth.

    The widefield intensity is ``|int_0^a J0(k s r) exp(i W(s, z)) s ds|^2`` with ``k = 2 pi / wavelength``,
    ``s = NA rho`` and the phase of Gibson and Lanni (1991; see `Microscope`)::

        W = k [ z sqrt(ns^2 - s^2) + (ti0 + f) sqrt(ni^2 - s^2) - ti0 sqrt(ni0^2 - s^2)
                + tg sqrt(ng^2 - s^2) - tg0 sqrt(ng0^2 - s^2) ]

    It is divided by its value at an aberration-free focus, so that h is 1 there and at most 1 anywhere; the published
    modality squares the result. An emitter is one such h: images are in units of the focal peak of one emitter.

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
        The PSF.
    """
    radius, depth = np.asarray(radius_um, np.float64), np.asarray(depth_um, np.float64)
    m, wavenumber = microscope, 2 * math.pi / microscope.wavelength_um

    def phase(sine: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
        fixed = _leg(m.n_immersion, sine) * (m.working_distance_um + immersion_displacement_um)
        fixed -= _leg(m.n_immersion_design, sine) * m.working_distance_um
        fixed += _leg(m.n_glass, sine) * m.glass_um - _leg(m.n_glass_design, sine) * m.glass_design_um
        result: NDArray[np.float64] = wavenumber * (z[:, None] * _leg(m.n_sample, sine) + fixed)
        return result

    # s = ns sin(theta) removes the square-root singularity at the edge of the pupil; a rule of n nodes integrates
    # exp(i t x) on [-1, 1] once n exceeds t / 2
    steepest = math.asin(aperture(m) / m.n_sample)
    probe = m.n_sample * np.sin(np.linspace(0, steepest, 129))
    ends = np.array([depth.min(initial=0.0), depth.max(initial=0.0)])
    turn = np.ptp(phase(probe, ends), axis=1).max() + wavenumber * aperture(m) * np.abs(radius).max(initial=0.0)
    nodes, weights = gauss_legendre(math.ceil(turn / 3) + 24)
    theta = (nodes + 1) / 2 * steepest
    weights = weights * np.sin(theta) * np.cos(theta)
    sine = m.n_sample * np.sin(theta)
    bessel = _j0(wavenumber * radius[:, None] * sine) * (weights / weights.sum())
    angle = phase(sine, depth)
    real = np.einsum("rs,zs->rz", bessel, np.cos(angle))
    imaginary = np.einsum("rs,zs->rz", bessel, np.sin(angle))
    widefield: NDArray[np.float64] = real * real + imaginary * imaginary
    return widefield * widefield if intensity_power(m) == 2 else widefield


@lru_cache(maxsize=64)
def gauss_legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of the Gauss-Legendre rule on [-1, 1], by Newton's method from Tricomi's estimate.

    numpy's rule takes the eigenvalues of a matrix and may depend on LAPACK's threads in the last bit.
    """
    x = np.cos(np.pi * (np.arange(count, 0, -1) - 0.25) / (count + 0.5))
    for _ in range(6):
        before, value = np.ones_like(x), x
        for degree in range(2, count + 1):
            before, value = value, ((2 * degree - 1) * x * value - (degree - 1) * before) / degree
        slope = count * (x * value - before) / (x * x - 1)
        x = x - value / slope
    return x, 2 / ((1 - x * x) * slope * slope)


def _leg(index: float, sine: NDArray[np.float64]) -> NDArray[np.float64]:
    # the axial part of a ray's optical path in a layer of this index; rounding may leave the pupil's edge negative
    leg: NDArray[np.float64] = np.sqrt(np.maximum(index * index - sine * sine, 0.0))
    return leg


def _j0(argument: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import j0

    values: NDArray[np.float64] = j0(argument)
    return values
