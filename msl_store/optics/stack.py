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
from msl_store.optics.separable import FOUR_POINT, SeparablePsf, barycentric, chebyshev, radial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf

SHARED_DIM = 1 / 256
"""Errors of a plane are at most the tolerance times this share of the brightest depth's peak, for each emitter."""

_OVERSAMPLING = 1.5


@dataclass(frozen=True, eq=False)
class _Stage:
    """What all focuses share: a plan without transfer, and where and how profiles are split."""

    plan: Plan
    nodes: NDArray[np.float64]
    basis: NDArray[np.float64]
    projection: NDArray[np.float64]
    radius_step_um: float
    radii: NDArray[np.float64]
    farthest_px: float
    taper_px: float


@lru_cache(maxsize=128)
def make_shared_plan(
    psf: Psf,
    pixel_um: float,
    size_px: tuple[int, int],
    immersion_displacement_um: float,
    depth_range_um: tuple[float, float],
    reach_px: float,
    tolerance: float,
) -> Plan | None:
    """Prepare one plane of a stack; 128 are kept. None where the shared grid is not fine enough for this focus.

    All plans that differ in the displacement alone have the same grid, weights and window: modes of one serve all.
    """
    from scipy.fft import rfft2
    from scipy.special import erfc

    turn, cutoff = psf.turn_per_um, psf.cutoff_per_um
    stage = _stage(turn, cutoff, pixel_um, size_px, depth_range_um, reach_px, tolerance)
    plan = stage.plan
    domain = plan.pixels * pixel_um
    table = psf.profiles(stage.radii, stage.nodes, immersion_displacement_um)
    profiles = np.einsum("rn,nk->rk", table, stage.projection)
    peaks = np.maximum(np.abs(table).max(axis=0), SHARED_DIM * np.abs(table).max())
    ring = stage.radii[:, None] + stage.radius_step_um / 8
    light = float(np.abs((table * ring).sum(axis=0)).max()) * 2 * math.pi * stage.radius_step_um
    parts = SeparablePsf(
        radius_step_um=stage.radius_step_um,
        profiles=profiles,
        depth_start_um=plan.depth_start_um,
        depth_step_um=plan.depth_step_um,
        weights=stage.basis,
        node_weights=stage.basis,
        peaks=peaks,
        peak=float(np.abs(table).max()),
        light_um2=light,
        spread_um=float(stage.radii[-1]),
    )
    samples = 2 * math.ceil(cutoff * domain + 1 + 4.8 / stage.taper_px * plan.pixels)
    steps = np.minimum(np.arange(samples), samples - np.arange(samples))
    squares, which = np.unique(steps[:, None] ** 2 + steps**2, return_inverse=True)
    values = radial(parts, np.sqrt(squares) * (domain / samples))
    taper = erfc(6 * (steps * (plan.pixels / samples) - stage.farthest_px) / stage.taper_px - 3) / 2
    transfer = np.empty((samples // 2 + 1, samples // 2 + 1, profiles.shape[1]))
    for term in range(transfer.shape[2]):
        plane = values[:, term][which].reshape(samples, samples) * taper * taper[:, None]
        transfer[:, :, term] = rfft2(plane, workers=1)[: samples // 2 + 1].real / samples**2
    band = len(plan.column_factor) - 1
    rings = 2 * np.pi * np.arange(len(transfer)) + 1
    spectra = np.abs(np.einsum("ck,zk->cz", transfer[:, 0], stage.basis)) * rings[:, None] / peaks
    width = plan.table.shape[1]
    aliasing = window(width, plan.grid / (2 * band + 1)).aliasing(np.arange(band + 1.0), plan.grid)
    lost = spectra[band + 1 :].sum(axis=0).max() if len(spectra) > band + 1 else 0.0
    if lost > tolerance / 2 or (2 * (spectra[: band + 1] * aliasing[:, None]).sum(axis=0) > tolerance).any():
        return None
    real = plan.weights.dtype
    own = np.ascontiguousarray(transfer[: band + 1, : band + 1], real)
    return replace(plan, transfer=own, peak=parts.peak, light_um2=light)


@lru_cache(maxsize=64)
def _stage(
    turn_per_um: float,
    cutoff_per_um: float,
    pixel_um: float,
    size_px: tuple[int, int],
    depth_range_um: tuple[float, float],
    reach_px: float,
    tolerance: float,
) -> _Stage:
    from scipy.fft import next_fast_len

    half = max(size_px) / 2
    taper_px = max(16.0, -16 * math.log10(tolerance) - 32)
    farthest = half + reach_px
    pixels = next_fast_len(math.ceil(max(2 * farthest + 2 * taper_px, *size_px)), real=True)
    domain = pixels * pixel_um
    band = math.ceil(cutoff_per_um * domain + 1 + 1.2 / taper_px * pixels)
    grid = next_fast_len(math.ceil((2 * band + 1) * _OVERSAMPLING), real=True)
    width = min(math.ceil(-1.3 * math.log10(tolerance)) + 3, 16)

    low, high = depth_range_um
    fine = tolerance * SHARED_DIM
    nodes, signs = chebyshev(low, high, turn_per_um)
    basis, projection = _depth_functions(nodes - (low + high) / 2, (high - low) / 2, turn_per_um, fine / 4)
    depth_step = (fine / 20 / FOUR_POINT) ** (1 / 4) / turn_per_um
    depths = low + depth_step * (np.arange(math.ceil((high - low) / depth_step) + 4) - 1)
    weights = np.einsum("dn,nk->dk", barycentric(nodes, signs, depths), basis)

    radius_step = (fine / 20 / (225 / 64 / 720)) ** (1 / 6) / (2 * math.pi * cutoff_per_um)
    radii = radius_step * np.arange(math.ceil(math.sqrt(2) * (domain / 2 + pixel_um) / radius_step) + 4)
    modes = np.arange(-band, band + 1)
    kernel = window(width, grid / (2 * band + 1))
    turn = np.exp(1j * np.pi * modes) / kernel.transform(modes / grid)
    rows, columns = (turn * np.exp(2j * np.pi * modes * (0.5 - n / 2) / pixels) for n in size_px)
    real, compound = (np.float32, np.complex64) if tolerance >= SINGLE else (np.float64, np.complex128)
    plan = Plan(
        depth_start_um=low,
        depth_step_um=depth_step,
        peak=0.0,
        light_um2=0.0,
        reach_um=reach_px * pixel_um,
        pixels=pixels,
        size_px=size_px,
        grid=grid,
        cells_per_um=grid / domain,
        touched=min(math.ceil(reach_px * grid / pixels + width / 2) + 1, grid // 2),
        weights=weights.astype(real),
        table=kernel.table(512 if tolerance >= SINGLE else 8192 if tolerance >= 1e-7 else 65536).astype(real),
        transfer=np.empty((0, 0, basis.shape[1]), real),
        row_factor=rows.astype(compound),
        column_factor=columns[band:].astype(compound),
    )
    return _Stage(plan, nodes, basis, projection, radius_step, radii, farthest, taper_px)


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
