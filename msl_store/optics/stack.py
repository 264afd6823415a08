"""Plans whose emitters are spread once for all focal planes of a stack.

A plan of `msl_store.optics.plan` splits the PSF of one focus, so its functions of depth are that focus's own. Here they
are the same for every focus: any function of depth with the PSF's axial band is a sum of few fixed ones over the range
of the emitters (D. Slepian and H. Pollak, "Prolate spheroidal wave functions, Fourier analysis and uncertainty I",
Bell Syst. Tech. J. 40, 43-63 (1961)), about band times range over pi. So the grids of spread emitters and their
transforms serve all planes, and a plane costs the sum over terms and one inverse transform. As plans depend on nothing
but their own focus, a plane's bits do not depend on which others are taken with it.

A gain that differs from plane to plane, as that of a light sheet, is one more function of depth: it widens the band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.optics.gridding import window
from msl_store.optics.plan import Plan, Scope
from msl_store.optics.separable import barycentric, chebyshev, even_depths, even_radii, ring_areas
from msl_store.optics.transfer import (
    Grid,
    Square,
    cheapest_grid,
    fits,
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
    from msl_store.optics.microscope import Microscope

SHARED_DIM = 1 / 64
"""As `msl_store.optics.plan.DIM`; planes above and below a shape have more dim depths than its middle has."""

_SPARE = 16  # the grid is that much better for the references than the tolerance asks
_AWAY_TURNS = 25.0  # how far above and below the depths they lie, in radians of the PSF's axial band
_FAINT = 1e-20  # a focus with less light is not imaged by a shared plan
_EVERY = 5  # radii at which the sum over functions of depth is compared with the PSF


@dataclass(frozen=True, eq=False)
class _Split:
    """Where and how profiles are split, and the periodic square: what any focus shares."""

    depth_start_um: float
    depth_step_um: float
    weights: NDArray[Any]
    nodes: NDArray[np.float64]
    basis: NDArray[np.float64]
    projection: NDArray[np.float64]
    radii: NDArray[np.float64]
    square: Square


@dataclass(frozen=True, eq=False)
class _Focus:
    """One focus: its terms sampled over a quarter of the square, and the spectrum of every depth (`ring_spectra`)."""

    quarter: NDArray[Any]
    spectra: NDArray[np.float64]
    peak: float
    light_um2: float
    error: float
    """Of the sum over functions of depth, relative to the larger of the depth's peak and the dim share of `peak`."""


@lru_cache(maxsize=256)
def make_shared_plan(scope: Scope, immersion_displacement_um: float, references_um: tuple[float, ...]) -> Plan | None:
    """Prepare one plane of a stack; 256 are kept. None where what planes share is not fine enough for this focus.

    All plans that differ in the displacement alone have the same grid, weights and window: modes of one serve all.
    The grid is made for the displacements `references_um` (see `references`); what it loses of another is bounded here.
    The PSF's gain is in the plan, and not left to the emitters, where `Psf.gain_turn_per_um` says that it can be.
    """
    split, grid, tolerance = _split(scope), _grid(scope, references_um), scope.tolerance
    focus = _focus(scope, split, immersion_displacement_um)
    if grid is None or focus is None or focus.error > 0.8 * tolerance:
        return None
    kept = focus.spectra[: grid.band + 1]
    kernel = window(grid.table.shape[1], grid.side / (2 * grid.band + 1))
    if lost(focus.spectra)[grid.band + 1] > tolerance / 2 or not fits(kept, kernel, grid.side, tolerance):
        return None
    return Plan(
        grid=grid,
        depth_start_um=split.depth_start_um,
        depth_step_um=split.depth_step_um,
        peak=focus.peak,
        light_um2=focus.light_um2,
        weights=split.weights,
        transfer=transfer_functions(focus.quarter, grid.band),
        accuracy=tolerance * SHARED_DIM / 8,
    )


def references(microscope: Microscope, psf: Psf, depth_range_um: tuple[float, float]) -> tuple[float, ...]:
    """Return the displacements of three focal planes: in the middle of a range of depths, well below it, and above."""
    low, high = depth_range_um
    away = (high - low) / 2 + _AWAY_TURNS / psf.turn_per_um
    return tuple(microscope.focused((low + high) / 2 + by) for by in (0.0, -away, away))


@lru_cache(maxsize=32)
def _split(scope: Scope) -> _Split:
    from scipy.fft import next_fast_len

    psf, pixel_um, tolerance = scope.psf, scope.pixel_um, scope.tolerance
    taper_px = max(16.0, -16 * math.log10(tolerance) - 32)
    farthest = max(scope.size_px) / 2 + scope.reach_px
    pixels = next_fast_len(math.ceil(max(2 * farthest + 2 * taper_px, *scope.size_px)), real=True)
    square = Square(pixels, pixel_um, farthest, taper_px)
    low, high = scope.depth_range_um
    fine = tolerance * SHARED_DIM
    turn = psf.turn_per_um + (psf.gain_turn_per_um(fine) or 0.0)
    nodes, signs = chebyshev(low, high, turn, fine)
    basis, projection = _depth_functions(nodes - (low + high) / 2, (high - low) / 2, turn, fine / 64)
    step, depths = even_depths(turn, scope.depth_range_um, fine)
    return _Split(
        depth_start_um=low,
        depth_step_um=step,
        weights=padded(np.einsum("dn,nk->dk", barycentric(nodes, signs, depths), basis), tolerance),
        nodes=nodes,
        basis=basis,
        projection=projection,
        radii=even_radii(psf, math.sqrt(2) * (square.side_um / 2 + pixel_um), fine),
        square=square,
    )


def _focus(scope: Scope, split: _Split, displacement_um: float) -> _Focus | None:
    psf, tolerance = scope.psf, scope.tolerance
    table = psf.profiles(split.radii, split.nodes, displacement_um)
    if psf.gain_turn_per_um(tolerance) is not None:
        table = table * psf.gain(split.nodes, displacement_um)
    peaks = np.abs(table).max(axis=0)
    peak = float(peaks.max())
    if peak < _FAINT:
        return None
    peaks = np.maximum(peaks, SHARED_DIM * peak)
    terms = np.einsum("rn,kn->rk", table, split.projection)
    summed = np.einsum("rk,nk->rn", terms[::_EVERY], split.basis)
    quarter, axis = sampled(terms, split.radii[1], split.square, psf.cutoff_per_um, tolerance)
    return _Focus(
        quarter=quarter,
        spectra=ring_spectra(axis, split.basis, peaks),
        peak=peak,
        light_um2=float(np.abs(np.einsum("rn,r->n", table, ring_areas(split.radii))).max()),
        error=float((np.abs(summed - table[::_EVERY]) / peaks).max()),
    )


@lru_cache(maxsize=32)
def _grid(scope: Scope, references_um: tuple[float, ...]) -> Grid | None:
    # band, window and grid that suit the references with something to spare; None where there is no light
    split, tolerance = _split(scope), scope.tolerance
    focuses = [_focus(scope, split, reference) for reference in references_um]
    lit = [focus.spectra for focus in focuses if focus is not None]
    if not lit:
        return None
    spectra, accuracy = np.concatenate(lit, axis=1), tolerance / _SPARE
    band = max(int((lost(spectra) > accuracy).sum()) - 1, 1)
    width, side = cheapest_grid(spectra[: band + 1], len(split.projection), split.square.pixels, 4 * accuracy)
    return make_grid(
        split.square, scope.size_px, reach_px=scope.reach_px, band=band, width=width, side=side, tolerance=tolerance
    )


def _depth_functions(
    away: NDArray[np.float64], half_um: float, turn_per_um: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Orthonormal functions at the nodes (n_node, n_term), and the matrix (n_term, n_node) that projects onto them:
    # pivoted Gram-Schmidt on waves of all frequencies in the band, until what is left of any is below the tolerance.
    count = len(away)
    waves = np.outer(away, turn_per_um * np.arange(2 * count) / (2 * count - 1))
    measure = np.sqrt(np.sqrt(np.maximum(1 - (away / half_um) ** 2, 0)) / count)[:, None]
    rest = np.concatenate([np.cos(waves), np.sin(waves)], axis=1) * measure
    largest = math.sqrt(float((measure * measure).sum()))
    found: list[NDArray[np.float64]] = []
    while len(found) < count:
        sizes = (rest * rest).sum(axis=0)
        pivot = int(np.argmax(sizes))
        if math.sqrt(float(sizes[pivot])) <= tolerance * largest:
            break
        column = rest[:, pivot].copy()
        for known in found:
            column -= known * (known * column).sum()
        column /= np.sqrt((column * column).sum())
        found.append(column)
        rest -= column[:, None] * np.einsum("nw,n->w", rest, column)
    orthonormal = np.array(found).T
    return np.ascontiguousarray(orthonormal / measure), np.ascontiguousarray((orthonormal * measure).T)
