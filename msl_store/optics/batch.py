"""Images of emitters under plans, on the processor; `msl_store.optics.gpu` computes the same on a graphics card."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.optics.gridding import combine, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import DTypeLike, NDArray

    from msl_store.optics.plan import Plan

_KEPT_BYTES = 16 << 20  # larger arrays are made anew: few images need them, and threads should not hold them
_BLOCK = 1 << 16  # numbers transformed at a time, so that what a transform returns is small


@dataclass(frozen=True, eq=False)
class Batch:
    """Emitters of one view, and what to image them by.

    Attributes
    ----------
    emitters : ndarray of float64, shape (n, 4)
        x, y and depth in um, and the brightness.
    plans : tuple of Plan
        One for each image; all have the same grid and weights.
    """

    emitters: NDArray[np.float64]
    plans: tuple[Plan, ...]


@dataclass(frozen=True, eq=False)
class Taken:
    """The images of a batch.

    Attributes
    ----------
    images : ndarray, shape (plan, y, x)
        Never negative.
    brightest : ndarray, shape (plan,)
        The maximum of the whole periodic square, where emitters outside the field of view shine too.
    light_um2 : ndarray, shape (plan,)
        The integral over that square.
    """

    images: NDArray[Any]
    brightest: NDArray[np.float64]
    light_um2: NDArray[np.float64]


def take(batches: Iterable[Batch]) -> Iterator[Taken]:
    """Image batches one after another, emitters spread once a batch; the next batch overwrites the images of one."""
    for batch in batches:
        modes = _modes(batch)
        images = scratch("images", (len(batch.plans), *batch.plans[0].grid.size_px), modes.real.dtype)
        light, brightest = np.empty(len(images)), np.empty(len(images))
        for index, plan in enumerate(batch.plans):
            light[index], brightest[index] = _image(plan, modes, images[index])
        yield Taken(images, brightest, light)


def _modes(batch: Batch) -> NDArray[Any]:
    # the transformed grids of all terms at the column modes 0 to the band, (row mode, term, column mode)
    from scipy.fft import fft, rfft

    plan = batch.plans[0]
    grid, terms = plan.grid, plan.transfer.shape[1]
    rows = 2 * grid.touched
    cells = scratch("cells", (rows, grid.side, plan.weights.shape[1]), plan.weights.dtype)
    cells.fill(0)
    spread(
        batch.emitters,
        grid.reach_um,
        grid.cells_per_um,
        plan.depth_start_um,
        plan.depth_step_um,
        plan.weights,
        grid.table,
        cells,
    )
    modes = scratch("modes", (grid.side, terms, grid.band + 1), grid.row_factor.dtype)
    modes[rows:] = 0
    step = max(1, _BLOCK // (grid.side * terms))
    for first in range(0, rows, step):
        block = rfft(cells[first : first + step, :, :terms], axis=1, workers=1)
        modes[first : first + len(block)] = block[:, : grid.band + 1].transpose(0, 2, 1)
    return np.asarray(fft(modes, axis=0, overwrite_x=True, workers=1))


def _image(plan: Plan, modes: NDArray[Any], image: NDArray[Any]) -> tuple[float, float]:
    # fills the image; returns the integral over the periodic square, and the maximum there
    from scipy.fft import ifft, irfft

    grid = plan.grid
    spectrum = scratch("spectrum", (grid.pixels, grid.pixels // 2 + 1), modes.dtype)
    spectrum.fill(0)
    combine(modes, plan.transfer, grid.row_factor, grid.column_factor, spectrum)
    light = float(spectrum[0, 0].real) * (grid.side / grid.cells_per_um) ** 2
    used = spectrum[:, : grid.band + 1]
    used[...] = ifft(used, axis=0, norm="forward", overwrite_x=True, workers=1)
    around = irfft(spectrum, grid.pixels, axis=1, norm="forward", overwrite_x=True, workers=1)
    np.maximum(around[: grid.size_px[0], : grid.size_px[1]], 0, out=image)
    return light, float(around.max())


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.held: dict[str, NDArray[np.uint8]] = {}


_SCRATCH = _Scratch()


def scratch(purpose: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of any content, which this thread's next call for the same purpose returns again.

    The memory of fresh arrays costs a page fault every 4 KiB, which for these takes longer than the work in them.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > _KEPT_BYTES:
        return np.empty(shape, dtype)
    if purpose not in _SCRATCH.held or len(_SCRATCH.held[purpose]) < size:
        _SCRATCH.held[purpose] = np.empty(size, np.uint8)
    return _SCRATCH.held[purpose][:size].view(dtype).reshape(shape)
