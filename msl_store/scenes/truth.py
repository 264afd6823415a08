"""The truth behind a scene's images: masks in the microscope's pixels, label volumes, poses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from msl_store.errors import UsageError
from msl_store.geometry.voxels import inside_at
from msl_store.geometry.zbuffer import draw_faces
from msl_store.scenes.rendering import grid
from msl_store.scenes.scene import cells, centres, fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.optics.microscope import Microscope
    from msl_store.scenes.scene import Placed, Scene

RULES = ("silhouette", "emitters")
"""Ways to say which pixels an instance covers; see `masks`."""

LARGEST_VOLUME = 2**31
"""Most voxels of a label volume."""


def masks(scene: Scene, microscope: str | Microscope, *, closing_px: int = 1) -> xr.Dataset:
    """Return which pixels show which instance, on the pixels that `render` gives the microscope.

    Two rules are given side by side, along the dimension ``rule``:

    - ``silhouette``: the line through the pixel's centre, along the optical axis, meets the instance's surface. It is
      exact: triangles are rasterised at the pixels' centres, and a centre on an edge counts.
    - ``emitters``: at least one of the instance's emitters projects into the pixel; then closed morphologically by a
      square of ``2 closing_px + 1`` pixels, which fills the gaps that chance leaves between emitters. This is the kind
      of mask that simulators in the manner of the paper derive from emitters; it reaches further than the silhouette
      where a pixel is covered in part, and depends on the emitters drawn.

    Parameters
    ----------
    scene : Scene
        The scene, or a frame of its time-lapse.
    microscope : str or Microscope
        Sets the pixels; optics make no difference.
    closing_px : int
        Half the closing square's edge; 0 leaves the projected emitters as they are.

    Returns
    -------
    xarray.Dataset
        ``instance_mask`` (rule, instance, y, x) bool, which may overlap; ``semantic`` (rule, y, x) bool, their union;
        ``labels`` (rule, y, x) uint16: 0 is background, n the n-th instance; where instances overlap, the one whose
        middle lies nearest to the objective (smallest z). ``id`` and ``label`` go with ``instance``.

    Raises
    ------
    UsageError
        `closing_px` is negative, or the scene has more instances than labels.
    """
    if closing_px < 0:
        raise UsageError(f"closing_px {closing_px}: allowed is 0 or more")
    optics = fitted(microscope, scene)
    stack = np.stack(
        [
            [_silhouette(item, optics) for item in scene.placed],
            [_closed(_projected(item, optics), closing_px) for item in scene.placed],
        ]
    )
    labels = np.zeros((len(RULES), *optics.size_px), np.uint16)
    numbers = _numbers(scene)
    depths = [item.position_um[2] for item in scene.placed]
    for place in sorted(range(len(depths)), key=lambda place: (-depths[place], -place)):
        labels[stack[:, place]] = numbers[place]
    coords = {"rule": list(RULES), **_instance_coords(scene), **grid(optics), "pixel_um": optics.pixel_um}
    attributes = {"closing_px": closing_px, "scene_digest": scene.digest, "frame": scene.frame}
    return xr.Dataset(
        {
            "instance_mask": (("rule", "instance", "y", "x"), stack),
            "semantic": (("rule", "y", "x"), stack.any(axis=1)),
            "labels": (("rule", "y", "x"), labels),
        },
        coords,
        attributes,
    )


def label_volume(
    scene: Scene, voxel_um: float | tuple[float, float, float], *, depth_um: float | None = None
) -> xr.DataArray:
    """Return which instance every voxel's centre lies in.

    Parameters
    ----------
    scene : Scene
        Of closed meshes.
    voxel_um : float or tuple of float
        Edge of a voxel in um, (z, y, x) where they differ.
    depth_um : float, optional
        Extent along z about the middle; without it, what the scene's slab or, if that is less, its shapes take.

    Returns
    -------
    xarray.DataArray
        Dims (z, y, x), uint16: 0 is background, n the n-th instance; where instances overlap, the later one.

    Raises
    ------
    UsageError
        A length is not positive, the volume is too large, or a mesh is open.
    """
    edges = np.broadcast_to(np.asarray(voxel_um, float), (3,)) if np.size(voxel_um) in (1, 3) else np.zeros(3)
    if not (np.isfinite(edges) & (edges > 0)).all() or (depth_um is not None and not 0 < depth_um < np.inf):
        raise UsageError(f"voxel_um {voxel_um!r}, depth_um {depth_um!r}: allowed are positive lengths in um")
    depth = _depth(scene) if depth_um is None else depth_um
    shape = tuple(cells(e, float(v)) for e, v in zip((depth, *scene.field_um), edges, strict=True))
    if int(np.prod(shape, dtype=object)) > LARGEST_VOLUME:
        raise UsageError(f"voxel_um {voxel_um!r}: makes {shape} voxels; allowed are {LARGEST_VOLUME}: take larger ones")
    axes = [centres(count, float(edge)) for count, edge in zip(shape, edges, strict=True)]
    volume = np.zeros(shape, np.uint16)
    for number, item in zip(_numbers(scene).tolist(), scene.placed, strict=True):
        low, high = item.vertices_um.min(axis=0)[::-1], item.vertices_um.max(axis=0)[::-1]
        spans = [
            slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right")))
            for axis, a, b in zip(axes, low, high, strict=True)
        ]
        z, y, x = (axis[span] for axis, span in zip(axes, spans, strict=True))
        try:
            within = inside_at(item.vertices_um, item.faces, (x, y, z))
        except UsageError as error:
            raise UsageError(f"instance {item.id}: {error}") from error
        volume[tuple(spans)][within.transpose()] = number
    coords: dict[str, Any] = {
        name: (name, axis, {"units": "um"}) for name, axis in zip(("z", "y", "x"), axes, strict=True)
    }
    coords.update(voxel_z_um=float(edges[0]), voxel_y_um=float(edges[1]), voxel_x_um=float(edges[2]))
    return xr.DataArray(volume, coords, ("z", "y", "x"), "labels", {"scene_digest": scene.digest})


def poses(scene: Scene) -> xr.Dataset:
    """Return where every instance is: ``rotation`` (instance, row, col) and ``position_um`` (instance, axis).

    ``(raw_um - loc_um) @ rotation + position_um`` takes the library's mesh there; axes are (x, y, z), see `Placed`.
    """
    return xr.Dataset(
        {
            "rotation": (("instance", "row", "col"), np.array([item.rotation for item in scene.placed])),
            "position_um": (
                ("instance", "axis"),
                np.array([item.position_um for item in scene.placed]),
                {"units": "um"},
            ),
        },
        {**_instance_coords(scene), "axis": ["x", "y", "z"]},
    )


def _instance_coords(scene: Scene) -> dict[str, Any]:
    return {"id": ("instance", scene.ids), "label": ("instance", _numbers(scene))}


def _numbers(scene: Scene) -> NDArray[np.uint16]:
    if len(scene.placed) >= 2**16:
        raise UsageError(f"the scene has {len(scene.placed)} instances; allowed are {2**16 - 1}, which labels can tell")
    return np.arange(1, len(scene.placed) + 1, dtype=np.uint16)


def _depth(scene: Scene) -> float:
    slab = scene.source.get("rules", {}).get("depth_um")
    reached = 2 * max(float(np.abs(item.vertices_um[:, 2]).max()) for item in scene.placed)
    return max(float(slab or 0.0), reached)


def _pixels(points_um: NDArray[np.float64], optics: Microscope) -> NDArray[np.float64]:
    """Return positions counted in pixels (column, row, depth); pixel (i, j) has its centre at i + 0.5, j + 0.5."""
    rows, columns = optics.size_px
    return points_um / optics.pixel_um + (columns / 2, rows / 2, 0)


def _silhouette(item: Placed, optics: Microscope) -> NDArray[np.bool_]:
    points = _pixels(item.vertices_um, optics)
    mask = np.zeros(optics.size_px, np.bool_)
    low = np.maximum(np.floor(points[:, :2].min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(points[:, :2].max(axis=0)), optics.size_px[::-1]).astype(int)
    if (high <= low).any():
        return mask
    points[:, :2] -= low
    depth = np.full((high - low)[::-1], np.inf)
    unshaded = np.zeros_like(points)
    draw_faces(points, unshaded, item.faces.astype(np.int64), depth, np.empty((*depth.shape, 3)))
    mask[low[1] : high[1], low[0] : high[0]] = np.isfinite(depth)
    return mask


def _projected(item: Placed, optics: Microscope) -> NDArray[np.bool_]:
    columns, rows = np.floor(_pixels(item.emitters_um, optics)[:, :2]).astype(int).T
    there = (rows >= 0) & (rows < optics.size_px[0]) & (columns >= 0) & (columns < optics.size_px[1])
    mask = np.zeros(optics.size_px, np.bool_)
    mask[rows[there], columns[there]] = True
    return mask


def _closed(mask: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    from scipy import ndimage

    if not half:
        return mask
    square = np.ones((2 * half + 1, 2 * half + 1), np.bool_)
    padded = np.pad(mask, 2 * half)
    closed: NDArray[np.bool_] = ndimage.binary_closing(padded, square)[2 * half : -2 * half, 2 * half : -2 * half]
    return closed
