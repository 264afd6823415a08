"""Which plans images are tried by: the cheap ones first, finer ones for images that turn out dim.

A plan depends on ranges of depth and of distance from the axis. They are rounded outwards to a fixed series of sizes,
so that a plan is a pure function of the emitters it serves, and serves many.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msl_store.optics.batch import Batch, scratch
from msl_store.optics.gridding import place
from msl_store.optics.plan import DIM, Scope, make_plan
from msl_store.optics.stack import SHARED_DIM, make_shared_plan, references

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from msl_store.optics.batch import Taken
    from msl_store.optics.lens import Psf
    from msl_store.optics.microscope import Microscope
    from msl_store.optics.plan import Plan

_ENOUGH = 0.25  # an image dimmer than this share of its surroundings is computed anew, that much more finely
_FINEST = 1e-9
_DARK = 1e-14  # emitters that much dimmer than the brightest are left out
_REACH_PX, _DEPTH_UM = 16.0, 0.25  # smallest ranges


@dataclass(frozen=True, eq=False)
class View:
    """The emitters of one view, and what its plans are made by.

    Attributes
    ----------
    index : int
        Which of the views.
    placed : ndarray of float64, shape (n, 4)
        x, y and depth in um, and the brightness.
    microscope, psf, tolerance
        As of `msl_store.optics.imaging.expected_images`.
    focuses_um : tuple of float
        The immersion displacement of every plane.
    depths_um : tuple of float
        A range that holds all depths.
    reach_px : float
        No emitter is farther from the axis along x or y.
    """

    index: int
    placed: NDArray[np.float64]
    microscope: Microscope
    psf: Psf
    focuses_um: tuple[float, ...]
    depths_um: tuple[float, float]
    reach_px: float
    tolerance: float

    def scope(self, tolerance: float) -> Scope:
        """Return what the view's plans are made for."""
        m = self.microscope
        return Scope(self.psf, m.pixel_um, m.size_px, self.depths_um, self.reach_px, tolerance)


@dataclass(frozen=True, eq=False)
class Attempt:
    """Planes of a view by plans that are right for depths of at least the share `dim` of the brightest."""

    view: View
    planes: tuple[int, ...]
    plans: tuple[Plan, ...]
    dim: float
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Tried:
    """An attempt whose emitters were looked at: how bright the brightest is, and all of them relative to it."""

    attempt: Attempt
    scale: np.float32
    brightness: float


def placed_views(
    emitters: NDArray[np.float64],
    turns: NDArray[np.float64],
    microscope: Microscope,
    psf: Psf,
    focuses_um: tuple[float, ...],
    *,
    tolerance: float,
    above: bool,
) -> list[View]:
    """Rotate emitters (n, 4) into every view, and return the views that have any; with `above`, of depths >= 0."""
    views, bounds = [], np.empty(3)
    placed = scratch("placed", (len(turns), *emitters.shape), np.float64)
    for index, turn in enumerate(turns):
        count = place(emitters, turn, above, placed[index], bounds)
        if count:
            reach = _outwards(float(bounds[0]) / microscope.pixel_um, _REACH_PX)
            depths = _depth_range(float(bounds[1]), float(bounds[2]))
            views.append(View(index, placed[index, :count], microscope, psf, focuses_um, depths, reach, tolerance))
    return views


def first_attempts(views: Iterable[View], *, stack: bool) -> Iterator[Attempt]:
    """Yield what to try first: one spreading of emitters for all planes of a stack that can share it."""
    for view in views:
        shared = _shared_plans(view) if stack and view.reach_px <= max(view.microscope.size_px) else {}
        if shared:
            yield Attempt(view, tuple(shared), tuple(shared.values()), SHARED_DIM, shared=True)
        for plane in range(len(view.focuses_um)):
            if plane not in shared:
                yield _own_attempt(view, plane, view.tolerance, DIM)


def _shared_plans(view: View) -> dict[int, Plan]:
    plans: dict[int, Plan] = {}
    scope, around = view.scope(view.tolerance), references(view.microscope, view.psf, view.depths_um)
    steps = view.psf.gain_turn_per_um(view.tolerance) is None
    for plane, focus in enumerate(view.focuses_um):
        if steps and not (view.psf.gain(view.placed[:, 2], focus) == 1).all():
            continue
        plan = make_shared_plan(scope, focus, around)
        if plan is not None:
            plans[plane] = plan
    return plans


def _own_attempt(view: View, plane: int, tolerance: float, dim: float = 0.0) -> Attempt:
    plan = make_plan(view.scope(tolerance), view.focuses_um[plane], dim)
    return Attempt(view, (plane,), (plan,), dim)


def batches(attempts: Iterable[Attempt], tried: deque[Tried]) -> Iterator[Batch]:
    """Yield the batch of every attempt that has any light, and append the attempt to `tried`."""
    for attempt in attempts:
        view, bright = attempt.view, attempt.view.placed[:, 3]
        if not attempt.shared:
            bright = bright * view.psf.gain(view.placed[:, 2], view.focuses_um[attempt.planes[0]])
        seen, scale = _lit(view.placed, bright)
        if len(seen):
            tried.append(Tried(attempt, scale, float(seen[:, 3].sum())))
            yield Batch(seen, attempt.plans)


def better_attempt(tried: Tried, taken: Taken, index: int) -> Attempt | None:
    """Return what to try next where an image is so dim that it may not be right to the tolerance; else None."""
    attempt = tried.attempt
    view, plane, plan, dim = attempt.view, attempt.planes[index], attempt.plans[index], attempt.dim
    if not dim:
        return None
    peak, brightest = float(taken.images[index].max()), float(taken.brightest[index])
    share = peak / brightest if brightest > 0 else 0.0
    bright = peak >= dim * plan.peak and taken.light_um2[index] >= dim * tried.brightness * plan.light_um2
    if bright and share >= _ENOUGH:
        return None
    if attempt.shared:
        return _own_attempt(view, plane, view.tolerance, DIM)
    finer = 4.0 ** math.floor(math.log(max(share, _FINEST), 4)) if share < _ENOUGH else 1.0
    return _own_attempt(view, plane, max(view.tolerance * finer, _FINEST))


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
    low, high = -_outwards(-low, _DEPTH_UM), _outwards(high, _DEPTH_UM)
    if low < 0 < high and max(-low, high) <= 2 * min(-low, high):
        low, high = -max(-low, high), max(-low, high)
    return low, max(high, low + _DEPTH_UM)


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
