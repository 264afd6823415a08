"""What images of one microscope, focus and range of positions share: the PSF's terms on a grid sized for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msl_store.optics.separable import separate
from msl_store.optics.transfer import (
    Grid,
    Square,
    cheapest_grid,
    lost,
    make_grid,
    padded,
    ring_spectra,
    sampled,
    transfer_functions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf

DIM = 1 / 16
"""Depths dimmer than this share of the brightest are first computed to that share only.

Their emitters hardly show beside brighter ones. Should the image, or the light of its emitters on average, be as dim as
that, there were none: it is computed anew, every depth to its own brightness.
"""

FIELD_MULTIPLE = 4
"""Emitters farther from the axis than this many fields of view are left out."""


@dataclass(frozen=True)
class Scope:
    """What plans are made for; emitters within it are imaged to its tolerance at any focus that a plan is made for.

    Attributes
    ----------
    psf : Psf
        The PSF.
    pixel_um : float
        Edge of a pixel.
    size_px : tuple of int
        Rows and columns of an image.
    depth_range_um : tuple of float
        Least and largest depth of an emitter.
    reach_px : float
        Largest distance of an emitter from the axis along x or y.
    tolerance : float
        Largest error, as a fraction of an image's maximum.
    """

    psf: Psf
    pixel_um: float
    size_px: tuple[int, int]
    depth_range_um: tuple[float, float]
    reach_px: float
    tolerance: float


@dataclass(frozen=True, eq=False)
class Plan:
    """What images of one microscope, focus, range of positions and tolerance share.

    Attributes
    ----------
    grid : Grid
        Where emitters are spread.
    depth_start_um, depth_step_um, peak, light_um2 : float
        Those of `msl_store.optics.separable.SeparablePsf`.
    weights : ndarray, shape (n_depth, n)
        Those of `msl_store.optics.separable.SeparablePsf`, and terms of zero.
    transfer : ndarray, shape (band + 1, n_term, band + 1)
        The transform of every term at modes 0 to the band of rows and columns.
    accuracy : float
        Errors of a mode, relative to the emitters' weights, that the tolerance leaves room for.
    """

    grid: Grid
    depth_start_um: float
    depth_step_um: float
    peak: float
    light_um2: float
    weights: NDArray[Any]
    transfer: NDArray[Any]
    accuracy: float


@lru_cache(maxsize=256)
def make_plan(scope: Scope, immersion_displacement_um: float, dim: float = 0.0) -> Plan:
    """Prepare images of one focus; 256 plans are kept.

    At a tolerance of 1e-3 a plan holds about half a megabyte and takes some 10 ms to make. `dim` is that of
    `msl_store.optics.separable.separate`.
    """
    from scipy.fft import next_fast_len

    psf, pixel_um, tolerance = scope.psf, scope.pixel_um, scope.tolerance
    half = max(scope.size_px) / 2
    # a PSF that does not end falls to zero beyond the farthest pixel, over this width
    taper_px = max(8.0, -8 * math.log10(tolerance) - 16)
    reach = min(scope.reach_px, FIELD_MULTIPLE * max(scope.size_px))
    parts = separate(
        psf,
        immersion_displacement_um=immersion_displacement_um,
        depth_range_um=scope.depth_range_um,
        radius_um=math.sqrt(2) * (half + reach + 2 * taper_px) * pixel_um,
        tolerance=tolerance,
        dim=dim,
    )
    spread_px = parts.spread_um / pixel_um
    reach = min(reach, half + spread_px)
    # from a pixel to an emitter, and on until the PSF ends or the farthest pixel's distance is covered both ways
    farthest = half + reach
    period = max(farthest + min(farthest + 2 * taper_px, spread_px), 2 * reach + 16, *scope.size_px)
    ends = period < 2 * (farthest + taper_px)
    pixels = next_fast_len(math.ceil(period), real=True)
    square = Square(pixels, pixel_um, farthest, 0.0 if ends else taper_px)

    quarter, axis = sampled(parts.profiles, parts.radius_step_um, square, psf.cutoff_per_um, tolerance)
    spectra = ring_spectra(axis, parts.node_weights, parts.peaks)
    band = max(int((lost(spectra) > tolerance / 2).sum()) - 1, 1)
    width, side = cheapest_grid(spectra[: band + 1], parts.profiles.shape[1], pixels, tolerance)
    return Plan(
        grid=make_grid(square, scope.size_px, reach_px=reach, band=band, width=width, side=side, tolerance=tolerance),
        depth_start_um=parts.depth_start_um,
        depth_step_um=parts.depth_step_um,
        peak=parts.peak,
        light_um2=parts.light_um2,
        weights=padded(parts.weights, tolerance),
        transfer=transfer_functions(quarter, band),
        accuracy=tolerance * (dim or 1.0) / 8,
    )
