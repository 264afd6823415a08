"""From expected images to camera counts, by the recipe of the published images."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

OFFSET_RANGE = (20, 70)
"""Half-open range of the published background level, in counts."""

PEAK_RANGE = (200, 240)
"""Half-open range of the published brightest level, background included, in counts."""

_LEVELS = 512
"""Levels below this, which are all the published ones, have tables, made once a process."""

_HIGHEST = 2**15
"""The highest level."""

_STEPS = 256
"""Places at which the search for a count may start."""


def draw_levels(rng: np.random.Generator, size: tuple[int, ...] = ()) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw the background level and the brightest one of images, each of a shape, in the published ranges."""
    return np.asarray(rng.integers(*OFFSET_RANGE, size=size)), np.asarray(rng.integers(*PEAK_RANGE, size=size))


def published_counts(
    expected: NDArray[Any],
    rng: np.random.Generator,
    *,
    noise_rng: np.random.Generator | None = None,
    levels: tuple[ArrayLike, ArrayLike] | None = None,
    brightest: float | None = None,
) -> NDArray[np.uint16]:
    """Turn expected images into counts as the published simulation did.

    Each image is quantised to 0..255 of its own maximum (truncated), scaled linearly so that 0 becomes a random
    integer offset and 255 a random integer peak, rounded to integers, and replaced by Poisson draws of these means.
    An image without light is a flat one at the offset. Draws invert the Poisson distribution function at uniform
    numbers, a field u(y, x): the same field gives the same bright and dark pixels at every light level.

    Parameters
    ----------
    expected : ndarray, shape (..., y, x)
        Expected images, not negative, in any unit.
    rng : numpy.random.Generator
        Draws offset and peak of each image where no levels are given, then, without `noise_rng`, an independent field
        for each.
    noise_rng : numpy.random.Generator, optional
        Draws one field (y, x) that all images share. Freshly seeded alike for every call, it gives all calls the same
        field. That is how the published conf1 images came about: their noise generator was restarted for every
        image, so that the same pixels come out bright and dark in all views and instances.
    levels : pair of int or of ndarray, shape (...), optional
        Offset and peak, as `draw_levels` draws them.
    brightest : float, optional
        The expected value that becomes the peak, in place of each image's own maximum, so that planes and frames of
        one scene share a scale. What is brighter exceeds the peak in proportion, up to 2**15.

    Returns
    -------
    ndarray of uint16, shape (..., y, x)
        Counts.

    Raises
    ------
    UsageError
        The array has fewer than two axes, or holds a negative value or one that is not finite; levels do not ascend,
        or are negative or above what the counts hold; or `brightest` is no positive number.
    """
    images = np.asarray(expected, np.float64)
    if images.ndim < 2 or not np.isfinite(images).all() or (images < 0).any():
        raise UsageError("expected must have at least the axes (y, x), and values that are finite and not negative")
    if brightest is not None and not 0 < brightest < np.inf:
        raise UsageError(f"brightest is {brightest}, but must be a number above 0")
    lead = images.shape[:-2]
    drawn = draw_levels(rng, lead) if levels is None else levels
    offset, peak = (np.broadcast_to(np.asarray(level), lead)[..., None, None] for level in drawn)
    if not ((offset >= 0) & (offset < peak) & (peak <= _HIGHEST)).all():
        raise UsageError(f"levels {levels} must be an offset and a higher peak, 0 to {_HIGHEST}")
    whole = images.max(axis=(-2, -1), keepdims=True, initial=0.0) if brightest is None else np.float64(brightest)
    quantised = np.floor(images * (255 / np.where(whole > 0, whole, 1.0)))
    means = np.minimum(np.rint(offset + quantised * (peak - offset) / 255), _HIGHEST).astype(np.int64)
    field = rng.random(images.shape) if noise_rng is None else noise_rng.random(images.shape[-2:])
    return _poisson(means, np.broadcast_to(field, images.shape))


def _poisson(means: NDArray[np.int64], field: NDArray[np.float64]) -> NDArray[np.uint16]:
    # the least count whose cumulative probability reaches the field's value
    rows, values = means.ravel(), np.ascontiguousarray(field).ravel()
    counts = np.empty(means.size, np.uint16)
    high = rows >= _LEVELS
    if not high.any():
        _invert(rows, values, *_tables(), counts)
        return counts.reshape(means.shape)
    low_counts = np.empty(int((~high).sum()), np.uint16)
    _invert(rows[~high], values[~high], *_tables(), low_counts)
    counts[~high], counts[high] = low_counts, _high_counts(rows[high], values[high])
    return counts.reshape(means.shape)


def _high_counts(means: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import pdtr, pdtrik

    counts = np.ceil(pdtrik(values, means))
    counts -= pdtr(counts - 1, means) >= values
    counts += pdtr(counts, means) < values
    return np.asarray(counts)


@cache
def _tables() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    # a row a level below _LEVELS: its cumulative probabilities, and the least count that reaches g / _STEPS, for all g
    from scipy.special import pdtr

    limit = int(_LEVELS + 12 * np.sqrt(_LEVELS) + 40)  # leaves less than 1e-16 above
    cumulative = pdtr(np.arange(limit), np.arange(_LEVELS)[:, None])
    cumulative[:, -1] = 1.0
    return cumulative, np.array([np.searchsorted(row, np.arange(_STEPS) / _STEPS) for row in cumulative])


@numba.njit(cache=True, nogil=True)
def _invert(rows: Any, field: Any, cumulative: Any, guide: Any, counts: Any) -> None:
    for place in range(len(rows)):
        row = rows[place]
        value = field[place]
        count = guide[row, int(value * _STEPS)]
        while cumulative[row, count] < value:
            count += 1
        counts[place] = count
