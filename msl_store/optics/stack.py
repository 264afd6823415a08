"""Plans whose emitters are spread once for all focal planes of a stack.

A plan of `msl_store.optics.plan` splits the PSF of one focus, so its functions of depth are that focus's own. Here they
are the same for every focus: any function of depth with the PSF's axial band is a sum of few fixed ones over the range
of the emitters (D. Slepian and H. Pollak, "Prolate spheroidal wave functions, Fourier analysis and uncertainty I",
Bell Syst. Tech. J. 40, 43-63 (1961)), about band times range over pi. So the grids of spread emitters and their
transforms serve all planes, and a plane costs the sum over terms and one inverse transform. As plans depend on nothing
but their own focus, a plane's bits do not depend on which others are taken with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from msl_store.optics.gridding import window
from msl_store.optics.plan import SINGLE, Plan
from msl_store.optics.separable import FOUR_POINT, SIX_POINT, barycentric, chebyshev, interpolated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf

SHARED_DIM = 1 / 64
"""Errors of a plane are at most the tolerance times this share of the brightest depth's peak, for each emitter."""

_OVERSAMPLING = 1.5
_SPARE = 32  # the grid is that much better for the reference than the tolerance asks


@dataclass(frozen=True, eq=False)
class _Split:
    """Where and how profiles are split, and the periodic domain: what any focus shares."""

    depth_start_um: float
    depth_step_um: float
    weights: NDArray[np.float64]
    nodes: NDArray[np.float64]
    basis: NDArray[np.float64]
    projection: NDArray[np.float64]
    radius_step_um: float
    radii: NDArray[np.float64]
    farthest_px: float
    taper_px: float
    pixels: int
    domain_um: float


@dataclass(frozen=True, eq=False)
class _Focus:
    """One focus: the transfer of every term, and the spectrum of every depth relative to what errors are."""

    transfer: NDArray[np.float64]
    spectra: NDArray[np.float64]
    peak: float
    light_um2: float


@lru_cache(maxsize=128)
def make_shared_plan(
    psf: Psf,
    pixel_um: float,
    size_px: tuple[int, int],
    immersion_displacement_um: float,
    depth_range_um: tuple[float, float],
    reach_px: float,
    tolerance: float,
    reference_um: float,
) -> Plan | None:
    """Prepare one plane of a stack; 128 are kept. None where the shared grid is not fine enough for this focus.

    All plans that differ in the displacement alone have the same grid, weights and window: modes of one serve all.
    The grid is made for the focus at the displacement `reference_um`; what it loses of another is bounded here.
    """
    shape = psf, pixel_um, size_px, depth_range_um, reach_px, tolerance
    plan = _grid(*shape, reference_um)
    focus = _focus(psf, _split(*shape), immersion_displacement_um)
    band = len(plan.column_factor) - 1
    if _lost(focus.spectra, band) > tolerance / 2 or not _fits(focus.spectra, band, plan, tolerance):
        return None
    own = np.ascontiguousarray(focus.transfer[: band + 1, : band + 1], plan.weights.dtype)
    return replace(plan, transfer=own, peak=focus.peak, light_um2=focus.light_um2)


def _lost(spectra: NDArray[np.float64], band: int) -> float:
    return float(spectra[band + 1 :].sum(axis=0).max(initial=0.0))


def _fits(spectra: NDArray[np.float64], band: int, plan: Plan, tolerance: float) -> bool:
    kernel = window(plan.table.shape[1], plan.grid / (2 * band + 1))
    aliasing = kernel.aliasing(np.arange(band + 1.0), plan.grid)
    return bool((2 * (spectra[: band + 1] * aliasing[:, None]).sum(axis=0) <= tolerance).all())


@lru_cache(maxsize=32)
def _split(
    psf: Psf,
    pixel_um: float,
    size_px: tuple[int, int],
    depth_range_um: tuple[float, float],
    reach_px: float,
    tolerance: float,
) -> _Split:
    from scipy.fft import next_fast_len

    taper_px = max(16.0, -16 * math.log10(tolerance) - 32)
    farthest = max(size_px) / 2 + reach_px
    pixels = next_fast_len(math.ceil(max(2 * farthest + 2 * taper_px, *size_px)), real=True)
    domain = pixels * pixel_um
    low, high = depth_range_um
    fine = tolerance * SHARED_DIM
    nodes, signs = chebyshev(low, high, psf.turn_per_um)
    basis, projection = _depth_functions(nodes - (low + high) / 2, (high - low) / 2, psf.turn_per_um, 4 * fine)
    depth_step = (fine / 20 / FOUR_POINT) ** (1 / 4) / psf.turn_per_um
    depths = low + depth_step * (np.arange(math.ceil((high - low) / depth_step) + 4) - 1)
    radius_step = (fine / 20 / SIX_POINT) ** (1 / 6) / (2 * math.pi * psf.cutoff_per_um)
    return _Split(
        depth_start_um=low,
        depth_step_um=depth_step,
        weights=np.einsum("dn,nk->dk", barycentric(nodes, signs, depths), basis),
        nodes=nodes,
        basis=basis,
        projection=projection,
        radius_step_um=radius_step,
        radii=radius_step * np.arange(math.ceil(math.sqrt(2) * (domain / 2 + pixel_um) / radius_step) + 4),
        farthest_px=farthest,
        taper_px=taper_px,
        pixels=pixels,
        domain_um=domain,
    )


def _focus(psf: Psf, split: _Split, displacement_um: float) -> _Focus:
    from scipy.fft import rfft2
    from scipy.special import erfc

    table = psf.profiles(split.radii, split.nodes, displacement_um)
    peak = float(np.abs(table).max())
    ring = split.radii[:, None] + split.radius_step_um / 8
    light = float(np.abs((table * ring).sum(axis=0)).max()) * 2 * math.pi * split.radius_step_um
    terms = np.einsum("rn,nk->rk", table, split.projection)
    samples = 2 * math.ceil(psf.cutoff_per_um * split.domain_um + 1 + 4.8 / split.taper_px * split.pixels)
    steps = np.minimum(np.arange(samples), samples - np.arange(samples))
    squares, which = np.unique(steps[:, None] ** 2 + steps**2, return_inverse=True)
    values = interpolated(terms, np.sqrt(squares) * (split.domain_um / samples) / split.radius_step_um)
    past = (steps * (split.pixels / samples) - split.farthest_px) / split.taper_px
    taper = erfc(6 * past - 3) / 2
    transfer = np.empty((samples // 2 + 1, samples // 2 + 1, terms.shape[1]))
    for term in range(terms.shape[1]):
        plane = values[:, term][which].reshape(samples, samples) * taper * taper[:, None]
        transfer[:, :, term] = rfft2(plane, workers=1)[: samples // 2 + 1].real / samples**2
    rings = 2 * np.pi * np.arange(len(transfer)) + 1
    peaks = np.maximum(np.abs(table).max(axis=0), SHARED_DIM * peak)
    spectra = np.abs(np.einsum("ck,zk->cz", transfer[:, 0], split.basis)) * rings[:, None] / peaks
    return _Focus(transfer, spectra, peak, light)


@lru_cache(maxsize=32)
def _grid(
    psf: Psf,
    pixel_um: float,
    size_px: tuple[int, int],
    depth_range_um: tuple[float, float],
    reach_px: float,
    tolerance: float,
    reference_um: float,
) -> Plan:
    # a plan without transfer: band, window and grid that suit the reference with something to spare
    from scipy.fft import next_fast_len

    split = _split(psf, pixel_um, size_px, depth_range_um, reach_px, tolerance)
    spectra = _focus(psf, split, reference_um).spectra
    pixels = split.pixels
    band = next(band for band in range(1, len(spectra)) if _lost(spectra, band) <= tolerance / _SPARE)
    grid = next_fast_len(math.ceil((2 * band + 1) * _OVERSAMPLING), real=True)
    real, compound = (np.float32, np.complex64) if tolerance >= SINGLE else (np.float64, np.complex128)
    for width in range(3, 17):
        modes = np.arange(-band, band + 1)
        kernel = window(width, grid / (2 * band + 1))
        turn = np.exp(1j * np.pi * modes) / kernel.transform(modes / grid)
        rows, columns = (turn * np.exp(2j * np.pi * modes * (0.5 - n / 2) / pixels) for n in size_px)
        plan = Plan(
            depth_start_um=split.depth_start_um,
            depth_step_um=split.depth_step_um,
            peak=0.0,
            light_um2=0.0,
            reach_um=reach_px * pixel_um,
            pixels=pixels,
            size_px=size_px,
            grid=grid,
            cells_per_um=grid / split.domain_um,
            touched=min(math.ceil(reach_px * grid / pixels + width / 2) + 1, grid // 2),
            weights=split.weights.astype(real),
            table=kernel.table(512 if tolerance >= SINGLE else 8192 if tolerance >= 1e-7 else 65536).astype(real),
            transfer=np.empty((0, 0, split.basis.shape[1]), real),
            row_factor=rows.astype(compound),
            column_factor=columns[band:].astype(compound),
        )
        if _fits(spectra, band, plan, tolerance / _SPARE):
            break
    return plan


def _depth_functions(
    away: NDArray[np.float64], half_um: float, turn_per_um: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Orthonormal functions at the nodes (n_node, n_term), and the matrix that projects onto them: pivoted
    # Gram-Schmidt on waves of all frequencies in the band, until what is left of any is below the tolerance.
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
    return np.ascontiguousarray(orthonormal / measure), np.ascontiguousarray(orthonormal * measure)
