"""How modalities put PSFs of one wavelength together: squared, through a pinhole, or lit by a sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from msl_store.optics.interpolation import shares, step_for
from msl_store.optics.lens import focal_depth_um, gauss_legendre, gaussian_turn_per_um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Focusing
    from msl_store.optics.microscope import Microscope

_ERROR = 4e-9  # of interpolation between the samples that a pinhole averages


@dataclass(frozen=True)
class Squared:
    """The square of an intensity: two-photon excitation at its own wavelength, and the published confocal model.

    W. Denk, J. Strickler and W. Webb, "Two-photon laser scanning fluorescence microscopy", Science 248, 73-76 (1990).
    """

    base: Focusing

    @property
    def cutoff_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return self.base.cutoff_per_um * 2

    @property
    def turn_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return self.base.turn_per_um * 2

    @property
    def light_um2(self) -> None:
        """See `msl_store.optics.lens.Psf`: scanned."""
        return

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`."""
        return self.base.gain(depth_um, immersion_displacement_um) ** 2

    def gain_turn_per_um(self, tolerance: float) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return math.sqrt(2) * self.base.gain_turn_per_um(tolerance)

    def profiles(
        self, radius_um: NDArray[np.float64], depth_um: NDArray[np.float64], immersion_displacement_um: float
    ) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`."""
        once = self.base.profiles(radius_um, depth_um, immersion_displacement_um)
        return once * once


@dataclass(frozen=True)
class Confocal:
    """A scanned focus seen through a pinhole: the excitation times the emission averaged over the pinhole.

    T. Wilson and C. Sheppard, "Theory and Practice of Scanning Optical Microscopy", Academic Press (1984), chapter 3:
    the detector of an incoherent confocal microscope sees ``h_ex (h_em * D)``, D being the pinhole in sample space.
    """

    excitation: Focusing
    emission: Focusing
    pinhole_um: float
    """Diameter of the pinhole in sample space."""

    @property
    def cutoff_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return self.excitation.cutoff_per_um + self.emission.cutoff_per_um

    @property
    def turn_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return self.excitation.turn_per_um + self.emission.turn_per_um

    @property
    def light_um2(self) -> None:
        """See `msl_store.optics.lens.Psf`: scanned."""
        return

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`."""
        gains = (lens.gain(depth_um, immersion_displacement_um) for lens in (self.excitation, self.emission))
        return next(gains) * next(gains)

    def gain_turn_per_um(self, tolerance: float) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return math.hypot(*(lens.gain_turn_per_um(tolerance) for lens in (self.excitation, self.emission)))

    def profiles(
        self, radius_um: NDArray[np.float64], depth_um: NDArray[np.float64], immersion_displacement_um: float
    ) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`."""
        lit = self.excitation.profiles(radius_um, depth_um, immersion_displacement_um)
        samples = self._samples(radius_um)
        seen = self._through(radius_um, self.emission.profiles(samples, depth_um, immersion_displacement_um))
        centre = np.zeros(1)
        best = self._through(centre, self.emission.ideal(self._samples(centre))[:, None])
        confocal: NDArray[np.float64] = lit * seen / best[0, 0]
        return confocal

    @property
    def _step_um(self) -> float:
        return step_for(_ERROR, 2 * math.pi * self.emission.cutoff_per_um)

    def _samples(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        far = float(radius.max(initial=0.0)) + self.pinhole_um / 2
        return self._step_um * np.arange(math.ceil(far / self._step_um) + 8, dtype=np.float64)

    def _through(self, radius: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
        # the mean over the pinhole's disk: Gauss-Legendre in the radius, and equal steps of the angle
        turn = math.pi * self.pinhole_um * self.emission.cutoff_per_um
        nodes, weights = gauss_legendre(math.ceil(turn / 4) + 10)
        away = (nodes + 1) * self.pinhole_um / 4
        share = weights * away
        half_turns = math.ceil(turn) + 12
        cosines = np.cos(np.pi * (np.arange(half_turns) + 0.5) / half_turns)
        seen = np.zeros((len(radius), table.shape[1]))
        _average(radius / self._step_um, away / self._step_um, share / share.sum() / half_turns, cosines, table, seen)
        return seen


@dataclass(frozen=True)
class LightSheet:
    """Emission seen as in widefield, from a sheet of light about the focal plane.

    The sheet is a Gaussian in depth and as thick everywhere in the field, as near the waist of J. Huisken et al.,
    "Optical sectioning deep inside live embryos by selective plane illumination microscopy", Science 305, 1007 (2004).
    """

    emission: Focusing
    microscope: Microscope
    sheet_um: float
    """Full width at half maximum."""

    @property
    def cutoff_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return self.emission.cutoff_per_um

    @property
    def turn_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`."""
        return self.emission.turn_per_um

    @property
    def light_um2(self) -> float | None:
        """See `msl_store.optics.lens.Psf`."""
        return self.emission.light_um2

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`: the sheet."""
        away = (depth_um - focal_depth_um(self.microscope, immersion_displacement_um)) / self.sheet_um
        sheet: NDArray[np.float64] = np.exp(-4 * math.log(2) * away**2)
        return sheet * self.emission.gain(depth_um, immersion_displacement_um)

    def gain_turn_per_um(self, tolerance: float) -> float:
        """See `msl_store.optics.lens.Psf`."""
        sheet = gaussian_turn_per_um(self.sheet_um / math.sqrt(8 * math.log(2)), tolerance)
        return math.hypot(sheet, self.emission.gain_turn_per_um(tolerance))

    def profiles(
        self, radius_um: NDArray[np.float64], depth_um: NDArray[np.float64], immersion_displacement_um: float
    ) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`."""
        return self.emission.profiles(radius_um, depth_um, immersion_displacement_um)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average(radii: Any, away: Any, share: Any, cosines: Any, table: Any, seen: Any) -> None:
    # lengths in samples of the table, which is even in the radius; first the share of every sample, then their sum
    total, point = np.zeros(len(table)), np.empty(12)
    for r in range(len(radii)):
        low, high = len(table), 0
        for p in range(len(away)):
            for a in range(len(cosines)):
                square = radii[r] ** 2 + away[p] ** 2 - 2 * radii[r] * away[p] * cosines[a]
                position = math.sqrt(max(square, 0.0))
                first = int(position)
                shares(position - first, point)
                for k in range(12):
                    total[abs(first + k - 5)] += share[p] * point[k]
                low, high = min(low, max(first - 5, 0)), max(high, first + 7, 6 - first)
        mean = seen[r]
        for j in range(low, high):
            row, factor = table[j], total[j]
            for z in range(len(mean)):
                mean[z] += factor * row[z]
            total[j] = 0.0
