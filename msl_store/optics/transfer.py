"""Radial profiles as transfer functions on a periodic square, and the grid that suits them: what all plans share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from msl_store.optics.gridding import Window, window
from msl_store.optics.interpolation import shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

SINGLE = 1e-4
"""From this tolerance up float32 suffices: rounding stays below 1e-5."""

_USUAL_EMITTERS = 20_000  # what a grid is made fast for
_CHUNK = 8  # terms that one instruction handles: tables of weights are filled up to a multiple with zeros


@dataclass(frozen=True)
class Square:
    """The periodic square that images are computed on, and where the PSF is let fall to zero.

    Attributes
    ----------
    pixels : int
        Its side.
    pixel_um : float
        Edge of a pixel.
    farthest_px : float
        Largest distance between a pixel and an emitter along an axis.
    taper_px : float
        Width of the fall that begins there; 0 where the PSF ends by itself.
    """

    pixels: int
    pixel_um: float
    farthest_px: float
    taper_px: float

    @property
    def side_um(self) -> float:
        """Its side in um."""
        return self.pixels * self.pixel_um


@dataclass(frozen=True, eq=False)
class Grid:
    """Where emitters are spread, and how its modes become those of the pixels: the non-uniform part of a plan.

    Attributes
    ----------
    pixels : int
        Side of the periodic square in pixels.
    size_px : tuple of int
        Rows and columns of the image.
    side : int
        Side of the spreading grid over the same square.
    cells_per_um : float
        Grid cells in a um.
    reach_um : float
        Emitters farther from the axis along x or y are left out.
    touched : int
        Rows on either side of the optical axis that emitters may reach; the grid has these alone.
    band : int
        Modes -band to band are used.
    table : ndarray, shape (n + 1, width)
        That of `msl_store.optics.gridding.Window.table`.
    row_factor, column_factor : ndarray of complex, shapes (2 band + 1,), (band + 1,)
        What modes are multiplied by, for rows -band to band and columns 0 to band: shifts of the axis, and the inverse
        of the window's transform.
    """

    pixels: int
    size_px: tuple[int, int]
    side: int
    cells_per_um: float
    reach_um: float
    touched: int
    band: int
    table: NDArray[Any]
    row_factor: NDArray[Any]
    column_factor: NDArray[Any]


def make_grid(
    square: Square, size_px: tuple[int, int], *, reach_px: float, band: int, width: int, side: int, tolerance: float
) -> Grid:
    """Return the grid of `side` cells for a window of `width` cells."""
    modes = np.arange(-band, band + 1)
    kernel = window(width, side / (2 * band + 1))
    scale = 1 / kernel.transform(modes / side)
    touched = min(math.ceil(reach_px * side / square.pixels + width / 2) + 1, side // 2)
    # from the optical axis, at row `touched` and in the middle of the columns, to the first pixel's centre
    rows, columns = (
        scale * np.exp(2j * np.pi * modes * (middle / side + (0.5 - n / 2) / square.pixels))
        for n, middle in zip(size_px, (touched, side / 2), strict=True)
    )
    single = tolerance >= SINGLE
    return Grid(
        pixels=square.pixels,
        size_px=size_px,
        side=side,
        cells_per_um=side / square.side_um,
        reach_um=reach_px * square.pixel_um,
        touched=touched,
        band=band,
        table=kernel.table(512 if single else 8192 if tolerance >= 1e-7 else 65536).astype(_real(tolerance)),
        row_factor=rows.astype(np.complex64 if single else np.complex128),
        column_factor=columns[band:].astype(np.complex64 if single else np.complex128),
    )


def _real(tolerance: float) -> type[np.floating[Any]]:
    return np.float32 if tolerance >= SINGLE else np.float64


def padded(weights: NDArray[np.float64], tolerance: float) -> NDArray[Any]:
    """Return weights (n_depth, n_term) for `msl_store.optics.gridding.spread`, with terms of zero to a round number."""
    depths, terms = weights.shape
    filled = np.zeros((depths, -(-terms // _CHUNK) * _CHUNK), _real(tolerance))
    filled[:, :terms] = weights
    return filled


def sampled(
    profiles: NDArray[np.float64], radius_step_um: float, square: Square, cutoff_per_um: float, tolerance: float
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Sample radial profiles, (n_radius, n_term), over a quarter of the square.

    Returns
    -------
    quarter : ndarray, shape (n, n, n_term)
        Values at distances 0 to half the side along both axes, where samples are dense enough for the cut-off.
    axis : ndarray of float64, shape (n, n_term)
        The transforms of the terms at modes 0, 1, 2, ... of one axis and mode 0 of the other.
    """
    from scipy.fft import dct, next_fast_len

    # the fall widens the band; past this margin its spectrum, exp(-(pi f taper / 6)^2), is below 2e-3 of the tails
    wider = 4.8 / square.taper_px * square.pixels if square.taper_px else 0.0
    half = next_fast_len(math.ceil(cutoff_per_um * square.side_um + 1 + wider), real=True)
    quarter = np.empty((half + 1, half + 1, profiles.shape[1]), _real(tolerance))
    sums = np.zeros((half + 1, profiles.shape[1]))
    _sample(profiles, square.side_um / (2 * half) / radius_step_um, _fall(square, half), quarter, sums)
    return quarter, dct(sums, type=1, axis=0, overwrite_x=True, workers=1) / (2 * half) ** 2


def _fall(square: Square, half: int) -> NDArray[np.float64]:
    from scipy.special import erfc

    if not square.taper_px:
        return np.ones(half + 1)
    past = (np.arange(half + 1) * (square.pixels / (2 * half)) - square.farthest_px) / square.taper_px
    fall: NDArray[np.float64] = erfc(6 * past - 3) / 2
    return fall


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sample(table: Any, rows_per_sample: float, fall: Any, quarter: Any, sums: Any) -> None:
    # sums are those over rows of the whole square
    size, terms = quarter.shape[0], quarter.shape[2]
    share, value = np.empty(12), np.empty(terms)
    for i in range(size):
        for j in range(i + 1):
            position = math.sqrt(i * i + j * j) * rows_per_sample
            first = int(position)
            shares(position - first, share)
            value[:] = 0.0
            for p in range(12):
                factor = share[p] * fall[i] * fall[j]
                row = table[min(abs(first + p - 5), len(table) - 1)]
                for k in range(terms):
                    value[k] += factor * row[k]
            here, mirrored, total, other = quarter[i, j], quarter[j, i], sums[j], sums[i]
            times = 1.0 if i in (0, size - 1) else 2.0
            times_mirrored = 0.0 if i == j else 1.0 if j == 0 else 2.0
            for k in range(terms):
                here[k] = mirrored[k] = value[k]
                total[k] += times * value[k]
                other[k] += times_mirrored * value[k]


def transfer_functions(quarter: NDArray[Any], band: int) -> NDArray[Any]:
    """Return the transforms of what `sampled` returned at modes 0 to `band`, shape (band + 1, n_term, band + 1).

    The samples are lost.
    """
    from scipy.fft import dct

    columns = dct(quarter, type=1, axis=1, overwrite_x=True, workers=1)[:, : band + 1]
    both = dct(columns, type=1, axis=0, overwrite_x=True, workers=1)[: band + 1]
    result: NDArray[Any] = np.ascontiguousarray(both.transpose(0, 2, 1))
    result /= (2 * len(quarter) - 2) ** 2
    return result


def ring_spectra(
    axis: NDArray[np.float64], depth_weights: NDArray[np.float64], peaks: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return |Fourier transform of h(., z)| summed over the ring of each mode, relative to what errors are.

    Parameters
    ----------
    axis : ndarray, shape (n_mode, n_term)
        Transforms along one axis, as `sampled` returns them.
    depth_weights : ndarray, shape (n_depth, n_term)
        v_k at some depths.
    peaks : ndarray, shape (n_depth,)
        What errors are relative to.

    Returns
    -------
    ndarray of float64, shape (n_mode, n_depth)
    """
    rings = 2 * np.pi * np.arange(len(axis)) + 1
    spectrum = np.abs(np.einsum("ck,zk->cz", axis, depth_weights))
    relative: NDArray[np.float64] = spectrum * rings[:, None] / peaks
    return relative


def lost(spectra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how large an error leaving out modes n, n + 1, ... makes; see `ring_spectra`.

    Returns
    -------
    ndarray of float64, shape (n_mode + 1,)
        For n of 0, 1, 2, ...; the last is 0.
    """
    return np.append(np.cumsum(spectra[::-1], axis=0)[::-1].max(axis=1), 0.0)


def fits(spectra: NDArray[np.float64], kernel: Window, side: int, tolerance: float) -> bool:
    """Whether aliasing of the rings of modes 0 to the band, (band + 1, n_depth), stays below the tolerance."""
    aliasing = kernel.aliasing(np.arange(float(len(spectra))), side)
    return bool((2 * (spectra * aliasing[:, None]).sum(axis=0) <= tolerance).all())


def cheapest_grid(spectra: NDArray[np.float64], terms: int, pixels: int, tolerance: float) -> tuple[int, int]:
    """Return the width of the window and the side of the grid that cost least and fit; see `fits`."""
    from scipy.fft import next_fast_len

    count = 2 * len(spectra) - 1
    sides = {next_fast_len(math.ceil(count * oversampling), real=True) for oversampling in np.arange(1.15, 2.3, 0.05)}
    # in ns; an emitter's cost is that of the terms as they are padded
    side_by_side = -(-terms // _CHUNK) * _CHUNK
    choices = sorted(
        (_USUAL_EMITTERS * (18 + 0.05 * width**2 * side_by_side) + 2 * terms * side**2, width, side)
        for side in sides
        for width in range(3, 17)
        if (width + 2) * pixels <= 16 * side
    )
    for _, width, side in choices:
        # by section 4 of the window's paper, no window of this width does much better
        if math.exp(-math.pi * width * math.sqrt(1 - count / side)) > 30 * tolerance:
            continue
        if fits(spectra, window(width, side / count), side, tolerance):
            return width, side
    return 16, next_fast_len(math.ceil(count * 2.3), real=True)
