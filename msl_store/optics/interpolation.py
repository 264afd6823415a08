"""Interpolation between twelve samples of an even function, such as a radial profile."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

ERROR = (10395 / 64) ** 2 / math.factorial(12)
"""Largest ``|(t+5)...(t-6)| / 12!`` on [0, 1]: the error, by step and highest frequency in radians to the twelfth."""

_SCALES = np.array([(-1.0) ** (11 - p) / (math.factorial(p) * math.factorial(11 - p)) for p in range(12)])


def step_for(error: float, radians_per_um: float) -> float:
    """Return how far apart, in um, samples of a band-limited function may be for an error relative to its maximum."""
    return float((error / ERROR) ** (1 / 12)) / radians_per_um


@numba.njit(cache=True, nogil=True, error_model="numpy")
def shares(t: float, found: Any) -> None:
    """Fill ``found`` (12,) with the shares of samples -5 to 6 in the value at 0 <= t < 1: Lagrange's polynomials."""
    below, above = 1.0, 1.0
    for p in range(12):
        found[p] = _SCALES[p] * below
        below *= t + 5 - p
    for p in range(11, -1, -1):
        found[p] *= above
        above *= t + 5 - p
