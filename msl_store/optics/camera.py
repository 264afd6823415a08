"""From expected images to camera counts, by the recipe of the published images."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OFFSET_RANGE = (20, 70)
"""Half-open range of the published background level, in counts."""

PEAK_RANGE = (200, 240)
"""Half-open range of the published brightest level, background included, in counts."""

_LEVELS = 512
"""Levels below this, which are all the published ones, have their tables made once a process."""

_STEPS = 256
"""Places at which the search for a count may start."""


def published_counts(
    expected: NDArray[Any],
    rng: np.random.Generator,
    *,
    noise_rng: np.random.Generator | None = None,
    offset_range: tuple[int, int] = OFFSET_RANGE,
    peak_range: tuple[int, int] = PEAK_RANGE,
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
        Draws offset and peak of each image, then, without `noise_rng`, an independent field for each.
    noise_rng : numpy.random.Generator, optional
        Draws one field (y, x) that all images share. Freshly seeded alike for every call, it gives all calls the same
        field. That is how the published conf1 images came about: their noise generator was restarted for every
        image, so that the same pixels come out bright and dark in all views and instances.
    offset_range, peak_range : tuple of int
        Half-open ranges of the levels.

    Returns
    -------
    ndarray of uint16, shape (..., y, x)
        Counts.

    Raises
    ------
    UsageError
        The array has fewer than two axes, or holds a negative value or one that is not finite; or a range is empty,
        negative, above what the counts hold, or they overlap.
    """
    images = np.asarray(expected, np.float64)
    if images.ndim < 2 or not np.isfinite(images).all() or (images < 0).any():
        raise UsageError("expected must have at least the axes (y, x), and values that are finite and not negative")
    if not 0 <= offset_range[0] < offset_range[1] <= peak_range[0] < peak_range[1] <= 2**15:
        raise UsageError(f"offset {offset_range} and peak {peak_range} must be ascending half-open ranges below 32769")
    lead = images.shape[:-2]
    offset = rng.integers(*offset_range, size=lead)[..., None, None]
    peak = rng.integers(*peak_range, size=lead)[..., None, None]
    brightest = images.max(axis=(-2, -1), keepdims=True, initial=0.0)
    quantised = np.floor(images * (255 / np.where(brightest > 0, brightest, 1.0)))
    levels = np.rint(offset + np.minimum(quantised, 255) * (peak - offset) / 255).astype(np.int64)
    field = rng.random(images.shape) if noise_rng is None else noise_rng.random(images.shape[-2:])
    return _poisson(levels, np.broadcast_to(field, images.shape))


def _poisson(levels: NDArray[np.int64], field: NDArray[np.float64]) -> NDArray[np.uint16]:
    # the least count whose cumulative probability reaches the field's value
    if levels.max(initial=0) < _LEVELS:
        rows, tables = levels.ravel(), _low_tables()
    else:
        present, rows = np.unique(levels.ravel(), return_inverse=True)
        tables = _tables(present)
    counts = np.empty(levels.size, np.uint16)
    _invert(rows, np.ascontiguousarray(field).ravel(), *tables, counts)
    return counts.reshape(levels.shape)


@cache
def _low_tables() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return _tables(np.arange(_LEVELS))


def _tables(levels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    # a row a level: its cumulative probabilities, and the least count of which they reach g / _STEPS, for every g
    from scipy.special import pdtr

    limit = int(levels[-1] + 12 * np.sqrt(levels[-1]) + 40)  # leaves less than 1e-16 above
    cumulative = pdtr(np.arange(limit), levels[:, None])
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
