"""How a lens focuses light of one wavelength: the protocol of all PSFs, pupil integrals and a Gaussian fit.

Everything here and in `msl_store.optics.separable` keeps clear of BLAS and LAPACK: their threads may change the order
of a sum, and the same emitters must give the same bits in every process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.microscope import Microscope


class Psf(Protocol):
    """A PSF that is symmetric about the optical axis, as the engine needs it: ``h(r, z) = profile(r, z) gain(z)``.

    Objects are immutable and hash by content: plans are kept by them. ``h`` is 1 at an aberration-free focus.
    """

    def __hash__(self) -> int:
        """Hash by content."""
        ...

    @property
    def cutoff_per_um(self) -> float:
        """The highest lateral frequency in the profiles, in cycles per um."""
        ...

    @property
    def turn_per_um(self) -> float:
        """How fast profiles change with depth: their highest axial frequency in radians per um."""
        ...

    @property
    def light_um2(self) -> float | None:
        """Integral of h over the focal plane in um^2; None where a focus is scanned and one detector collects."""
        ...

    def profiles(
        self, radius_um: NDArray[np.float64], depth_um: NDArray[np.float64], immersion_displacement_um: float
    ) -> NDArray[np.float64]:
        """Return the profiles at all pairs of radius (n_r,) and depth above the coverslip (n_z,): (n_r, n_z)."""
        ...

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:
        """Return how bright an emitter at a depth is, shape (n_z,), over and above the profile."""
        ...

    def gain_turn_per_um(self, tolerance: float) -> float | None:
        """Return how fast the gain changes with depth: the frequency in radians per um beyond which it has no more.

        The tolerance is that share of its largest value. 0 where the gain is 1; None where there is no such frequency,
        so that the planes of a stack share nothing but where all emitters have a gain of 1.
        """
        ...


class Focusing(Psf, Protocol):
    """A PSF of light of one wavelength, which modalities are put together from."""

    def ideal(self, radius_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the aberration-free profile in the focal plane, shape (n_r,)."""
        ...

    def gain_turn_per_um(self, tolerance: float) -> float:
        """See `Psf`; gains are 1 or Gaussians in depth, so that those of a product add as squares."""
        ...


def aperture(microscope: Microscope) -> float:
    """Return the largest NA rho that still propagates in every layer: min(NA, ns).

    Light steeper than that is evanescent in the sample; its phase would be complex.
    """
    return min(microscope.numerical_aperture, microscope.n_sample)


def focal_depth_um(microscope: Microscope, immersion_displacement_um: float) -> float:
    """Return the depth above the coverslip that is in focus: the inverse of `Microscope.focused`."""
    return -immersion_displacement_um * microscope.n_sample / microscope.n_immersion


@dataclass(frozen=True)
class Lens:
    """An objective with the phase of Gibson and Lanni, by quadrature over the pupil.

    The phase at ``s = NA rho`` with ``k = 2 pi / wavelength`` is (1991; see `Microscope`)::

        W = k [ z sqrt(ns^2 - s^2) + (ti0 + f) sqrt(ni^2 - s^2) - ti0 sqrt(ni0^2 - s^2)
                + tg sqrt(ng^2 - s^2) - tg0 sqrt(ng0^2 - s^2) ]

    Scalar, the intensity is ``|int_0^a J0(k s r) exp(i W) s ds|^2``. Vectorial, it is
    ``|I0|^2 + 2 |I1|^2 + |I2|^2``, the mean over dipoles that turn freely (B. Richards and E. Wolf, Proc. R. Soc. A
    253, 358-379 (1959); through layers: O. Haeberle et al., Opt. Express 11, 2964-2969 (2003), and F. Aguet et al.,
    "Super-resolution orientation estimation and localization of fluorescent dipoles using 3-D steerable filters",
    Opt. Express 17, 6829-6848 (2009)), with the transmission of both interfaces at normal Fresnel coefficients::

        Im = int g_m(s) Jm(k s r) exp(i W) s ds / sqrt(cos theta_i)
        g_0 = ts + tp cos theta_s,   g_1 = tp sin theta_s,   g_2 = ts - tp cos theta_s

    Attributes
    ----------
    microscope : Microscope
        Media and aperture.
    wavelength_um : float
        Vacuum wavelength.
    vectorial : bool
        The second intensity, or the first.
    """

    microscope: Microscope
    wavelength_um: float
    vectorial: bool = False

    @property
    def cutoff_per_um(self) -> float:
        """See `Psf`: 2 NA / wavelength."""
        return 2 * aperture(self.microscope) / self.wavelength_um

    @property
    def turn_per_um(self) -> float:
        """See `Psf`: what the phase advances by from the axial to the steepest ray."""
        index = self.microscope.n_sample
        return 2 * math.pi / self.wavelength_um * (index - math.sqrt(index**2 - aperture(self.microscope) ** 2))

    @property
    def light_um2(self) -> float:
        """See `Psf`: by Parseval over the pupil; every depth has the same."""
        theta, weights = self._pupil(64)
        terms = self._amplitudes(theta, weights)
        # over s ds, that is ns^2 sin cos d theta; an amplitude holds that measure once
        steepest = math.asin(aperture(self.microscope) / self.microscope.n_sample)
        measure = weights * steepest / 2 * np.sin(theta) * np.cos(theta) * self.microscope.n_sample**2
        total = sum(share * float((amplitude**2 / measure).sum()) for _, share, amplitude in terms)
        return 2 * math.pi * total / (2 * math.pi / self.wavelength_um) ** 2

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:  # noqa: ARG002
        """See `Psf`: 1."""
        return np.ones(len(depth_um))

    def gain_turn_per_um(self, tolerance: float) -> float:  # noqa: ARG002
        """See `Psf`: 0."""
        return 0.0

    def ideal(self, radius_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Focusing`."""
        flat = np.zeros((1, self._nodes(radius_um, np.zeros(1), 0.0)))
        return self._intensity(radius_um, flat)[:, 0]

    def profiles(
        self, radius_um: NDArray[np.float64], depth_um: NDArray[np.float64], immersion_displacement_um: float
    ) -> NDArray[np.float64]:
        """See `Psf`. Negative depths continue the sample's phase analytically."""
        theta, _ = self._pupil(self._nodes(radius_um, depth_um, immersion_displacement_um))
        sine = self.microscope.n_sample * np.sin(theta)
        return self._intensity(radius_um, self._phase(sine, depth_um, immersion_displacement_um))

    def _intensity(self, radius: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
        theta, weights = self._pupil(angle.shape[1])
        argument = 2 * math.pi / self.wavelength_um * radius[:, None] * (self.microscope.n_sample * np.sin(theta))
        cosine, sine = np.ascontiguousarray(np.cos(angle).T), np.ascontiguousarray(np.sin(angle).T)
        intensity = np.zeros((len(radius), len(angle)))
        for order, share, amplitude in self._amplitudes(theta, weights):
            _add_squared(_bessel(order, argument) * amplitude, cosine, sine, share, intensity)
        return intensity

    def _pupil(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # s = ns sin(theta) removes the square-root singularity at the edge of the pupil
        nodes, weights = gauss_legendre(count)
        steepest = math.asin(aperture(self.microscope) / self.microscope.n_sample)
        return (nodes + 1) / 2 * steepest, weights

    def _nodes(self, radius: NDArray[np.float64], depth: NDArray[np.float64], displacement: float) -> int:
        # a rule of n nodes integrates exp(i t x) on [-1, 1] once n exceeds t / 2
        m, wavenumber = self.microscope, 2 * math.pi / self.wavelength_um
        probe = m.n_sample * np.sin(np.linspace(0, math.asin(aperture(m) / m.n_sample), 129))
        ends = np.array([depth.min(initial=0.0), depth.max(initial=0.0)])
        turn = float(np.ptp(self._phase(probe, ends, displacement), axis=1).max())
        turn += wavenumber * aperture(m) * float(np.abs(radius).max(initial=0.0))
        return 8 * math.ceil(turn / 24 + 3)

    def _phase(self, sine: NDArray[np.float64], z: NDArray[np.float64], displacement: float) -> NDArray[np.float64]:
        m = self.microscope
        fixed = _leg(m.n_immersion, sine) * (m.working_distance_um + displacement)
        fixed -= _leg(m.n_immersion_design, sine) * m.working_distance_um
        fixed += _leg(m.n_glass, sine) * m.glass_um - _leg(m.n_glass_design, sine) * m.glass_design_um
        result: NDArray[np.float64] = 2 * math.pi / self.wavelength_um * (z[:, None] * _leg(m.n_sample, sine) + fixed)
        return result

    def _amplitudes(
        self, theta: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> list[tuple[int, float, NDArray[np.float64]]]:
        # (order of the Bessel function, share of the squared integral, weight of every node); focal peak 1
        ring = weights * np.sin(theta) * np.cos(theta)
        if not self.vectorial:
            return [(0, 1.0, ring / ring.sum())]
        m, sine = self.microscope, self.microscope.n_sample * np.sin(theta)
        i, g, s = _leg(m.n_immersion, sine), _leg(m.n_glass, sine), m.n_sample * np.cos(theta)
        ts = 2 * i / (i + g) * (2 * g / (g + s))
        tp = 2 * i * m.n_immersion * m.n_glass / (m.n_glass**2 * i + m.n_immersion**2 * g)
        tp *= 2 * g * m.n_glass * m.n_sample / (m.n_sample**2 * g + m.n_glass**2 * s)
        ring = ring / np.sqrt(i)
        zero = ring * (ts + tp * np.cos(theta))
        peak = zero.sum()
        first, second = ring * tp * np.sin(theta), ring * (ts - tp * np.cos(theta))
        return [(0, 1.0, zero / peak), (1, 2.0, first / peak), (2, 1.0, second / peak)]


@dataclass(frozen=True)
class Gaussian:
    """The paraxial Gaussian with the curvature of the focal peak: fast, without rings, and no light far from focus.

    The Airy disk ``(2 J1(v) / v)^2`` begins as ``exp(-v^2 / 4)`` with ``v = k NA r``, the axis ``sinc^2(u / 4)`` as
    ``exp(-u^2 / 48)`` with ``u = k NA^2 z / n``, so the standard deviations are ``sqrt(2) / (k NA)`` and
    ``2 sqrt(6) n / (k NA^2)`` (B. Zhang, J. Zerubia and J.-C. Olivo-Marin, "Gaussian approximations of fluorescence
    microscope point-spread function models", Appl. Opt. 46, 1819-1829 (2007), table 1).
    """

    microscope: Microscope
    wavelength_um: float

    @property
    def lateral_um(self) -> float:
        """Standard deviation across the axis."""
        return math.sqrt(2) / (2 * math.pi / self.wavelength_um * aperture(self.microscope))

    @property
    def axial_um(self) -> float:
        """Standard deviation along the axis."""
        wavenumber = 2 * math.pi / self.wavelength_um
        return 2 * math.sqrt(6) * self.microscope.n_sample / (wavenumber * aperture(self.microscope) ** 2)

    @property
    def cutoff_per_um(self) -> float:
        """See `Psf`: where the spectrum ``exp(-2 (pi f deviation)^2)`` is below 1e-10."""
        return 1.1 / self.lateral_um

    @property
    def turn_per_um(self) -> float:
        """See `Psf`: profiles are the same at all depths; any moderate number serves."""
        return 1.0

    @property
    def light_um2(self) -> float:
        """See `Psf`."""
        return 2 * math.pi * self.lateral_um**2

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:
        """See `Psf`: the axial Gaussian."""
        away = depth_um - focal_depth_um(self.microscope, immersion_displacement_um)
        values: NDArray[np.float64] = np.exp(-(away**2) / (2 * self.axial_um**2))
        return values

    def gain_turn_per_um(self, tolerance: float) -> float:
        """See `Psf`."""
        return gaussian_turn_per_um(self.axial_um, tolerance)

    def ideal(self, radius_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Focusing`."""
        values: NDArray[np.float64] = np.exp(-(radius_um**2) / (2 * self.lateral_um**2))
        return values

    def profiles(
        self,
        radius_um: NDArray[np.float64],
        depth_um: NDArray[np.float64],
        immersion_displacement_um: float,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """See `Psf`: the lateral Gaussian."""
        return np.repeat(self.ideal(radius_um)[:, None], len(depth_um), axis=1)


def gaussian_turn_per_um(deviation_um: float, tolerance: float) -> float:
    """Return where a Gaussian's spectrum, ``exp(-(k deviation)^2 / 2)``, has fallen to the tolerance."""
    return math.sqrt(-2 * math.log(tolerance)) / deviation_um


@lru_cache(maxsize=64)
def gauss_legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of the Gauss-Legendre rule on [-1, 1], by Newton's method from Tricomi's estimate.

    numpy's rule takes the eigenvalues of a matrix and may depend on LAPACK's threads in the last bit.
    """
    x = np.cos(np.pi * (np.arange(count, 0, -1) - 0.25) / (count + 0.5))
    for _ in range(4):
        before, value = np.ones_like(x), x
        for degree in range(2, count + 1):
            before, value = value, ((2 * degree - 1) * x * value - (degree - 1) * before) / degree
        slope = count * (x * value - before) / (x * x - 1)
        x = x - value / slope
    return x, 2 / ((1 - x * x) * slope * slope)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_squared(pupil: Any, cosine: Any, sine: Any, share: float, intensity: Any) -> None:
    # adds share |sum over s of pupil[r, s] (cosine + i sine)[s, z]|^2 to intensity[r, z]
    real, imaginary = np.empty(cosine.shape[1]), np.empty(cosine.shape[1])
    for r in range(len(pupil)):
        real[:] = 0.0
        imaginary[:] = 0.0
        for s in range(len(cosine)):
            factor, c, d = pupil[r, s], cosine[s], sine[s]
            for z in range(len(real)):
                real[z] += factor * c[z]
                imaginary[z] += factor * d[z]
        total = intensity[r]
        for z in range(len(real)):
            total[z] += share * (real[z] * real[z] + imaginary[z] * imaginary[z])


def _leg(index: float, sine: NDArray[np.float64]) -> NDArray[np.float64]:
    # the axial part of a ray's optical path in a layer of this index; rounding may leave the pupil's edge negative
    leg: NDArray[np.float64] = np.sqrt(np.maximum(index * index - sine * sine, 0.0))
    return leg


def _bessel(order: int, argument: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import j0, j1, jv

    functions: dict[int, Any] = {0: j0, 1: j1}
    values: NDArray[np.float64] = functions[order](argument) if order in functions else jv(order, argument)
    return values
