"""Noise-free images of emitters, exact to a stated tolerance and without a voxel grid.

The PSF is split into a few terms, h(r, z) = sum_k u_k(r) v_k(z) (`msl_store.optics.separable`). Emitters are spread
onto one fine grid per term, weighted by v_k of their depth; each grid's Fourier transform is multiplied by that of
u_k; the sum is folded onto the pixel grid and transformed back (`msl_store.optics.batch`). Nothing wraps around:
the period of the grid is the largest distance between a pixel and an emitter, both ways, wherever the PSF reaches so
far.

What depends on the microscope and on the range of positions alone, a plan, is computed once and kept. A plan is a pure
function of the emitters it serves (`msl_store.optics.attempts`): the same emitters give the same bits in any order of
calls, in any thread and any process.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.attempts import batches, better_attempt, first_attempts, placed_views
from msl_store.optics.gpu import DeviceName, taker
from msl_store.optics.psf import psf_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.optics.attempts import Attempt, Tried
    from msl_store.optics.lens import Psf
    from msl_store.optics.microscope import Microscope

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
    device: DeviceName = "cpu",
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
    views = placed_views(emitters, turns, microscope, psf, focuses, tolerance=float(tolerance), above=keep == "above")
    take, attempts = taker(device), first_attempts(views, stack=z_um is not None)
    while True:
        again: list[Attempt] = []
        tried: deque[Tried] = deque()
        for taken in take(batches(attempts, tried)):
            shot = tried.popleft()
            for index, plane in enumerate(shot.attempt.planes):
                better = better_attempt(shot, taken, index)
                if better is None:
                    np.multiply(taken.images[index], shot.scale, out=images[shot.attempt.view.index, plane])
                else:
                    again.append(better)
        if not again:
            break
        attempts = iter(again)
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
