"""The PSF as a short sum of radial profiles times functions of depth: h(r, z) = sum_k u_k(r) v_k(z).

A greedy, pivoted Gram-Schmidt process picks depths until the sum is right to the tolerance at *every* depth,
relative to the PSF at that depth: in its peak, and in its total light, so that neither one emitter nor a dense field
of them exceeds the tolerance. Depths far from focus need many terms and add little; below a share of the brightest
depth, `dim`, they may be judged by that share instead. It takes about one term more than the singular value
decomposition, and no LAPACK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf

SIX_POINT = 225 / 64 / 720
"""Largest ``|(t+2)...(t-3)| / 6!`` on [0, 1]: the error of six-point interpolation."""
FOUR_POINT = 9 / 16 / 24
"""The same for four points."""
_NONE = 1e-12  # a depth dimmer than this share of the brightest has no light


@dataclass(frozen=True, eq=False)
class SeparablePsf:
    """A PSF split into radial profiles and depth functions, both tabulated evenly.

    Attributes
    ----------
    radius_step_um : float
        Distance between rows of `profiles`.
    profiles : ndarray of float64, shape (n_radius, n_term)
        u_k at radii 0, 1, 2, ... steps.
    depth_start_um, depth_step_um : float
        Depth of row 1 of `weights`, and the distance between its rows.
    weights : ndarray of float64, shape (n_depth, n_term)
        v_k; one row before and two rows after the depth range serve four-point interpolation.
    node_weights : ndarray of float64, shape (n_node, n_term)
        v_k at the Chebyshev nodes of the depth range.
    peaks : ndarray of float64, shape (n_node,)
        What errors at the nodes are relative to: the largest value of h(., z), or the dim share of `peak`.
    peak : float
        Largest value of h.
    light_um2 : float
        Largest integral of h(., z) over the plane, in um^2.
    spread_um : float
        Radius that keeps all light, at any node, but for a tolerable rest; the last radius where it does not end.
    """

    radius_step_um: float
    profiles: NDArray[np.float64]
    depth_start_um: float
    depth_step_um: float
    weights: NDArray[np.float64]
    node_weights: NDArray[np.float64]
    peaks: NDArray[np.float64]
    peak: float
    light_um2: float
    spread_um: float


def separate(
    psf: Psf,
    *,
    immersion_displacement_um: float,
    depth_range_um: tuple[float, float],
    radius_um: float,
    tolerance: float,
    dim: float = 0.0,
) -> SeparablePsf:
    """Split a PSF over a range of depths and radii.

    Parameters
    ----------
    psf : Psf
        The model; its profiles are split, its gain is left to the emitters.
    immersion_displacement_um : float
        Its focus.
    depth_range_um : tuple of float
        Lowest and highest depth above the coverslip, in um.
    radius_um : float
        Largest radius, in um.
    tolerance : float
        Largest error, relative to the PSF at the same depth.
    dim : float
        Depths dimmer than this share of the brightest count as having it.

    Returns
    -------
    SeparablePsf
        The tables.
    """
    low, high = depth_range_um
    axial = psf.turn_per_um
    nodes, signs = chebyshev(low, high, axial)

    finest = 2 * math.pi * psf.cutoff_per_um
    radius_step = (tolerance / 20 / SIX_POINT) ** (1 / 6) / finest
    radii = radius_step * np.arange(math.ceil(radius_um / radius_step) + 4)
    table = psf.profiles(radii, nodes, immersion_displacement_um)
    ring = table * (radii[:, None] + radius_step / 8)
    peaks, light = np.abs(table).max(axis=0), np.abs(ring.sum(axis=0))
    peaks, light = np.maximum(peaks, _NONE * peaks.max()), np.maximum(light, _NONE * light.max())
    judged = np.maximum(peaks, dim * peaks.max()), np.maximum(light, dim * light.max())
    profiles, node_weights = _factorise(table, radii, judged, tolerance * 0.8)

    depth_step = (tolerance / 20 / FOUR_POINT) ** (1 / 4) / axial
    depths = low + depth_step * (np.arange(math.ceil((high - low) / depth_step) + 4) - 1)
    fine = barycentric(nodes, signs, depths)
    weights = np.einsum("dn,kn->dk", fine, np.ascontiguousarray(node_weights.T))

    beyond = (light - np.cumsum(ring, axis=0)) / judged[1]
    kept = np.flatnonzero((beyond <= tolerance / 8).all(axis=1))
    spread = radii[kept[0]] if len(kept) and kept[0] < len(radii) - 4 else radii[-1]
    return SeparablePsf(
        radius_step_um=radius_step,
        profiles=profiles,
        depth_start_um=low,
        depth_step_um=depth_step,
        weights=weights,
        node_weights=node_weights,
        peaks=judged[0],
        peak=float(peaks.max()),
        light_um2=float(light.max()) * 2 * math.pi * radius_step,
        spread_um=float(spread),
    )


def _factorise(
    table: NDArray[np.float64],
    radii: NDArray[np.float64],
    judged: tuple[NDArray[np.float64], NDArray[np.float64]],
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # rows are weighted by area; columns (depths) to equal size, but for the dim ones
    peak, light = judged
    ring = radii[:, None] + radii[1] / 8
    area = np.sqrt(ring)
    own = np.abs(table).max(axis=0)
    size = np.sqrt((table * table * ring).sum(axis=0)) * (peak / np.maximum(own, _NONE * own.max()))
    size = np.maximum(size, _NONE * size.max())
    target = table * area / size
    rest = target.copy()
    basis: list[NDArray[np.float64]] = []
    while len(basis) < table.shape[1]:
        column = rest[:, np.argmax((rest * rest).sum(axis=0))].copy()
        for known in basis:
            column -= known * (known * column).sum()
        column /= np.sqrt((column * column).sum())
        basis.append(column)
        rest -= column[:, None] * np.einsum("rz,r->z", rest, column)
        error = np.abs(rest) / area * size
        if (error.max(axis=0) <= tolerance * peak).all() and ((error * ring).sum(axis=0) <= tolerance * light).all():
            break
    vectors = np.array(basis)
    coefficients = np.einsum("kr,zr->zk", vectors, np.ascontiguousarray(target.T))
    return np.ascontiguousarray((vectors / area[:, 0]).T), coefficients * size[:, None]


def chebyshev(low: float, high: float, turn_per_um: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return enough Chebyshev nodes for functions with an axial band, and their barycentric weights."""
    half_turn = turn_per_um * (high - low) / 2
    count = math.ceil(half_turn + 8 * half_turn ** (1 / 3)) + 12
    angles = np.pi * (np.arange(count) + 0.5) / count
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
    return nodes, np.sin(angles) * (-1.0) ** np.arange(count)


def barycentric(
    nodes: NDArray[np.float64], weights: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (n_at, n_node) that interpolates between nodes.

    J.-P. Berrut and L. N. Trefethen, "Barycentric Lagrange interpolation", SIAM Rev. 46, 501-517 (2004), eq. 4.2.
    """
    gap = at[:, None] - nodes
    hit = gap == 0
    term = weights / np.where(hit, 1.0, gap)
    matrix = np.where(hit.any(axis=1)[:, None], hit.astype(np.float64), term)
    result: NDArray[np.float64] = matrix / matrix.sum(axis=1)[:, None]
    return result


def radial(psf: SeparablePsf, radius_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate the radial profiles at radii within the table, in um, shape (n,): the values u_k, (n, n_term)."""
    return interpolated(psf.profiles, radius_um / psf.radius_step_um)


def interpolated(table: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate profiles, which are even in the radius, between six points.

    Parameters
    ----------
    table : ndarray of float64, shape (n_radius, n_term)
        Profiles at radii 0, 1, 2, ... steps.
    position : ndarray of float64, shape (n,)
        Radii in steps.

    Returns
    -------
    ndarray of float64, shape (n, n_term)
    """
    start = np.floor(position).astype(np.int64)
    t = position - start
    result = np.zeros((len(position), table.shape[1]))
    offsets = range(-2, 4)
    for offset in offsets:
        others = [other for other in offsets if other != offset]
        factor = np.prod([(t - other) / (offset - other) for other in others], axis=0)
        row = np.minimum(np.abs(start + offset), len(table) - 1)
        result += factor[:, None] * table[row]
    return result
