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

from msl_store.optics.interpolation import step_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf

FOUR_POINT = 9 / 16 / 24
"""Largest ``|(t+1)t(t-1)(t-2)| / 4!`` on [0, 1]: the error of four-point interpolation."""
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
    nodes, signs = chebyshev(low, high, psf.turn_per_um, tolerance)
    radii = even_radii(psf, radius_um, tolerance)
    table = psf.profiles(radii, nodes, immersion_displacement_um)
    rings = ring_areas(radii)
    peaks, light = np.abs(table).max(axis=0), np.abs(np.einsum("rz,r->z", table, rings))
    peaks, light = np.maximum(peaks, _NONE * peaks.max()), np.maximum(light, _NONE * light.max())
    judged = np.maximum(peaks, dim * peaks.max()), np.maximum(light, dim * light.max())
    profiles, node_weights = _factorise(table, rings, judged, tolerance * 0.8)

    depth_step, depths = even_depths(psf.turn_per_um, depth_range_um, tolerance)
    fine = barycentric(nodes, signs, depths)
    weights = np.einsum("dn,kn->dk", fine, np.ascontiguousarray(node_weights.T))

    beyond = (light - np.cumsum(table * rings[:, None], axis=0)) / judged[1]
    kept = np.flatnonzero((beyond <= tolerance / 8).all(axis=1))
    spread = radii[kept[0]] if len(kept) and kept[0] < len(radii) - 7 else radii[-1]
    return SeparablePsf(
        radius_step_um=float(radii[1]),
        profiles=profiles,
        depth_start_um=low,
        depth_step_um=depth_step,
        weights=weights,
        node_weights=node_weights,
        peaks=judged[0],
        peak=float(peaks.max()),
        light_um2=float(light.max()),
        spread_um=float(spread),
    )


def even_radii(psf: Psf, radius_um: float, tolerance: float) -> NDArray[np.float64]:
    """Return radii 0, 1, 2, ... steps, past the largest, between which twelve points serve to the tolerance."""
    step = step_for(tolerance / 20, 2 * math.pi * psf.cutoff_per_um)
    return step * np.arange(math.ceil(radius_um / step) + 7, dtype=np.float64)


def ring_areas(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what to multiply samples at radii 0, 1, 2, ... steps by for the integral over the plane.

    The trapezoidal rule for ``2 pi r h(r)``, with the Euler-Maclaurin correction at 0.
    """
    step = radii[1]
    areas: NDArray[np.float64] = 2 * math.pi * step * radii
    areas[0] = 2 * math.pi * step**2 / 12
    return areas


def even_depths(
    turn_per_um: float, depth_range_um: tuple[float, float], tolerance: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the distance and the places of depths between which four points serve; see `SeparablePsf.weights`."""
    low, high = depth_range_um
    step = float((tolerance / 20 / FOUR_POINT) ** (1 / 4) / turn_per_um)
    return step, low + step * np.arange(-1, math.ceil((high - low) / step) + 3, dtype=np.float64)


def _factorise(
    table: NDArray[np.float64],
    rings: NDArray[np.float64],
    judged: tuple[NDArray[np.float64], NDArray[np.float64]],
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # rows are weighted by area; columns (depths) to equal size, but for the dim ones
    peak, light = judged
    area = np.sqrt(rings)[:, None]
    own = np.abs(table).max(axis=0)
    size = np.sqrt(np.einsum("rz,rz,r->z", table, table, rings)) * (peak / np.maximum(own, _NONE * own.max()))
    size = np.maximum(size, _NONE * size.max())
    target = table * (area / size)
    rest = target.copy()
    # an error below the tolerance everywhere, and in its integral, leaves no more than this of a column's square
    enough = tolerance**2 * peak * light / size**2
    basis: list[NDArray[np.float64]] = []
    while len(basis) < table.shape[1]:
        squares = np.einsum("rz,rz->z", rest, rest)
        if basis and (squares <= enough).all():
            error = np.abs(rest) * (size / area)
            worst, lost = error.max(axis=0), np.einsum("rz,r->z", error, rings)
            if (worst <= tolerance * peak).all() and (lost <= tolerance * light).all():
                break
        column = rest[:, np.argmax(squares)].copy()
        for known in basis:
            column -= known * (known * column).sum()
        column /= np.sqrt((column * column).sum())
        basis.append(column)
        rest -= column[:, None] * np.einsum("rz,r->z", rest, column)
    vectors = np.array(basis)
    coefficients = np.einsum("kr,zr->zk", vectors, np.ascontiguousarray(target.T))
    return np.ascontiguousarray((vectors / area[:, 0]).T), coefficients * size[:, None]


def chebyshev(
    low: float, high: float, turn_per_um: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return enough Chebyshev nodes for functions with an axial band, and their barycentric weights.

    The coefficients of a wave of ``x`` radians on half the range are Bessel functions ``J_n(x)``, which for
    ``n = x + c x^(1/3)`` fall as ``Ai(2^(1/3) c)``, that is as ``exp(-2/3 (2^(1/3) c)^(3/2))`` (F. Olver et al., NIST
    Handbook of Mathematical Functions, Cambridge University Press (2010), 9.7.5 and 10.19.8).
    """
    half_turn, digits = turn_per_um * (high - low) / 2, 2 - math.log10(tolerance)
    margin = (1.5 * math.log(10) * digits) ** (2 / 3) / 2 ** (1 / 3)
    count = math.ceil(half_turn + margin * half_turn ** (1 / 3) + digits) + 2
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
