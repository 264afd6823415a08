"""Imaging by voxels and FFTs, as one would without the engine: what `imaging_peers.py` compares it with.

Emitters become a volume of voxels; every plane of it is convolved with the PSF of its depth by FFT. Voxels are a whole
fraction of a pixel, so that pixels are sampled at their centres, and FFTs do not wrap around. All is float32, kernels
are transformed once, and only what an image needs is computed. Two ways to go about it:

- *plain*: an emitter goes into the nearest voxel or is shared by the nearest eight, and the PSF is taken as it is;
- *particle mesh*, the best that we could make of it: shared by eight, with a kernel sharpened by what sharing blurs
  (as in R. W. Hockney and J. W. Eastwood, "Computer Simulation Using Particles", McGraw-Hill (1981), chapter 5), and
  frequencies beyond the PSF's cut-off left out of products and inverse transforms.

A stack takes one forward transform of every voxel plane and the kernels of every focus; or, as `StackByVolume`, one
convolution in three dimensions, for which the PSF must be the same at every focus but for a shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy.fft import dctn, fft, idctn, ifft, irfft2, next_fast_len, rfft2, rfftn
from scipy.interpolate import CubicSpline

from msl_store.optics.psf import cutoff, point_spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msl_store.optics.microscope import Microscope

HALF_PX = 64
"""Images are 128 x 128."""


@dataclass(frozen=True)
class Voxels:
    """Voxels about a shape: `fine` along a pixel's edge, `step_um` deep, ``planes x side x side`` of them.

    Voxel (0, side / 2, side / 2) has its centre at `low_um` and that of pixel (64, 64).
    """

    fine: int
    step_um: float
    planes: int
    side: int
    low_um: float
    reach_px: int
    shared: bool
    corrected: bool

    @property
    def count(self) -> int:
        """How many voxels there are."""
        return self.planes * self.side**2

    @property
    def depths_um(self) -> np.ndarray:
        """Centres of the planes."""
        return self.low_um + self.step_um * np.arange(self.planes)

    def __str__(self) -> str:
        """Return the grid in a few words."""
        return f"pixel/{self.fine} x {1000 * self.step_um:g} nm"


def voxels_about(
    emitters: np.ndarray,
    microscope: Microscope,
    fine: int,
    step_um: float,
    *,
    shared: bool,
    corrected: bool = False,
    origin_um: float = 0.0,
) -> Voxels:
    """Return the voxels that hold emitters, with planes at whole multiples of the step from the origin."""
    reach_px = math.ceil(np.abs(emitters[:, :2]).max() / microscope.pixel_um) + 1
    period = 2 * next_fast_len(HALF_PX + reach_px, real=True)
    low = origin_um + step_um * math.floor((emitters[:, 2].min() - origin_um) / step_um)
    planes = math.ceil((emitters[:, 2].max() - low) / step_um) + 1
    return Voxels(fine, step_um, planes, fine * period, low, reach_px, shared, corrected)


def voxelised(emitters: np.ndarray, microscope: Microscope, voxels: Voxels) -> np.ndarray:
    """Put emitters into voxels, shape (planes, side, side)."""
    volume = np.zeros((voxels.planes, voxels.side, voxels.side), np.float32)
    edge = microscope.pixel_um / voxels.fine
    _fill(volume, emitters, voxels.low_um, voxels.step_um, microscope.pixel_um / 2, edge, voxels.shared)
    return volume


@numba.njit(error_model="numpy")
def _fill(volume: Any, emitters: Any, low: float, step: float, middle: float, edge: float, shared: bool) -> None:
    half = volume.shape[1] // 2
    for i in range(len(emitters)):
        z, y, x = (
            (emitters[i, 2] - low) / step,
            (emitters[i, 1] - middle) / edge + half,
            (emitters[i, 0] - middle) / edge + half,
        )
        if not shared:
            volume[int(z + 0.5), int(y + 0.5), int(x + 0.5)] += 1
            continue
        k, j, m = int(z), int(y), int(x)
        for c in range(2):
            for b in range(2):
                share = (z - k if c else 1 - z + k) * (y - j if b else 1 - y + j)
                volume[k + c, j + b, m] += share * (1 - x + m)
                volume[k + c, j + b, m + 1] += share * (x - m)


def _quadrants(voxels: Voxels, microscope: Microscope, depths_um: np.ndarray, displacement_um: float) -> np.ndarray:
    # transforms of the PSF on the voxels of every plane: real and even, so a quarter of it tells all
    half = voxels.side // 2
    edge = microscope.pixel_um / voxels.fine
    squares, which = np.unique(np.add.outer(np.arange(half + 1) ** 2, np.arange(half + 1) ** 2), return_inverse=True)
    radii = np.linspace(0, math.sqrt(2) * half * edge, math.ceil(48 * half * edge * cutoff(microscope)))
    step = voxels.step_um if voxels.corrected else 0.0
    around = np.concatenate([[depths_um[0] - step], depths_um, [depths_um[-1] + step]])
    profiles = point_spread(radii, around, microscope, immersion_displacement_um=displacement_um)
    if voxels.corrected:
        # sharing between two planes adds step^2 / 6 to twice the variance in depth
        profiles[:, 1:-1] -= (profiles[:, 2:] - 2 * profiles[:, 1:-1] + profiles[:, :-2]) / 12
    values = CubicSpline(radii, profiles[:, 1:-1])(np.sqrt(squares) * edge).astype(np.float32)
    quarter = values.T[:, which.reshape(half + 1, half + 1)]
    spectra: np.ndarray = dctn(quarter, type=1, axes=(1, 2), overwrite_x=True)
    if voxels.corrected:
        blur = np.sinc(np.arange(half + 1) / voxels.side) ** 2
        spectra /= (blur[:, None] * blur).astype(np.float32)
    return spectra


def _band(voxels: Voxels, microscope: Microscope) -> int:
    # the highest mode that is kept
    if not voxels.corrected:
        return voxels.side // 2
    highest = math.ceil(cutoff(microscope) * microscope.pixel_um * voxels.side / voxels.fine)
    return min(highest, voxels.side // 2 - 1)


def kernel(voxels: Voxels, microscope: Microscope, displacement_um: float) -> np.ndarray:
    """Return the transfer function of every plane, shape (planes, rows, columns): modes 0, 1, ..., -1; and 0, 1, ..."""
    band = _band(voxels, microscope)
    quarter = _quadrants(voxels, microscope, voxels.depths_um, displacement_um)[:, : band + 1, : band + 1]
    mirror = quarter[:, -2:0:-1] if band == voxels.side // 2 else quarter[:, :0:-1]
    return np.ascontiguousarray(np.concatenate([quarter, mirror], axis=1))


def kernel_bytes(voxels: Voxels, microscope: Microscope) -> int:
    """Return how much memory `kernel` takes."""
    band = _band(voxels, microscope)
    return 4 * voxels.planes * (2 * band + 1) * (band + 1)


def psf_volume(voxels: Voxels, microscope: Microscope, depths_um: np.ndarray, displacement_um: float) -> np.ndarray:
    """Return the PSF of emitters at some depths on the voxels, shape (depth, 2 r + 1, 2 r + 1), wide enough."""
    radius = (HALF_PX + voxels.reach_px) * voxels.fine - 1
    quarter = idctn(_quadrants(voxels, microscope, depths_um, displacement_um), type=1, axes=(1, 2), overwrite_x=True)
    quarter = quarter[:, : radius + 1, : radius + 1]
    half = np.concatenate([quarter[:, :0:-1], quarter], axis=1)
    return np.ascontiguousarray(np.concatenate([half[:, :, :0:-1], half], axis=2))


class StackByPlanes:
    """Images at some focuses: kernels once, then one forward transform of every voxel plane."""

    def __init__(self, voxels: Voxels, microscope: Microscope, displacements_um: Sequence[float]) -> None:
        self.voxels, self.microscope = voxels, microscope
        self.band = _band(voxels, microscope)
        self.kernels = [kernel(voxels, microscope, displacement) for displacement in displacements_um]

    def __call__(self, emitters: np.ndarray) -> np.ndarray:
        """Image emitters, shape (focus, 128, 128)."""
        side, fine, band = self.voxels.side, self.voxels.fine, self.band
        modes = rfft2(voxelised(emitters, self.microscope, self.voxels), workers=1)
        whole = band == side // 2
        if not whole:
            modes = np.concatenate([modes[:, : band + 1, : band + 1], modes[:, -band:, : band + 1]], axis=1)
            fine = next(f for f in range(1, fine + 1) if side // self.voxels.fine * f >= 2 * band + 2)
            side = side // self.voxels.fine * fine
        images = []
        for planes in self.kernels:
            spectrum = np.zeros((side, side // 2 + 1), np.complex64)
            total = np.zeros(modes.shape[1:], np.complex64)
            _add_products(modes, planes, total)
            if whole:
                spectrum = total
            else:
                spectrum[: band + 1, : band + 1], spectrum[-band:, : band + 1] = total[: band + 1], total[band + 1 :]
            image = irfft2(spectrum, (side, side), workers=1, overwrite_x=True)
            at = side // 2 + (np.arange(128) - HALF_PX) * fine
            images.append(image[np.ix_(at, at)] * (fine / self.voxels.fine) ** 2)
        return np.array(images)


@numba.njit(error_model="numpy")
def _add_products(modes: Any, planes: Any, total: Any) -> None:
    for z in range(len(modes)):
        for row in range(modes.shape[1]):
            for column in range(modes.shape[2]):
                total[row, column] += modes[z, row, column] * planes[z, row, column]


def _offsets(voxels: Voxels, z_um: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    # voxel planes at the images' depths, and all distances of these from planes of the volume
    seen = np.rint((np.asarray(z_um) - voxels.low_um) / voxels.step_um).astype(int)
    return seen, np.arange(seen[0] - voxels.planes + 1, seen[-1] + 1)


def volume_bytes(voxels: Voxels, z_um: Sequence[float]) -> int:
    """Return how much memory the kernel of `StackByVolume` takes."""
    return 8 * len(_offsets(voxels, z_um)[1]) * voxels.side * (voxels.side // 2 + 1)


class StackByVolume:
    """Images at some depths by one convolution in three dimensions, with the PSF of a focus on the middle."""

    def __init__(self, voxels: Voxels, microscope: Microscope, z_um: Sequence[float]) -> None:
        self.voxels, self.microscope = voxels, microscope
        self.seen, away = _offsets(voxels, z_um)
        self.length = next_fast_len(len(away))
        band = voxels.side // 2
        quarter = _quadrants(voxels, microscope, -away[::-1] * voxels.step_um, microscope.focused(0.0))[:, ::-1][
            :, ::-1
        ]
        planes = np.zeros((self.length, *quarter.shape[1:]), np.complex64)
        planes[away % self.length] = quarter[::-1]
        planes = fft(planes, axis=0, overwrite_x=True)
        self.kernel = np.concatenate([planes, planes[:, band - 1 : 0 : -1]], axis=1)

    def __call__(self, emitters: np.ndarray) -> np.ndarray:
        """Image emitters, shape (depth, 128, 128)."""
        side = self.voxels.side
        volume = voxelised(emitters, self.microscope, self.voxels)
        modes = rfftn(volume, (self.length, side, side), workers=1)
        modes *= self.kernel
        planes = ifft(modes, axis=0, overwrite_x=True, workers=1)[self.seen % self.length]
        images = irfft2(planes, (side, side), workers=1, overwrite_x=True)
        at = side // 2 + (np.arange(128) - HALF_PX) * self.voxels.fine
        return images[:, at[:, None], at]
