"""Noise-free images of emitters, exact to a stated tolerance and without a voxel grid.

The PSF is split into a few terms, h(r, z) = sum_k u_k(r) v_k(z) (`msl_store.optics.separable`). Emitters are spread
onto one fine grid per term, weighted by v_k of their depth; each grid's Fourier transform is multiplied by that of
u_k; the sum is folded onto the pixel grid and transformed back (`msl_store.optics.gridding`). Nothing wraps around:
the period of the grid is the largest distance between a pixel and an emitter, both ways, wherever the PSF reaches so
far.

What depends on the microscope and on the range of positions alone, a plan, is computed once and kept. Ranges are
rounded outwards to a fixed series of sizes, so that a plan is a pure function of the emitters it serves: the same
emitters give the same bits in any order of calls, in any thread and any process.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.gridding import combine, place, spread
from msl_store.optics.plan import Plan, make_plan
from msl_store.optics.psf import psf_of
from msl_store.optics.stack import SHARED_DIM, make_shared_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.optics.lens import Psf
    from msl_store.optics.microscope import Microscope

DIM = 1 / 16
"""Depths dimmer than this share of the brightest are first computed to that share only.

Their emitters hardly show beside brighter ones. Should the image, or the light of its emitters on average, be as dim as
that, there were none: it is computed anew, every depth to its own brightness.
"""

_ENOUGH = 0.25  # an image dimmer than this share of its surroundings is computed anew, that much more finely
_FINEST = 1e-9
_DARK = 1e-14  # emitters that much dimmer than the brightest are left out

TOLERANCES = (1e-7, 0.1)
"""Smallest and largest tolerance of `expected_images`."""


def expected_images(
    emitters_um: NDArray[Any],
    microscope: Microscope,
    rotations: NDArray[Any],
    *,
    z_um: Sequence[float] | None = None,
    focus_um: float | None = None,
    keep: Literal["all", "above"] = "all",
    brightness: NDArray[Any] | None = None,
    psf: Psf | None = None,
    tolerance: float = 1e-3,
) -> NDArray[np.float32]:
    """Image emitters without noise.

    A view turns positions into ``p @ R``; then axis 0 runs along columns, axis 1 along rows, and axis 2 is the depth
    above the coverslip. The optical axis meets the image between its middle pixels: pixel (i, j) of a 128 x 128 image
    has its centre at row ``(i + 0.5 - 64) pixel_um`` and column ``(j + 0.5 - 64) pixel_um``.

    Parameters
    ----------
    emitters_um : ndarray, shape (n, 3)
        Positions in um, relative to the shape's middle (the published images centre them on their mean).
    microscope : Microscope
        See `msl_store.optics.microscope.get_microscope`.
    rotations : ndarray, shape (n_view, 3, 3)
        One rotation a view, for row vectors.
    z_um : sequence of float, optional
        Focal planes of a stack, in um above the shape's middle. Without it there is one plane and no z axis.
    focus_um : float, optional
        The one focal plane, in um above the shape's middle (0 focuses on the middle). Without it and `z_um`, the
        focus is the microscope's own ``immersion_displacement_um``. Planes are paraxial, by `Microscope.focused`.
    keep : {"all", "above"}
        "above" drops emitters at negative depth, as the published simulation did.
    brightness : ndarray, shape (n,), optional
        How bright each emitter is; 1 without it.
    psf : Psf, optional
        In place of the microscope's own, such as a `msl_store.optics.measured.MeasuredPsf`.
    tolerance : float
        Largest error relative to the image's maximum, 1e-7 to 0.1. Where the field of view holds but the skirts of
        emitters outside, errors may reach 1e-9 of these emitters' peaks.

    Returns
    -------
    ndarray of float32, shape (view, y, x) or (view, z, y, x)
        Images in units of the aberration-free focal peak of one emitter of brightness 1, never negative. They are
        linear in the emitters to the tolerance.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    """
    emitters, turns = bright_positions(emitters_um, brightness), _rotations(rotations)
    psf = psf_of(microscope) if psf is None else psf
    if keep not in ("all", "above"):
        raise UsageError(f"keep is {keep!r}, but must be 'all' or 'above'")
    if not TOLERANCES[0] <= tolerance <= TOLERANCES[1]:
        raise UsageError(f"tolerance is {tolerance!r}, but must lie between {TOLERANCES[0]:g} and {TOLERANCES[1]:g}")
    focuses = displacements(microscope, z_um, focus_um)
    images = np.zeros((len(turns), len(focuses), *microscope.size_px), np.float32)
    placed, bounds = np.empty_like(emitters), np.empty(3)
    for view, turn in enumerate(turns):
        count = place(emitters, turn, keep == "above", placed, bounds)
        if not count:
            continue
        reach = _outwards(float(bounds[0]) / microscope.pixel_um, 16.0)
        low, high = -_outwards(-float(bounds[1]), 0.25), _outwards(float(bounds[2]), 0.25)
        depths = (low, max(high, low + 0.25))
        modes: NDArray[Any] | None = None
        for plane, displacement in enumerate(focuses):
            seen, scale = _seen(placed[:count], psf, displacement)
            if not len(seen):
                continue
            size = psf, microscope.pixel_um, microscope.size_px, displacement, depths, reach
            if z_um is not None and reach <= max(microscope.size_px) and _unit_gain(psf, placed[:count], displacement):
                reference = microscope.focused((depths[0] + depths[1]) / 2)
                shared = make_shared_plan(*size, float(tolerance), reference)
                if shared is not None:
                    modes = _modes(shared, seen) if modes is None else modes
                    image, brightest, light_um2 = _finished(shared, modes)
                    bright = image.max() >= max(SHARED_DIM * shared.peak, _ENOUGH * brightest)
                    if bright and light_um2 >= SHARED_DIM * seen[:, 3].sum() * shared.light_um2:
                        images[view, plane] = image * scale
                        continue
            plan = make_plan(*size, float(tolerance), DIM)
            image, brightest, light_um2 = _image(plan, seen)
            share = float(image.max()) / brightest if brightest > 0 else 0.0
            finer = float(tolerance)
            if share < _ENOUGH:
                finer = max(finer * 4.0 ** math.floor(math.log(max(share, _FINEST), 4)), _FINEST)
            if (
                finer < tolerance
                or image.max() < DIM * plan.peak
                or light_um2 < DIM * seen[:, 3].sum() * plan.light_um2
            ):
                image, _, _ = _image(make_plan(*size, finer), seen)
            images[view, plane] = image * scale
    return images if z_um is not None else images[:, 0]


def displacements(
    microscope: Microscope, z_um: Sequence[float] | None = None, focus_um: float | None = None
) -> tuple[float, ...]:
    """Return the immersion displacement in um of every focal plane; see `expected_images`.

    Raises
    ------
    UsageError
        Both `z_um` and `focus_um` are given, `z_um` is empty, or a plane is not a finite number.
    """
    if z_um is not None and focus_um is not None:
        raise UsageError("z_um (a stack) and focus_um (a single plane) are both given; give one of them")
    if z_um is None and focus_um is None:
        return (microscope.immersion_displacement_um,)
    planes = np.atleast_1d(np.asarray(z_um if z_um is not None else focus_um, np.float64))
    if planes.ndim != 1 or not len(planes) or not np.isfinite(planes).all():
        raise UsageError(f"focal planes {planes.tolist()} must be one or more finite numbers in um")
    return tuple(microscope.focused(float(plane)) for plane in planes)


def _seen(placed: NDArray[np.float64], psf: Psf, displacement: float) -> tuple[NDArray[np.float64], np.float32]:
    # the emitters that shine at this focus, the brightest with brightness 1, and what that is
    bright = placed[:, 3] * psf.gain(placed[:, 2], displacement)
    scale = bright.max(initial=0.0)
    lit = bright > _DARK * scale
    if not scale > 0 or not np.float32(scale) > 0:
        return placed[:0], np.float32(0)
    if lit.all() and (bright == 1).all():
        return placed, np.float32(1)
    seen = placed[lit]
    seen[:, 3] = bright[lit] / scale
    return seen, np.float32(scale)


def _unit_gain(psf: Psf, placed: NDArray[np.float64], displacement: float) -> bool:
    return bool((psf.gain(placed[:, 2], displacement) == 1).all())


def _image(plan: Plan, placed: NDArray[np.float64]) -> tuple[NDArray[Any], float, float]:
    return _finished(plan, _modes(plan, placed))


def _modes(plan: Plan, placed: NDArray[np.float64]) -> NDArray[Any]:
    # the transformed grids of all terms at the column modes 0 to the band
    from scipy.fft import fft, rfft

    band = len(plan.column_factor) - 1
    grid = np.zeros((plan.grid, plan.grid, plan.transfer.shape[2]), plan.weights.dtype)
    spread(
        placed,
        plan.reach_um,
        plan.cells_per_um,
        plan.depth_start_um,
        plan.depth_step_um,
        plan.weights,
        plan.table,
        grid,
    )
    touched = slice(plan.grid // 2 - plan.touched, plan.grid // 2 + plan.touched)
    modes = np.zeros((plan.grid, band + 1, grid.shape[2]), plan.row_factor.dtype)
    modes[touched] = rfft(grid[touched], axis=1, workers=1)[:, : band + 1]
    return np.asarray(fft(modes, axis=0, overwrite_x=True, workers=1))


def _finished(plan: Plan, modes: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
    # the image; the maximum of the image plane, also where emitters outside the field shine; its integral in um^2
    from scipy.fft import ifft, irfft

    spectrum = np.zeros((plan.pixels, plan.pixels // 2 + 1), modes.dtype)
    combine(modes, plan.transfer, plan.row_factor, plan.column_factor, spectrum)
    light = float(spectrum[0, 0].real)
    rows = ifft(spectrum, axis=0, norm="forward", overwrite_x=True, workers=1)
    around = irfft(rows, plan.pixels, axis=1, norm="forward", overwrite_x=True, workers=1)
    image = np.maximum(around[: plan.size_px[0], : plan.size_px[1]], 0)
    area_um2 = (plan.grid / plan.cells_per_um) ** 2
    return image, float(around.max()), light * area_um2


def _outwards(value: float, unit: float) -> float:
    # the least of 0, 1, 1.5, 2, 3, 4, 6, 8, 12, ... units that is not below the value; mirrored for negative values
    if value == 0:
        return 0.0
    if value < 0:
        steps = (unit * factor * 2.0**power for power in itertools.count(0) for factor in (1.0, 1.5))
        below = 0.0
        for step in steps:
            if step > -value:
                return -below
            below = step
    return next(
        unit * factor * 2.0**power
        for power in itertools.count(0)
        for factor in (1.0, 1.5)
        if unit * factor * 2.0**power >= value
    )


def bright_positions(emitters_um: NDArray[Any], brightness: NDArray[Any] | None) -> NDArray[np.float64]:
    """Return checked positions with brightness as column 3, shape (n, 4); see `expected_images`.

    Raises
    ------
    UsageError
        An array has the wrong shape or a value that is not allowed.
    """
    emitters = np.ascontiguousarray(emitters_um, np.float64)
    if emitters.ndim != 2 or emitters.shape[1] != 3:
        raise UsageError(f"emitters_um has the shape {emitters.shape}, but must have (n, 3)")
    if not np.isfinite(emitters).all():
        raise UsageError("emitters_um holds a position that is not finite; positions must be numbers in um")
    bright = np.ones(len(emitters)) if brightness is None else np.asarray(brightness, np.float64)
    if bright.shape != (len(emitters),) or not np.isfinite(bright).all() or (bright < 0).any():
        allowed = f"finite numbers, not negative, one for each of {len(emitters)} emitters"
        raise UsageError(f"brightness, of the shape {bright.shape}, must hold {allowed}")
    return np.column_stack([emitters, bright])


def _rotations(rotations: NDArray[Any]) -> NDArray[np.float64]:
    turns = np.ascontiguousarray(rotations, np.float64)
    if turns.ndim != 3 or turns.shape[1:] != (3, 3):
        raise UsageError(f"rotations has the shape {turns.shape}, but must have (n_view, 3, 3)")
    if not np.allclose(np.einsum("vij,vkj->vik", turns, turns), np.eye(3), atol=1e-9):
        raise UsageError("rotations holds a matrix that is not orthogonal; rows must be unit vectors at right angles")
    return turns
