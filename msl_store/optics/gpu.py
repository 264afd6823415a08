"""Images of emitters under plans on a graphics card, by cupy and cufinufft.

The algorithm is that of `msl_store.optics.batch`, with a general library's type-1 non-uniform FFT in place of spreading
and folding by own loops (A. H. Barnett, J. Magland and L. af Klinteberg, SIAM J. Sci. Comput. 41, C479-C504 (2019);
on the card: Y. Shih, G. Wright, J. Anden, J. Blaschke and A. Barnett, "cuFINUFFT: a load-balanced GPU library for
general-purpose nonuniform FFTs", IPDPSW (2021)). It is written over a `Device`: an array module and a transform. The
tests run all of it with numpy and finufft, which have the same interfaces; on a real card it has not been run yet.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from weakref import WeakKeyDictionary

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.batch import Taken, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from msl_store.optics.batch import Batch
    from msl_store.optics.plan import Plan
    from msl_store.optics.transfer import Grid

DeviceName = Literal["cpu", "gpu", "auto"]
"""Where images can be computed; "auto" is the GPU where there is one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Device:
    """Where arrays live, and what transforms non-uniform points there.

    Attributes
    ----------
    arrays : module
        cupy, or numpy.
    nufft : callable
        ``nufft(x, y, strengths, modes, eps=..., isign=...)``: `cufinufft.nufft2d1`, or `finufft.nufft2d1`.
    fetch : callable
        What brings an array of `arrays` to the host.
    held : WeakKeyDictionary
        What of every plan is on the device already.
    """

    arrays: Any
    nufft: Callable[..., Any]
    fetch: Callable[[Any], NDArray[Any]]
    held: WeakKeyDictionary[Plan, dict[str, Any]] = field(default_factory=WeakKeyDictionary, repr=False)


def checked_device(device: str) -> DeviceName:
    """Return a device's name, or raise `UsageError` where it is none; whether it is there shows when it is used."""
    if device not in get_args(DeviceName):
        raise UsageError(f"device is {device!r}, but must be one of {', '.join(get_args(DeviceName))}")
    return cast("DeviceName", device)


def taker(device: DeviceName) -> Callable[[Iterable[Batch]], Iterable[Taken]]:
    """Return what images batches on a device.

    Raises
    ------
    UsageError
        The name is unknown, or it is "gpu" and cupy, cufinufft or the card are missing.
    """
    if checked_device(device) == "cpu" or (device == "auto" and isinstance(_search(), str)):
        return take
    return partial(take_on, find_gpu())


def find_gpu() -> Device:
    """Return this machine's GPU.

    Raises
    ------
    UsageError
        cupy or cufinufft is not installed, or there is no CUDA device.
    """
    found = _search()
    if isinstance(found, Device):
        return found
    remedy = 'install "msl-store[gpu]" on a machine with a CUDA device, or compute with device="cpu"'
    raise UsageError(f"device 'gpu' {found}; {remedy}")


@lru_cache(maxsize=1)
def _search() -> Device | str:
    # the device, or what is missing
    try:
        import cupy
        from cuda import pathfinder

        # cufinufft asks the system alone for these; pip has installed them elsewhere
        for library in ("cudart", "cufft"):
            pathfinder.load_nvidia_dynamic_lib(library)
        import cufinufft
    except (ImportError, OSError, RuntimeError) as error:
        return _missing(f"needs cupy and cufinufft, which do not load ({error})")
    try:
        cupy.zeros(1)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return _missing(f"needs a CUDA device, and none answers ({error})")
    return Device(cupy, cufinufft.nufft2d1, cupy.asnumpy)


def _missing(reason: str) -> str:
    _log.info("images are computed on the CPU: a GPU %s", reason)
    return reason


def take_on(device: Device, batches: Iterable[Batch]) -> list[Taken]:
    """Image batches on a device: one transfer of all emitters there, two back, and plans stay where they are."""
    given = list(batches)
    if not given:
        return []
    xp = device.arrays
    emitters = xp.asarray(np.concatenate([batch.emitters for batch in given]))
    images, figures, first = [], [], 0
    for batch in given:
        modes = _modes(device, batch.plans[0], emitters[first : first + len(batch.emitters)])
        first += len(batch.emitters)
        for plan in batch.plans:
            around, light = _image(device, plan, modes)
            rows, columns = plan.grid.size_px
            images.append(xp.maximum(around[:rows, :columns], 0))
            figures.append(xp.stack([around.max(), light]))
    seen, known = device.fetch(xp.stack(images)), device.fetch(xp.stack(figures)).astype(np.float64)
    ends = np.cumsum([len(batch.plans) for batch in given])
    return [
        Taken(seen[end - len(batch.plans) : end], *known[end - len(batch.plans) : end].T)
        for batch, end in zip(given, ends, strict=True)
    ]


def _held(device: Device, plan: Plan) -> dict[str, Any]:
    # what of a plan is needed on the device, for as long as the plan lives
    if plan not in device.held:
        xp, grid = device.arrays, plan.grid
        modes = np.arange(-grid.band, grid.band + 1)
        # from the optical axis to the first pixel's centre
        rows, columns = (np.exp(2j * np.pi * modes * ((0.5 - n / 2) / grid.pixels)) for n in grid.size_px)
        device.held[plan] = {
            "weights": xp.asarray(plan.weights[:, : plan.transfer.shape[1]]),
            "transfer": xp.asarray(plan.transfer),
            "modes": xp.asarray(np.abs(modes)),
            "turn": xp.asarray((rows[:, None] * columns).astype(grid.row_factor.dtype)),
        }
    return device.held[plan]


def _modes(device: Device, plan: Plan, emitters: Any) -> Any:
    # the transforms of the emitters' weights at modes -band to band, (term, row mode, column mode)
    xp, grid, weights = device.arrays, plan.grid, _held(device, plan)["weights"]
    x, y = emitters[:, 0], emitters[:, 1]
    within = (xp.abs(x) <= grid.reach_um) & (xp.abs(y) <= grid.reach_um)
    position = (emitters[:, 2] - plan.depth_start_um) / plan.depth_step_um
    row = position.astype(np.int64)
    t = position - row
    # four-point interpolation, as in `msl_store.optics.gridding.spread`
    shares = (
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    )
    bright = xp.where(within, emitters[:, 3], 0)
    strengths = xp.zeros((weights.shape[1], len(emitters)), grid.row_factor.dtype)
    for offset, share in enumerate(shares):
        strengths += (bright * share).astype(weights.dtype) * weights[row + offset].T
    count, turn = 2 * grid.band + 1, 2 * np.pi * grid.cells_per_um / grid.side
    return device.nufft(
        xp.where(within, y * turn, 0).astype(weights.dtype),
        xp.where(within, x * turn, 0).astype(weights.dtype),
        strengths,
        (count, count),
        eps=plan.accuracy,
        isign=-1,
    ).reshape(-1, count, count)


def _image(device: Device, plan: Plan, modes: Any) -> tuple[Any, Any]:
    # the periodic square, and its integral in um^2
    xp, grid, held = device.arrays, plan.grid, _held(device, plan)
    factors = held["transfer"][held["modes"]][:, :, held["modes"]].transpose(1, 0, 2)
    spectrum = _folded(xp, (factors * modes).sum(axis=0) * held["turn"], grid)
    rows = xp.fft.ifft(spectrum[:, : grid.pixels // 2 + 1], axis=0)
    around = xp.fft.irfft(rows, grid.pixels, axis=1) * modes.real.dtype.type(grid.pixels**2)
    return around, spectrum[0, 0].real * (grid.side / grid.cells_per_um) ** 2


def _folded(xp: Any, modes: Any, grid: Grid) -> Any:
    # modes -band to band onto those of the pixels, which are 0, 1, ... of the square: mode m onto m modulo its side
    before = -(-grid.band // grid.pixels) * grid.pixels - grid.band
    times = -(-(before + 2 * grid.band + 1) // grid.pixels)
    wide = xp.zeros((times * grid.pixels, times * grid.pixels), modes.dtype)
    wide[before : before + 2 * grid.band + 1, before : before + 2 * grid.band + 1] = modes
    return wide.reshape(times, grid.pixels, times, grid.pixels).sum(axis=(0, 2))
