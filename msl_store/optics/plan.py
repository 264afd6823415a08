"""What images of one microscope, focus and range of positions share: the PSF's terms on a grid sized for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.optics.gridding import window
from msl_store.optics.separable import SeparablePsf, radial, separate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf

FIELD_MULTIPLE = 4
"""Emitters farther from the axis than this many fields of view are left out."""

SINGLE = 1e-4
"""From this tolerance up float32 suffices: rounding stays below 1e-5."""

_USUAL_EMITTERS = 20_000  # what a plan is made fast for


@dataclass(frozen=True, eq=False)
class Plan:
    """What images of one microscope, focus, range of positions and tolerance share.

    Attributes
    ----------
    depth_start_um, depth_step_um, peak, light_um2 : float
        Those of `msl_store.optics.separable.SeparablePsf`.
    reach_um : float
        Emitters farther from the axis along x or y are left out.
    pixels : int
        Side of the periodic domain.
    size_px : tuple of int
        Rows and columns of the image.
    grid : int
        Side of the spreading grid over the same domain.
    cells_per_um : float
        Grid cells in a um.
    touched : int
        Rows on either side of the grid's middle that emitters may reach.
    weights, table, transfer, row_factor, column_factor : ndarray
        What `msl_store.optics.gridding` asks for.
    """

    depth_start_um: float
    depth_step_um: float
    peak: float
    light_um2: float
    reach_um: float
    pixels: int
    size_px: tuple[int, int]
    grid: int
    cells_per_um: float
    touched: int
    weights: NDArray[Any]
    table: NDArray[Any]
    transfer: NDArray[Any]
    row_factor: NDArray[Any]
    column_factor: NDArray[Any]


@lru_cache(maxsize=256)
def make_plan(
    psf: Psf,
    pixel_um: float,
    size_px: tuple[int, int],
    immersion_displacement_um: float,
    depth_range_um: tuple[float, float],
    reach_px: float,
    tolerance: float,
    dim: float = 0.0,
) -> Plan:
    """Prepare images for a range of depths in um and of distances from the axis in pixels; 256 plans are kept.

    At a tolerance of 1e-3 a plan holds about half a megabyte and takes some 50 ms to make. `dim` is that of
    `msl_store.optics.separable.separate`.
    """
    from scipy.fft import next_fast_len, rfft2
    from scipy.special import erfc

    pixel, size = pixel_um, size_px
    half = max(size) / 2
    # a PSF that does not end falls to zero beyond the farthest pixel, over this width
    taper_px = max(8.0, -8 * math.log10(tolerance) - 16)
    reach = min(reach_px, FIELD_MULTIPLE * max(size))
    parts = separate(
        psf,
        immersion_displacement_um=immersion_displacement_um,
        depth_range_um=depth_range_um,
        radius_um=math.sqrt(2) * (half + reach + 2 * taper_px) * pixel,
        tolerance=tolerance,
        dim=dim,
    )
    spread_px = parts.spread_um / pixel
    reach = min(reach, half + spread_px)
    # from a pixel to an emitter, and on until the PSF ends or the farthest pixel's distance is covered both ways
    farthest = half + reach
    period = max(farthest + min(farthest + 2 * taper_px, spread_px), 2 * reach + 16, *size)
    pixels = next_fast_len(math.ceil(period), real=True)
    domain = pixels * pixel

    ends = period < 2 * (farthest + taper_px)
    # the fall widens the band; past this margin its spectrum, exp(-(pi f taper / 6)^2), is below 2e-3 of the tails
    samples = 2 * math.ceil(psf.cutoff_per_um * domain + 1 + (0 if ends else 4.8 / taper_px * pixels))
    transfer = np.empty((samples // 2 + 1, samples // 2 + 1, parts.profiles.shape[1]))
    steps = np.minimum(np.arange(samples), samples - np.arange(samples))
    squares, which = np.unique(steps[:, None] ** 2 + steps**2, return_inverse=True)
    values = radial(parts, np.sqrt(squares) * (domain / samples))
    past = (steps * (pixels / samples) - farthest) / taper_px
    taper = np.ones(samples) if ends else erfc(6 * past - 3) / 2
    for term in range(transfer.shape[2]):
        plane = values[:, term][which].reshape(samples, samples) * taper * taper[:, None]
        transfer[:, :, term] = rfft2(plane, workers=1)[: samples // 2 + 1].real / samples**2

    band = _band(parts, transfer, tolerance)
    width, grid = _gridding(parts, transfer[: band + 1], pixels, tolerance)
    modes = np.arange(-band, band + 1)
    kernel = window(width, grid / (2 * band + 1))
    # the grid's middle and the image's middle (between pixels) both are the optical axis
    turn = np.exp(1j * np.pi * modes) / kernel.transform(modes / grid)
    rows, columns = (turn * np.exp(2j * np.pi * modes * (0.5 - n / 2) / pixels) for n in size)
    real = np.float32 if tolerance >= SINGLE else np.float64
    compound = np.complex64 if tolerance >= SINGLE else np.complex128
    return Plan(
        depth_start_um=parts.depth_start_um,
        depth_step_um=parts.depth_step_um,
        peak=parts.peak,
        light_um2=parts.light_um2,
        reach_um=reach * pixel,
        pixels=pixels,
        size_px=size,
        grid=grid,
        cells_per_um=grid / domain,
        touched=min(math.ceil(reach * grid / pixels + width / 2) + 1, grid // 2),
        weights=parts.weights.astype(real),
        table=kernel.table(512 if tolerance >= SINGLE else 8192 if tolerance >= 1e-7 else 65536).astype(real),
        transfer=np.ascontiguousarray(transfer[: band + 1, : band + 1], real),
        row_factor=rows.astype(compound),
        column_factor=columns[band:].astype(compound),
    )


def _spectra(psf: SeparablePsf, transfer: NDArray[np.float64]) -> NDArray[np.float64]:
    # |Fourier transform of h(., z)|, summed over the rings of mode 0, 1, 2, ..., relative to what errors are
    rings = 2 * np.pi * np.arange(len(transfer)) + 1
    spectrum = np.abs(np.einsum("ck,zk->cz", transfer[:, 0], psf.node_weights))
    relative: NDArray[np.float64] = spectrum * rings[:, None] / psf.peaks
    return relative


def _band(psf: SeparablePsf, transfer: NDArray[np.float64], tolerance: float) -> int:
    beyond = np.cumsum(_spectra(psf, transfer)[::-1], axis=0)[::-1].max(axis=1)
    return max(int(np.count_nonzero(beyond > tolerance / 2)) - 1, 1)


def _gridding(psf: SeparablePsf, transfer: NDArray[np.float64], pixels: int, tolerance: float) -> tuple[int, int]:
    # the cheapest window width and grid whose aliasing is bounded by the tolerance; costs are in ns
    from scipy.fft import next_fast_len

    band, terms = len(transfer) - 1, transfer.shape[2]
    spectra = _spectra(psf, transfer)
    modes = np.arange(band + 1.0)
    best = (math.inf, 0, 0)
    for oversampling in np.arange(1.15, 2.3, 0.05):
        grid = next_fast_len(math.ceil((2 * band + 1) * oversampling), real=True)
        for width in range(3, 17):
            cost = _USUAL_EMITTERS * (20 + 0.08 * width**2 * terms) + 2 * terms * grid**2
            if cost >= best[0] or (width + 2) * pixels > 16 * grid:
                continue
            aliasing = window(width, grid / (2 * band + 1)).aliasing(modes, grid)
            if (2 * (spectra * aliasing[:, None]).sum(axis=0) <= tolerance).all():
                best = (cost, width, grid)
                break
    if not best[2]:
        return 16, next_fast_len(math.ceil((2 * band + 1) * 2.3), real=True)
    return best[1], best[2]
