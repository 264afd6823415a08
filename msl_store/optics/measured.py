"""A PSF measured on beads: a stack (z, y, x), averaged about its axis and continued between its samples."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.lens import focal_depth_um

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msl_store.optics.microscope import Microscope

_FADE = 0.4  # share of the radius over which a profile falls to zero
_FADE_BAND = 8.1  # past this over the fall's width its spectrum, exp(-(pi f width / 6)^2), is below 1e-7


@dataclass(frozen=True)
class MeasuredPsf:
    """A measured PSF as Bessel functions of the radius and sines of the depth; a `msl_store.optics.lens.Psf`.

    `measured_psf` makes one. Two are equal where their contents are.

    Attributes
    ----------
    microscope : Microscope
        Whose indices turn a displacement into a depth.
    radius_um : float
        Beyond it there is no light; it fades out over the last two fifths.
    low_um, step_um : float
        Depth, relative to the focus, one step below the first plane; distance of the planes.
    digest : str
        Of the coefficients.
    wavenumbers : ndarray of float64, shape (n_term,)
        Of the Bessel functions, in radians per um.
    coefficients : ndarray of float64, shape (n_term, n_plane)
        Of J0 times sine 1 to n_plane.
    """

    microscope: Microscope
    radius_um: float
    low_um: float
    step_um: float
    digest: str
    wavenumbers: NDArray[np.float64] = field(compare=False, repr=False)
    coefficients: NDArray[np.float64] = field(compare=False, repr=False)

    @property
    def cutoff_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`: Nyquist's frequency of the measurement, and the band of the fading."""
        return float(self.wavenumbers[-1]) / (2 * math.pi) + _FADE_BAND / (_FADE * self.radius_um)

    @property
    def turn_per_um(self) -> float:
        """See `msl_store.optics.lens.Psf`: Nyquist's frequency of the planes."""
        return math.pi / self.step_um

    @property
    def light_um2(self) -> float:
        """See `msl_store.optics.lens.Psf`: by the midpoint rule."""
        step = self.radius_um / 4096
        radius = step * (np.arange(4096, dtype=np.float64) + 0.5)
        values = self._values(radius, np.zeros(1))[:, 0]
        return 2 * math.pi * step * float((values * radius).sum())

    def gain(self, depth_um: NDArray[np.float64], immersion_displacement_um: float) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`: 1 where the PSF was measured, 0 above and below."""
        away = depth_um - focal_depth_um(self.microscope, immersion_displacement_um) - self.low_um
        measured: NDArray[np.float64] = ((away > 0) & (away < self._span_um)).astype(np.float64)
        return measured

    def gain_turn_per_um(self, tolerance: float) -> None:  # noqa: ARG002
        """See `msl_store.optics.lens.Psf`: the gain has a step."""
        return

    def profiles(
        self, radius_um: NDArray[np.float64], depth_um: NDArray[np.float64], immersion_displacement_um: float
    ) -> NDArray[np.float64]:
        """See `msl_store.optics.lens.Psf`."""
        return self._values(radius_um, depth_um - focal_depth_um(self.microscope, immersion_displacement_um))

    def to_dict(self) -> dict[str, Any]:
        """Return what tells this PSF from others, for provenance; the measurement is not among it."""
        return {
            "digest": self.digest,
            "radius_um": self.radius_um,
            "low_um": self.low_um,
            "step_um": self.step_um,
            "microscope": self.microscope.to_dict(),
        }

    @property
    def _span_um(self) -> float:
        planes: int = self.coefficients.shape[1]
        return self.step_um * (planes + 1)

    def _values(self, radius: NDArray[np.float64], away: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import erfc, j0

        orders = np.arange(1, self.coefficients.shape[1] + 1)
        sines = np.sin(np.pi / self._span_um * (away - self.low_um)[:, None] * orders)
        terms = np.einsum("km,zm->kz", self.coefficients, sines)
        past = (radius / self.radius_um - 1 + _FADE) / _FADE
        fade = np.where(radius < self.radius_um, erfc(6 * past - 3) / 2, 0.0)
        bessel = j0(np.minimum(radius, self.radius_um)[:, None] * self.wavenumbers) * fade[:, None]
        values: NDArray[np.float64] = np.einsum("rk,kz->rz", bessel, terms)
        return values


def measured_psf(values: ArrayLike, microscope: Microscope, *, pixel_um: float, step_um: float) -> MeasuredPsf:
    """Make a PSF of a measured stack.

    The axis runs through the centroid of the brightest plane's upper half. Values are expanded in the Bessel functions
    that vanish at the border (a Fourier-Bessel series, up to Nyquist's frequency), which averages over the angle, and
    in sines of the depth that meet all planes and vanish one step beyond the last.

    Parameters
    ----------
    values : array_like, shape (z, y, x)
        The image of a point in every plane, background taken off; a zarr array serves as well. Planes are ordered by
        the point's height above the focal plane: reverse a stack whose focus moved into the sample.
    microscope : Microscope
        Whose indices turn a displacement of the immersion into a depth.
    pixel_um, step_um : float
        Edge of a pixel and distance of planes, in sample space.

    Returns
    -------
    MeasuredPsf
        1 at its brightest plane's axis, which is the focus.

    Raises
    ------
    UsageError
        The values are not such a stack, or an edge is not above 0.
    """
    from scipy.special import j0, j1, jn_zeros

    stack = np.asarray(values, np.float64)
    if stack.ndim != 3 or min(stack.shape[1:], default=0) < 8 or not stack.size or not np.isfinite(stack).all():
        allowed = "axes (z, y, x), at least 8 rows and columns, and finite values"
        raise UsageError(f"a measured PSF of the shape {stack.shape} must have {allowed}")
    if not (0 < pixel_um < math.inf and 0 < step_um < math.inf):
        raise UsageError(f"pixel_um {pixel_um} and step_um {step_um} must be numbers above 0")
    middle, row, column = _centre(stack)
    rows, columns = (np.arange(n) - centre for n, centre in zip(stack.shape[1:], (row, column), strict=True))
    edge = min(row + 0.5, column + 0.5, stack.shape[1] - 0.5 - row, stack.shape[2] - 0.5 - column)
    away = np.hypot(rows[:, None], columns)
    within = away < edge
    zeros = jn_zeros(0, max(int(edge), 2))
    # on a grid of pixels the integral 2 / (R^2 J1^2) int h J0 r dr is a sum over pixels, 1 / (2 pi) each
    norms = math.pi * edge**2 * j1(zeros) ** 2
    bessel = j0(away[within][:, None] * (zeros / edge)) / norms
    series = np.einsum("pk,zp->kz", bessel, stack[:, within])
    axis = series.sum(axis=0)
    middle = int(np.argmax(axis))
    if not axis[middle] > 0:
        raise UsageError("a measured PSF has no light on its axis; its values must be positive there")
    planes = stack.shape[0]
    orders = np.arange(1, planes + 1)
    sines = np.sin(np.pi * np.outer(orders, orders) / (planes + 1)) * (2 / (planes + 1))
    coefficients = np.einsum("kz,zm->km", series / axis[middle], sines)
    text = repr((pixel_um, step_um, edge, middle)).encode() + coefficients.tobytes()
    return MeasuredPsf(
        microscope=microscope,
        radius_um=edge * pixel_um,
        low_um=-(middle + 1) * step_um,
        step_um=step_um,
        digest=hashlib.sha256(text).hexdigest(),
        wavenumbers=zeros / (edge * pixel_um),
        coefficients=coefficients,
    )


def read_measured_psf(path: str | Path, microscope: Microscope, *, pixel_um: float, step_um: float) -> MeasuredPsf:
    """Make a PSF of a TIFF stack; see `measured_psf`, which takes arrays, those of Zarr among them.

    Raises
    ------
    UsageError
        The file cannot be read, or does not hold such a stack.
    """
    import tifffile

    try:
        values = tifffile.imread(Path(path))
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise UsageError(f"{path}: {error}; allowed is a TIFF stack, or a Zarr array by measured_psf") from error
    return measured_psf(values, microscope, pixel_um=pixel_um, step_um=step_um)


def _centre(stack: NDArray[np.float64]) -> tuple[int, float, float]:
    # the brightest plane, and the centroid of what is above half of its maximum
    middle = int(np.argmax(stack.max(axis=(1, 2))))
    peak = float(stack[middle].max())
    if not peak > 0:
        raise UsageError("a measured PSF has no light; its values must be positive somewhere")
    bright = np.maximum(stack[middle] - peak / 2, 0)
    rows, columns = np.indices(bright.shape)
    return middle, float((bright * rows).sum() / bright.sum()), float((bright * columns).sum() / bright.sum())
