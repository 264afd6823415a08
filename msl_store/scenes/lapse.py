"""Time-lapses of a scene, lazily: images, the truth of every frame, and both as an edition."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from msl_store.errors import UsageError
from msl_store.scenes.motion import moved
from msl_store.scenes.rendering import brightest, exposed, grid, how_made, labelled
from msl_store.scenes.scene import cells, centres, checked_seed, fitted
from msl_store.scenes.truth import RULES, label_volume, masks, poses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.optics.measured import MeasuredPsf
    from msl_store.optics.microscope import Microscope
    from msl_store.scenes.motion import Motion
    from msl_store.scenes.scene import Scene


TRACED = 32
"""Consecutive frames whose emitters' brightness is followed in one task."""


def timelapse(
    scene: Scene,
    microscope: str | Microscope,
    motion: Motion,
    frames: int | Sequence[int],
    *,
    z: Sequence[float] | None = None,
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
    psf: MeasuredPsf | None = None,
    interval_s: float = 1.0,
) -> xr.DataArray:
    """Return a time-lapse, one dask task a frame.

    The same seeds give the same bits whatever the scheduler and whichever frames are computed. Emitters blink and
    bleach as the scene's labelling says. Counts without a camera are scaled as frame 0's are, so that bleaching shows;
    frame 0 is what `render` gives.

    Parameters
    ----------
    scene : Scene
        At rest.
    microscope, z, noise, seed, tolerance, psf
        As `render` takes them.
    motion : Motion
        How the scene moves.
    frames : int or sequence of int
        How many from frame 0, or which.
    interval_s : float
        Seconds from frame to frame.

    Returns
    -------
    xarray.DataArray
        Dims (frame, [z,] y, x), backed by dask; ``time_s`` goes with ``frame``.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed

    checked_seed(seed)
    numbers = _numbers(frames)
    if not 0 < interval_s < np.inf:
        raise UsageError(f"interval_s {interval_s}: allowed is a positive number of seconds")
    optics = fitted(microscope, scene)
    planes = None if z is None else tuple(float(depth) for depth in z)
    provenance = how_made(scene, optics, z=planes, noise=noise, seed=seed, tolerance=tolerance, psf=psf)
    provenance.update(motion=motion.to_dict(), interval_s=interval_s)
    token = tokenize(provenance, scene.emitters_um)
    # images need no meshes: without them, workers get and move the emitters only
    bare = tuple(replace(item, vertices_um=np.empty((0, 3))) for item in scene.placed)
    film = _Film(token, replace(scene, placed=bare), optics, motion, noise, seed, planes, tolerance, psf)
    shared = delayed(film, name=f"film-{token}", traverse=False)
    shape = (1, *(() if planes is None else (len(planes),)), *optics.size_px)
    dtype = np.dtype(np.uint16 if noise else np.float32)
    parts = [
        da.from_delayed(
            delayed(_frame)(shared, number, dask_key_name=f"frame-{token}-{number}"),
            shape,
            dtype=dtype,
            name=f"image-{token}-{number}",
        )
        for number in numbers
    ]
    lead = {"frame": ("frame", numbers)}
    images = labelled(da.concatenate(parts), optics, z=planes, noise=noise, provenance=provenance, lead=lead)
    images.attrs.update({name: scene.source.get(name, "") for name in ("license", "citation")})
    return images.assign_coords(time_s=("frame", np.array(numbers) * interval_s, {"units": "s"}))


def timelapse_truth(
    scene: Scene,
    microscope: str | Microscope,
    motion: Motion,
    frames: int | Sequence[int],
    *,
    voxel_um: float | tuple[float, float, float] | None = None,
    depth_um: float | None = None,
    closing_px: int = 1,
) -> xr.Dataset:
    """Return the truth of every frame: masks and label volumes lazily, poses at once.

    Meshes and emitters of a frame are those of ``moved(scene, motion, frame)``.

    Parameters
    ----------
    scene, microscope, motion, frames
        As `timelapse` takes them.
    voxel_um, depth_um
        Adds ``volume`` with these voxels, as `label_volume` takes them; the depth is needed with it, so that all
        frames have the same.
    closing_px : int
        As `masks` takes it.

    Returns
    -------
    xarray.Dataset
        ``instance_mask`` (frame, rule, instance, y, x), ``semantic`` and ``labels`` (frame, rule, y, x), ``rotation``,
        ``position_um`` and, with `voxel_um`, ``volume`` (frame, z, volume_y, volume_x).

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    """
    numbers = _numbers(frames)
    if (voxel_um is None) != (depth_um is None):
        raise UsageError("voxel_um and depth_um: one without the other; give both for volumes, or neither")
    optics = fitted(microscope, scene)
    rows = np.array(numbers)
    size = (len(RULES), len(scene.placed), *optics.size_px)
    flat = (len(RULES), *optics.size_px)
    options = {"scene": scene, "motion": motion, "microscope": optics, "closing_px": closing_px}
    where = xr.concat([poses(moved(scene, motion, number)) for number in numbers], "frame")
    truth = where.assign(
        instance_mask=(("frame", "rule", "instance", "y", "x"), _lazily(rows, size, bool, "instance_mask", options)),
        semantic=(("frame", "rule", "y", "x"), _lazily(rows, flat, bool, "semantic", options)),
        labels=(("frame", "rule", "y", "x"), _lazily(rows, flat, np.uint16, "labels", options)),
    ).assign_coords(frame=numbers, rule=list(RULES), **grid(optics))
    if voxel_um is None or depth_um is None:
        return truth
    edges = [float(edge) for edge in np.broadcast_to(np.asarray(voxel_um, float), (3,))]
    sides = tuple(cells(extent, edge) for extent, edge in zip((depth_um, *scene.field_um), edges, strict=True))
    volume_options = {"scene": scene, "motion": motion, "voxel_um": voxel_um, "depth_um": depth_um}
    dims = ("z", "volume_y", "volume_x")
    volume = _lazily(rows, sides, np.uint16, "volume", volume_options)
    return truth.assign(volume=(("frame", *dims), volume)).assign_coords(
        {dim: (dim, centres(side, edge), {"units": "um"}) for dim, side, edge in zip(dims, sides, edges, strict=True)}
    )


def edition_of(images: xr.DataArray) -> xr.DataArray:
    """Return a time-lapse as `msl_store.write` takes it: the frames stand as instances, their numbers as ids.

    The edition opens as a library whose ``images`` are (instance, microscope, view, [z,] y, x). Its attributes tell
    how it was made, and its source is the scene, so that it never joins a library of shapes by mistake.

    Raises
    ------
    UsageError
        The images are no lazy time-lapse.
    """
    if images.dims[:1] != ("frame",) or images.chunks is None or "provenance" not in images.attrs:
        raise UsageError("images: no lazy time-lapse; allowed is what timelapse returns, and selections of its frames")
    frames = images.sizes["frame"]
    named = images.drop_vars(["time_s", "y", "x"]).rename(frame="instance").expand_dims(view=["0"], axis=1)
    return named.assign_coords(present=(("instance", "view"), np.ones((frames, 1), np.bool_)))


def _numbers(frames: int | Sequence[int]) -> list[int]:
    numbers = list(range(frames)) if isinstance(frames, int) else [int(frame) for frame in frames]
    if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
        raise UsageError(f"frames {frames!r}: allowed is a positive number, or a list of different numbers from 0")
    return numbers


@dataclass(frozen=True)
class _Film:
    """What all frames of a time-lapse share; equal where the token is, which depends on all the rest."""

    token: str
    scene: Scene = field(compare=False)
    optics: Microscope = field(compare=False)
    motion: Motion = field(compare=False)
    noise: bool = field(compare=False)
    seed: int = field(compare=False)
    z: tuple[float, ...] | None = field(compare=False)
    tolerance: float = field(compare=False)
    psf: MeasuredPsf | None = field(compare=False)


@lru_cache(maxsize=2)
def _trace(film: _Film, run: int) -> NDArray[np.float64]:
    """Return the emitters' brightness in a run of `TRACED` frames, (frame, n_emitter); a process keeps two."""
    return film.scene.brightness(range(run * TRACED, (run + 1) * TRACED))


@lru_cache(maxsize=8)
def _reference(film: _Film) -> float:
    """Return what frame 0's counts are scaled by."""
    return brightest(film.scene, film.optics, z=film.z, tolerance=film.tolerance, psf=film.psf)


def _frame(film: _Film, frame: int) -> NDArray[Any]:
    return exposed(
        moved(film.scene, film.motion, frame),
        film.optics,
        z=film.z,
        noise=film.noise,
        seed=film.seed,
        tolerance=film.tolerance,
        psf=film.psf,
        reference=_reference(film) if film.noise and film.optics.camera is None else None,
        brightness=_trace(film, frame // TRACED)[frame % TRACED] if film.scene.labelling.timed else None,
    )[None]


def _lazily(rows: NDArray[np.int64], size: tuple[int, ...], dtype: Any, name: str, options: Mapping[str, Any]) -> Any:
    """Return one variable of the truth as a dask array, one task a frame."""
    import dask.array as da

    return da.map_blocks(
        _truth,
        da.from_array(rows, chunks=1),
        dtype=dtype,
        chunks=((1,) * len(rows), *((side,) for side in size)),
        new_axis=list(range(1, 1 + len(size))),
        meta=np.empty((0,) * (1 + len(size)), dtype),
        name=f"{name}-{_token(rows, name, options)}",
        variable=name,
        **options,
    )


def _token(rows: NDArray[np.int64], name: str, options: Mapping[str, Any]) -> str:
    from dask.base import tokenize

    plain = {key: value.digest if key == "scene" else value for key, value in options.items()}
    plain["motion"] = options["motion"].to_dict()
    if "microscope" in plain:
        plain["microscope"] = options["microscope"].to_dict()
    return str(tokenize(rows.tolist(), name, plain))


def _truth(rows: NDArray[np.int64], *, variable: str, scene: Scene, motion: Motion, **options: Any) -> NDArray[Any]:
    now = moved(scene, motion, int(rows[0]))
    found = label_volume(now, **options) if variable == "volume" else masks(now, **options)[variable]
    return np.asarray(found.values[None])
