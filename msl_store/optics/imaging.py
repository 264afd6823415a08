"""Noise-free images of emitters, exact to a stated tolerance and without a voxel grid.

The PSF is split into a few terms, h(r, z) = sum_k u_k(r) v_k(z) (`msl_store.optics.separable`). Emitters are spread
onto one fine grid per term, weighted by v_k of their depth; each grid's Fourier transform is multiplied by that of
u_k; the sum is folded onto the pixel grid and transformed back (`msl_store.optics.batch`). Nothing wraps around:
the period of the grid is the largest distance between a pixel and an emitter, both ways, wherever the PSF reaches so
far.

What depends on the microscope and on the range of positions alone, a plan, is computed once and kept. Ranges are
rounded outwards to a fixed series of sizes, so that a plan is a pure function of the emitters it serves: the same
emitters give the same bits in any order of calls, in any thread and any process.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.batch import Batch, scratch
from msl_store.optics.gpu import taker
from msl_store.optics.gridding import place
from msl_store.optics.plan import make_plan
from msl_store.optics.psf import psf_of
from msl_store.optics.stack import SHARED_DIM, make_shared_plan, references

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from msl_store.optics.batch import Taken
    from msl_store.optics.lens import Psf
    from msl_store.optics.microscope import Microscope
    from msl_store.optics.plan import Plan

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
    device: Literal["cpu", "gpu", "auto"] = "cpu",
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
    device : {"cpu", "gpu", "auto"}
        Where to compute. The same emitters give the same bits on any "cpu"; those of a "gpu" differ, within the
        tolerance, from these and from one run to the next. "auto" is the GPU where there is one.

    Returns
    -------
    ndarray of float32, shape (view, y, x) or (view, z, y, x)
        Images in units of the aberration-free focal peak of one emitter of brightness 1, never negative. They are
        linear in the emitters to the tolerance.

    Raises
    ------
    UsageError
        An argument is outside what is allowed, or the `device` is "gpu" and there is none.
    """
    emitters, turns = bright_positions(emitters_um, brightness), _rotations(rotations)
    psf = psf_of(microscope) if psf is None else psf
    if keep not in ("all", "above"):
        raise UsageError(f"keep is {keep!r}, but must be 'all' or 'above'")
    if not TOLERANCES[0] <= tolerance <= TOLERANCES[1]:
        raise UsageError(f"tolerance is {tolerance!r}, but must lie between {TOLERANCES[0]:g} and {TOLERANCES[1]:g}")
    focuses = displacements(microscope, z_um, focus_um)
    images = np.zeros((len(turns), len(focuses), *microscope.size_px), np.float32)
    views = _views(emitters, turns, microscope, psf, focuses, tolerance=float(tolerance), above=keep == "above")
    take = taker(device)
    attempts = [attempt for view in views for attempt in _first(view, stack=z_um is not None)]
    while attempts:
        tried: list[_Tried] = []
        again = []
        for taken in take(_batches(attempts, tried)):
            attempt, scale, light = tried.pop(0)
            for index, plane in enumerate(attempt.planes):
                better = _better(attempt, taken, index, light)
                if better is None:
                    np.multiply(taken.images[index], scale, out=images[attempt.view.index, plane])
                else:
                    again.append(better)
        attempts = again
    return images if z_um is not None else images[:, 0]


@dataclass(frozen=True, eq=False)
class _View:
    """The emitters of one view, and what its plans are made by."""

    index: int
    placed: NDArray[np.float64]
    microscope: Microscope
    psf: Psf
    focuses: tuple[float, ...]
    depths_um: tuple[float, float]
    reach_px: float
    tolerance: float

    def size(self, plane: int) -> tuple[Psf, float, tuple[int, int], float, tuple[float, float], float]:
        m = self.microscope
        return self.psf, m.pixel_um, m.size_px, self.focuses[plane], self.depths_um, self.reach_px


@dataclass(frozen=True, eq=False)
class _Attempt:
    """Some planes of a view, by plans that are right for depths of at least the share `dim` of the brightest."""

    view: _View
    planes: tuple[int, ...]
    plans: tuple[Plan, ...]
    dim: float


_Tried = tuple[_Attempt, np.float32, float]  # with the scale of the image, and the sum of the emitters' brightness


def _views(
    emitters: NDArray[np.float64],
    turns: NDArray[np.float64],
    microscope: Microscope,
    psf: Psf,
    focuses: tuple[float, ...],
    *,
    tolerance: float,
    above: bool,
) -> list[_View]:
    views, bounds = [], np.empty(3)
    placed = scratch("placed", (len(turns), *emitters.shape), np.float64)
    for index, turn in enumerate(turns):
        count = place(emitters, turn, above, placed[index], bounds)
        if count:
            depths, reach = _depth_range(bounds[1], bounds[2]), _outwards(float(bounds[0]) / microscope.pixel_um, 16.0)
            views.append(_View(index, placed[index, :count], microscope, psf, focuses, depths, reach, tolerance))
    return views


def _first(view: _View, *, stack: bool) -> list[_Attempt]:
    # what to try first: one spreading of emitters for all planes of a stack that can share it
    shared: dict[int, Plan] = {}
    if stack and view.reach_px <= max(view.microscope.size_px):
        around = references(view.microscope, view.psf, view.depths_um)
        steps = view.psf.gain_turn_per_um(view.tolerance) is None
        for plane, focus in enumerate(view.focuses):
            if steps and not (view.psf.gain(view.placed[:, 2], focus) == 1).all():
                continue
            plan = make_shared_plan(*view.size(plane), view.tolerance, around)
            if plan is not None:
                shared[plane] = plan
    attempts = [_Attempt(view, tuple(shared), tuple(shared.values()), SHARED_DIM)] if shared else []
    own = (plane for plane in range(len(view.focuses)) if plane not in shared)
    return attempts + [_own(view, plane, view.tolerance, DIM) for plane in own]


def _own(view: _View, plane: int, tolerance: float, dim: float = 0.0) -> _Attempt:
    return _Attempt(view, (plane,), (make_plan(*view.size(plane), tolerance, dim),), dim)


def _batches(attempts: list[_Attempt], tried: list[_Tried]) -> Iterator[Batch]:
    # one for each attempt, with what to know of it when it is taken, but for those without any light
    for attempt in attempts:
        view, bright = attempt.view, attempt.view.placed[:, 3]
        if attempt.dim != SHARED_DIM:
            bright = bright * view.psf.gain(view.placed[:, 2], view.focuses[attempt.planes[0]])
        seen, scale = _lit(view.placed, bright)
        if len(seen):
            tried.append((attempt, scale, float(seen[:, 3].sum())))
            yield Batch(seen, attempt.plans)


def _better(attempt: _Attempt, taken: Taken, index: int, light: float) -> _Attempt | None:
    # what to try where an image is so dim that it may not be right to the tolerance
    if not attempt.dim:
        return None
    view, plane, plan = attempt.view, attempt.planes[index], attempt.plans[index]
    peak, brightest = float(taken.images[index].max()), float(taken.brightest[index])
    share = peak / brightest if brightest > 0 else 0.0
    bright = peak >= attempt.dim * plan.peak and taken.light_um2[index] >= attempt.dim * light * plan.light_um2
    if bright and share >= _ENOUGH:
        return None
    if attempt.dim == SHARED_DIM:
        return _own(view, plane, view.tolerance, DIM)
    finer = 4.0 ** math.floor(math.log(max(share, _FINEST), 4)) if share < _ENOUGH else 1.0
    return _own(view, plane, max(view.tolerance * finer, _FINEST))


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


def _lit(placed: NDArray[np.float64], bright: NDArray[np.float64]) -> tuple[NDArray[np.float64], np.float32]:
    # the emitters that shine, the brightest with brightness 1, and how bright that is
    scale = bright.max(initial=0.0)
    if not scale > 0 or not np.float32(scale) > 0:
        return placed[:0], np.float32(0)
    lit = bright > _DARK * scale
    if lit.all() and (bright == 1).all():
        return placed, np.float32(1)
    seen = placed[lit]
    seen[:, 3] = bright[lit] / scale
    return seen, np.float32(scale)


def _depth_range(low: float, high: float) -> tuple[float, float]:
    # outwards, and the same both ways where that is not much more: fewer ranges need fewer plans
    low, high = -_outwards(-float(low), 0.25), _outwards(float(high), 0.25)
    if low < 0 < high and max(-low, high) <= 2 * min(-low, high):
        low, high = -max(-low, high), max(-low, high)
    return low, max(high, low + 0.25)


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
