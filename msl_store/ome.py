"""Write stacks and time-lapses as OME-Zarr 0.5, which napari and other viewers open.

The axes are always t, c, z, y, x, in seconds and um. Translations put the origin into the middle of the field, so that
images of different microscopes, their labels and label volumes lie over each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.blockwise import Outcome, run_blocks
from msl_store.errors import UsageError
from msl_store.store import locate
from msl_store.store.ome import AXES, clear_target, publish, put_planes
from msl_store.version import software

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from msl_store.blockwise import Scheduler
    from msl_store.store import Objects

VERSION = "0.5"

NAMES = {"frame": "t", "microscope": "c", "z": "z", "y": "y", "x": "x"}
"""Dims of images, and the axis that each becomes."""

TYPES = ({"type": "time", "unit": "second"}, {"type": "channel"}, *({"type": "space", "unit": "micrometer"},) * 3)

UNEVEN = 1e-6
"""Steps that differ by more than this share are no regular grid."""


@dataclass(frozen=True, eq=False)
class _Image:
    """An image or a label image on its way: five axes, where they lie, and its pyramid."""

    path: str
    values: xr.DataArray
    scale: tuple[float, ...]
    origin: tuple[float, ...]
    labels: bool
    levels: int

    def array(self, level: int) -> str:
        """Return the path of one level's array."""
        return f"{self.path}/{level}".lstrip("/")

    def shape(self, level: int) -> tuple[int, ...]:
        """Return the extents of one level."""
        return (*self.values.shape[:3], *(-(-side // 2**level) for side in self.values.shape[3:]))


def write_ome(
    images: xr.DataArray,
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    labels: Mapping[str, xr.DataArray] | None = None,
    levels: int = 1,
    scheduler: Scheduler = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Compute images and write them, frame by frame, as an OME-Zarr 0.5 group.

    Parameters
    ----------
    images : xarray.DataArray
        Dims of (frame, microscope, z, y, x), of which y and x must be there: what `msl_store.scenes.render` and
        `timelapse` return, or one instance and view of `msl_store.simulate` or of `Library.images`. Lazy images are
        computed a chunk of frames at a time. Pixels come from the coordinates ``y`` and ``x``, or from ``pixel_um``.
    url, storage_options
        Where it goes, as `msl_store.open` takes them; not into a zip.
    labels : mapping of str to xarray.DataArray, optional
        Label images by name, integer or bool, with dims of (frame, z, y, x), on any grid of their own.
    levels : int
        Resolutions, each half as fine along y and x as the one before: images averaged, labels sampled.
    scheduler : str, distributed.Client or None
        As `msl_store.write` takes it.
    overwrite : bool
        Replace an OME-Zarr group at the target.
    progress : callable
        Called with the parts done and their number.

    Returns
    -------
    int
        Bytes written, metadata apart.

    Raises
    ------
    UsageError
        The images have other dims, no pixel size or an irregular grid, or the target holds something else.
    """
    if levels < 1 or 2 ** (levels - 1) > max(images.sizes.get("y", 1), images.sizes.get("x", 1)):
        raise UsageError(f"levels {levels}: allowed is 1 or more, as long as a level has more than one pixel")
    target = locate(url, storage_options)
    parts = [_image("", images, labels=False, levels=levels)]
    for name, truth in (labels or {}).items():
        if not name or "/" in name or name.startswith(("__", ".")):
            raise UsageError(f"label image {name!r}: allowed is a name without slashes")
        parts.append(_image(f"labels/{name}", truth, labels=True, levels=levels))
    clear_target(target, overwrite=overwrite)
    tasks = dict(enumerate(task for image in parts for task in _tasks(image, target)))
    shown = len(_spans(parts[0].values))
    done: dict[int, tuple[int, float, float]] = {}
    progress(0, len(tasks))

    def tell(outcome: Outcome[tuple[int, float, float]]) -> None:
        if outcome.value is not None:
            done[outcome.block] = outcome.value
            progress(len(done), len(tasks))

    run_blocks(tasks, scheduler=scheduler, done=tell)
    lowest = min(done[block][1] for block in range(shown))
    highest = max(done[block][2] for block in range(shown))
    arrays = {
        image.array(level): (image.shape(level), image.values.dtype) for image in parts for level in range(levels)
    }
    publish(target, _groups(parts, images, (lowest, highest)), arrays)
    return sum(written for written, _, _ in done.values())


def _image(path: str, images: xr.DataArray, *, labels: bool, levels: int) -> _Image:
    allowed = [name for name in NAMES if not (labels and name == "microscope")]
    unknown = [dim for dim in images.dims if dim not in allowed]
    if unknown or not {"y", "x"} <= set(images.dims):
        raise UsageError(
            f"{path or 'images'}: dims are {images.dims}; allowed are some of {', '.join(allowed)}, with y and x: "
            "select one instance and view, or one rule"
        )
    if labels and images.dtype.kind not in "bu":
        raise UsageError(f"{path}: label images have the type {images.dtype}; allowed are bool and unsigned integers")
    steps = {dim: _step(images, dim) for dim in NAMES}
    missing = [dim for dim in NAMES if dim not in images.dims]
    values = images.drop_vars([name for name in images.coords if name in missing]).expand_dims(missing)
    values = values.transpose(*NAMES)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    scale, origin = zip(*(steps[dim] for dim in NAMES), strict=True)
    return _Image(path, values, scale, origin, labels, levels)


def _step(images: xr.DataArray, dim: str) -> tuple[float, float]:
    """Return the distance between neighbours along a dim, and where the first lies: seconds, or um from the middle."""
    name = "time_s" if dim == "frame" and "time_s" in images.coords else dim
    if dim == "microscope" or (dim not in images.dims and dim in {"frame", "z"}):
        depth = float(images.coords[dim].values) if dim == "z" and dim in images.coords else 0.0
        return 1.0, depth
    count = images.sizes[dim]
    if name in images.coords and (count > 1 or dim in {"frame", "z"}):
        places = np.asarray(images.coords[name].values, np.float64)
        apart = np.diff(places)
        if count == 1:
            return 1.0, float(places[0])
        if not apart[0] > 0 or np.abs(apart - apart[0]).max() > UNEVEN * apart[0]:
            raise UsageError(f"{name}: {places.tolist()} is no ascending regular grid, which OME-Zarr needs")
        return float((places[-1] - places[0]) / (count - 1)), float(places[0])
    if dim in {"y", "x"}:
        pixels = np.unique(images.coords["pixel_um"].values) if "pixel_um" in images.coords else np.empty(0)
        if len(pixels) != 1:
            raise UsageError("images: neither coordinates along y and x nor one pixel_um; select one microscope")
        pixel = float(pixels[0])
        return pixel, -(count - 1) / 2 * pixel
    return 1.0, 0.0


def _spans(values: xr.DataArray) -> list[tuple[int, int]]:
    """Return the runs of frames that are computed together."""
    counts = values.chunks[0] if values.chunks is not None else (1,) * values.sizes["frame"]
    ends = np.cumsum(counts)
    return list(zip((ends - counts).tolist(), ends.tolist(), strict=True))


def _tasks(image: _Image, target: Objects) -> list[Callable[[], tuple[int, float, float]]]:
    paths = [image.array(level) for level in range(image.levels)]
    data = image.values.data
    return [
        partial(_write_part, data[first:last], target, paths, first, labels=image.labels)
        for first, last in _spans(image.values)
    ]


def _write_part(
    part: Any, target: Objects, paths: Sequence[str], first: int, *, labels: bool
) -> tuple[int, float, float]:
    """Compute some frames in this thread and write all their levels; return bytes, least and greatest value."""
    values = np.asarray(part.compute(scheduler="synchronous") if hasattr(part, "compute") else part)
    low, high = float(values.min()), float(values.max())
    written = 0
    for level, path in enumerate(paths):
        if level:
            values = values[..., ::2, ::2] if labels else _halved(values)
        written += put_planes(target, path, first, values)
    return written, low, high


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    """Average two by two pixels; the last row or column of an odd number stands for two."""
    pads = [(0, 0)] * (values.ndim - 2) + [(0, side % 2) for side in values.shape[-2:]]
    even = np.pad(values, pads, mode="edge").astype(np.float64)
    mean = (even[..., ::2, ::2] + even[..., 1::2, ::2] + even[..., ::2, 1::2] + even[..., 1::2, 1::2]) / 4
    return (np.rint(mean) if values.dtype.kind in "iu" else mean).astype(values.dtype)


def _groups(parts: Sequence[_Image], images: xr.DataArray, limits: tuple[float, float]) -> dict[str, dict[str, Any]]:
    root: dict[str, Any] = {
        "ome": {"version": VERSION, "multiscales": [_multiscales(parts[0])], "omero": _channels(images, limits)},
        "software": software(),
    }
    root.update({name: images.attrs[name] for name in ("units", "license", "citation") if images.attrs.get(name)})
    if "provenance" in images.attrs:
        root["provenance"] = images.attrs["provenance"]
    groups = {"": root}
    names = [image.path.partition("/")[2] for image in parts[1:]]
    if names:
        groups["labels"] = {"ome": {"version": VERSION, "labels": names}}
    for image in parts[1:]:
        groups[image.path] = {
            "ome": {
                "version": VERSION,
                "multiscales": [_multiscales(image)],
                "image-label": {"source": {"image": "../../"}},
            }
        }
    return groups


def _multiscales(image: _Image) -> dict[str, Any]:
    datasets = []
    for level in range(image.levels):
        finer = np.array([1, 1, 1, 2**level, 2**level], float)
        # the middle of the averaged pixels; labels are those of the first of them
        shift = np.zeros(5) if image.labels else (finer - 1) / 2
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": (finer * image.scale).tolist()},
                    {"type": "translation", "translation": (shift * image.scale + image.origin).tolist()},
                ],
            }
        )
    return {
        "name": image.path.rpartition("/")[2] or str(image.values.name or "image"),
        "axes": [{"name": name, **kind} for name, kind in zip(AXES, TYPES, strict=True)],
        "datasets": datasets,
    }


def _channels(images: xr.DataArray, limits: tuple[float, float]) -> dict[str, Any]:
    names = np.atleast_1d(images.coords["microscope"].values).tolist() if "microscope" in images.coords else ["image"]
    low, high = limits
    window = {"min": low, "max": high, "start": low, "end": high}
    return {"channels": [{"label": str(name), "color": "FFFFFF", "active": True, "window": window} for name in names]}
