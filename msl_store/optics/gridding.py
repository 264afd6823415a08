"""Non-uniform FFT pieces: the spreading window, and the compiled loops over emitters and modes.

A type-1 non-uniform FFT in the manner of A. H. Barnett, J. Magland and L. af Klinteberg, "A parallel nonuniform fast
Fourier transform library based on an exponential of semicircle kernel", SIAM J. Sci. Comput. 41, C479-C504 (2019).
Unlike a general library, `spread` carries all depth terms of an emitter at once: the window is evaluated once for all,
and the terms lie side by side in memory. That is several times faster than one transform a term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from msl_store.optics.lens import gauss_legendre

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """The window ``exp(beta (sqrt(1 - (2 t / width)^2) - 1))`` on ``|t| <= width / 2``, t in grid cells."""

    width: int
    beta: float

    def __call__(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate the window; zero outside."""
        inside = 1 - (2 * cells / self.width) ** 2
        return np.where(inside >= 0, np.exp(self.beta * (np.sqrt(np.maximum(inside, 0.0)) - 1)), 0.0)

    def transform(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return its Fourier transform at frequencies in cycles per cell."""
        result: NDArray[np.float64] = self._shifted(frequency, (0,))[0]
        return result

    def aliasing(self, modes: NDArray[np.float64], grid: int) -> NDArray[np.float64]:
        """Return, for modes of a grid, the sum of the transform at their aliases relative to themselves."""
        own, *aliases = np.abs(self._shifted(modes / grid, (0, -2, -1, 1, 2)))
        result: NDArray[np.float64] = sum(aliases) / own
        return result

    def _shifted(self, frequency: NDArray[np.float64], shifts: tuple[int, ...]) -> NDArray[np.float64]:
        # the transform at frequencies plus shifts, (shift, frequency): a cosine of a sum, over half the even window
        nodes, weights = gauss_legendre(24 + 8 * self.width)
        half = nodes > 0
        cells = nodes[half] * self.width / 2
        values = self(cells) * weights[half] * self.width
        turns = 2 * np.pi * np.asarray(shifts)[:, None] * cells
        phases = 2 * np.pi * np.asarray(frequency)[:, None] * cells
        result: NDArray[np.float64] = np.einsum("fc,sc->sf", np.cos(phases), values * np.cos(turns))
        if any(shifts):
            result -= np.einsum("fc,sc->sf", np.sin(phases), values * np.sin(turns))
        return result

    def table(self, rows: int) -> NDArray[np.float64]:
        """Tabulate the window at the cells it covers, for ``rows + 1`` even offsets of the first; (rows + 1, width)."""
        offset = np.linspace(0, 1, rows + 1)[:, None]
        return self(offset - self.width / 2 + np.arange(self.width))


def window(width: int, oversampling: float) -> Window:
    """Return the window of a width for an oversampling, with the paper's shape parameter (its section 4)."""
    return Window(width, 0.97 * np.pi * width * (1 - 0.5 / oversampling))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place(emitters: Any, rotation: Any, above: bool, placed: Any, bounds: Any) -> int:  # noqa: FBT001
    """Rotate emitters (n, 4) as row vectors into ``placed`` (n, 4); with ``above``, keep depths >= 0 only.

    Column 3 is an emitter's brightness, and is handed on.

    Return how many were kept, and in ``bounds`` the least |x| and |y| that holds all, the lowest and highest depth.
    """
    kept = 0
    reach, low, high = 0.0, np.inf, -np.inf
    for i in range(len(emitters)):
        a, b, c = emitters[i, 0], emitters[i, 1], emitters[i, 2]
        x = a * rotation[0, 0] + b * rotation[1, 0] + c * rotation[2, 0]
        y = a * rotation[0, 1] + b * rotation[1, 1] + c * rotation[2, 1]
        depth = a * rotation[0, 2] + b * rotation[1, 2] + c * rotation[2, 2]
        if above and depth < 0:
            continue
        placed[kept, 0], placed[kept, 1], placed[kept, 2], placed[kept, 3] = x, y, depth, emitters[i, 3]
        kept += 1
        reach = max(reach, abs(x), abs(y))
        low, high = min(low, depth), max(high, depth)
    bounds[0], bounds[1], bounds[2] = reach, low, high
    return kept


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spread(
    placed: Any,
    reach_um: float,
    cells_per_um: float,
    depth_start_um: float,
    depth_step_um: float,
    weights: Any,
    table: Any,
    grid: Any,
) -> None:
    """Add every emitter within reach to a grid, (row, column, term), with its depth's weights and its brightness.

    ``weights`` is `SeparablePsf.weights`; ``table`` is `Window.table`; the middle of the grid is the optical axis.
    Loops over terms and cells run several at a time where the terms are a multiple of 8.
    """
    real = grid.dtype.type
    rows, width = table.shape[0] - 1, table.shape[1]
    side, terms = grid.shape[1], grid.shape[2]
    flat = grid.reshape(grid.size)
    term = np.empty(terms, grid.dtype)
    line = np.empty(terms * width, grid.dtype)
    left_edge, top_edge = 0.5 * side - 0.5 * width, 0.5 * grid.shape[0] - 0.5 * width
    for i in range(len(placed)):
        x, y = placed[i, 0], placed[i, 1]
        if abs(x) > reach_um or abs(y) > reach_um:
            continue
        position = (placed[i, 2] - depth_start_um) / depth_step_um
        row = int(position)
        t = real(position - row)
        one, two, three = real(1), real(2), real(3)
        before = -t * (t - one) * (t - two) / (two * three)
        here = (t + one) * (t - one) * (t - two) / two
        after = -(t + one) * t * (t - two) / two
        beyond = (t + one) * t * (t - one) / (two * three)
        brightness = real(placed[i, 3])
        for k in range(terms):
            term[k] = brightness * (
                before * weights[row, k]
                + here * weights[row + 1, k]
                + after * weights[row + 2, k]
                + beyond * weights[row + 3, k]
            )
        left, top = x * cells_per_um + left_edge, y * cells_per_um + top_edge
        first_column, first_row = int(np.ceil(left)), int(np.ceil(top))
        offset = (first_column - left) * rows
        j = int(offset)
        t = real(offset - j)
        for column in range(width):
            value = table[j, column] + t * (table[j + 1, column] - table[j, column])
            for k in range(terms):
                line[column * terms + k] = value * term[k]
        offset = (first_row - top) * rows
        j = int(offset)
        t = real(offset - j)
        for below in range(width):
            value = table[j, below] + t * (table[j + 1, below] - table[j, below])
            at = ((first_row + below) * side + first_column) * terms
            target = flat[at : at + width * terms]
            for k in range(width * terms):
                target[k] += value * line[k]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def combine(modes: Any, transfer: Any, row_factor: Any, column_factor: Any, spectrum: Any) -> None:
    """Sum terms times their transfer functions, and fold the modes onto the spectrum of the pixel grid.

    ``modes`` (grid rows, term, band + 1) are the transformed terms at column modes 0 to band; ``transfer``
    (band + 1, term, band + 1) is even in both axes; ``spectrum`` (m, m // 2 + 1), zero on entry, becomes that of a real
    image of m x m pixels. Factors belong to modes -band to band of the rows and 0 to band of the columns. Modes farther
    than the band from mode 0, in the corners, are left out.
    """
    band = transfer.shape[0] - 1
    side, terms, pixels = modes.shape[0], modes.shape[1], spectrum.shape[0]
    total = np.empty(band + 1, modes.dtype)
    for r in range(-band, band + 1):
        count = int(np.sqrt((band + 0.5) ** 2 - r * r)) + 1
        total[:] = 0
        for k in range(terms):
            factor, mode = transfer[abs(r), k], modes[r % side, k]
            for c in range(count):
                total[c] += factor[c] * mode[c]
        row, mirrored = spectrum[r % pixels], spectrum[-r % pixels]
        shift = row_factor[r + band]
        once = min(count, (pixels + 1) // 2)  # columns before the first that is its own mirror image, or folds
        for c in range(once):
            row[c] += total[c] * (shift * column_factor[c])
        for c in range(once, count):
            value = total[c] * (shift * column_factor[c])
            column, mirror = c % pixels, -c % pixels
            if column < len(row):
                row[column] += value
            if mirror < len(row):
                mirrored[mirror] += value.conjugate()
