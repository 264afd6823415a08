"""Pictures of a library for papers, reports and READMEs: one instance in full, or several side by side.

Needs the extra ``plot``. Figures are plain `matplotlib.figure.Figure` objects without pyplot, so nothing global changes
and no display is needed; `save` writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.render import camera_around, render_mesh, render_points
from msl_store.panels import INK, credit, draw_gap, draw_image, draw_picture, new_figure, panel_grid, write_licence
from msl_store.shapes import VOXEL_UM, normalize
from msl_store.shots import simulated_shots, stored_shot

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from msl_store.contents import Instance
    from msl_store.geometry.render import Camera
    from msl_store.library import Library
    from msl_store.shots import Shot

SHAPE_PX = (480, 480)
"""Height and width of a rendered shape."""

TIPPED = np.array([[1, 0, 0], [0, 0.940, -0.342], [0, 0.342, 0.940]])
"""Shapes are tipped by 20 degrees about axis 0, so that their depth shows; their images are not."""

BALL = 0.005
"""Radius of a drawn point as a part of the picture's height."""

SHOWN_INSIDE = 20_000
"""At most this many of an occupancy's inside points are drawn."""

DPI = 150

WRITABLE = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


def plot_instance(library: Library, instance: int) -> Figure:
    """Draw everything that one instance has.

    The mesh, the point cloud (coloured by depth) and the inside points of the occupancy, all from the same side and at
    the same scale, over a row of images for each microscope. What the instance lacks is an empty panel that says so.
    Of a z stack the middle plane is shown.

    Parameters
    ----------
    library : Library
        Where the instance is.
    instance : int
        Its 3DMSL id.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingError
        The library has no such instance.
    """
    found = library.instance(instance)
    microscopes, views = library.microscopes, library.views
    columns = max(len(views), 3)
    edge, head, foot, caption = 1.9, 0.42, 0.28, 0.30
    shape_edge = edge * columns / 3
    width = edge * columns
    height = head + shape_edge + len(microscopes) * (edge + caption) + foot
    figure = new_figure(width, height)
    figure.text(0.1 / width, 1 - 0.16 / height, f"instance {instance}", color=INK, fontsize=11, va="center")
    grid = panel_grid(figure, 1, 3, top=head, bottom=height - head - shape_edge)
    _draw_shapes([figure.add_subplot(grid[0, column]) for column in range(3)], found, _voxel_um(library))
    if microscopes:
        grid = panel_grid(figure, len(microscopes), columns, top=head + shape_edge + caption, bottom=foot, gap=caption)
        for row in range(len(microscopes)):
            for column, view in enumerate(views):
                _draw_shot(figure.add_subplot(grid[row, column]), stored_shot(library, found, row, view))
    write_licence(figure, credit(library))
    return figure


def plot_overview(library: Library, ids: Sequence[int], *, images: xr.DataArray | None = None) -> Figure:
    """Draw several instances, a row each: the mesh, its stored images, and images simulated from it.

    Parameters
    ----------
    library : Library
        Where the instances are.
    ids : sequence of int
        Which, in their order from top to bottom.
    images : xarray.DataArray, optional
        As `msl_store.simulate` returns it, of these instances at least: its first view is shown, and of a z stack up to
        five planes from end to end. Only what is shown is computed. The stored images shown are of the same view.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UsageError
        There are no ids, or `images` lacks one of the instances.
    MissingError
        The library has no such instance.
    """
    if len(ids) == 0:
        raise UsageError("an overview of no instances: allowed is one id or more")
    view = next(iter(library.views), "") if images is None else str(images["view"].values[0])
    simulated = {} if images is None else simulated_shots(images, ids, view)
    rows = []
    for found in library.instances(ids, parts=("mesh", "images")):
        stored = [stored_shot(library, found, number, view) for number in range(len(library.microscopes))]
        rows.append((found, stored + simulated.get(found.id, [])))
    columns = 1 + len(rows[0][1])
    lines = max((shot.title.count("\n") + 1 for shot in rows[0][1]), default=1)
    edge, head, foot = 1.7, 0.12 + 0.12 * lines, 0.24
    width, height = edge * columns, head + edge * len(rows) + foot
    figure = new_figure(width, height)
    grid = panel_grid(figure, len(rows), columns, top=head, bottom=foot)
    for row, (found, shots) in enumerate(rows):
        axes = figure.add_subplot(grid[row, 0])
        _draw_mesh(axes, found, _voxel_um(library))
        axes.text(0.04, 0.95, str(found.id), color=INK, fontsize=8, va="top", transform=axes.transAxes)
        for column, shot in enumerate(shots, start=1):
            _draw_shot(figure.add_subplot(grid[row, column]), shot, titled=row == 0)
    figure.axes[0].set_title("mesh", color=INK, fontsize=7, pad=3)
    write_licence(figure, credit(library))
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        As the functions here return it.
    path : str or path
        Its suffix chooses the format: one of `WRITABLE`.

    Returns
    -------
    Path
        Where it is now.

    Raises
    ------
    UsageError
        The suffix is none of those.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in WRITABLE:
        raise UsageError(
            f"{target}: cannot write {suffix or 'a file without a suffix'}; allowed: {', '.join(WRITABLE)}"
        )
    import matplotlib as mpl

    undated: dict[str, dict[str, None]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with mpl.rc_context({"svg.hashsalt": "msl-store"}):
        figure.savefig(target, dpi=DPI, facecolor=figure.get_facecolor(), metadata=undated.get(suffix))
    return target


def _voxel_um(library: Library) -> float:
    return float(library.attributes.get("voxel_um", VOXEL_UM))


def _draw_shapes(places: Sequence[Axes], found: Instance, voxel_um: float) -> None:
    """Draw mesh, point cloud and occupancy in the normalized frame, by one camera."""
    forms: dict[str, NDArray[Any] | None] = {"mesh": None, "point cloud": None, "occupancy": None}
    scale = None
    if found.mesh is not None and len(found.mesh.faces):
        loc, scale = found.mesh.box()
        forms["mesh"] = normalize(found.mesh.vertices, loc, scale)
    if found.point_cloud is not None:
        forms["point cloud"] = found.point_cloud.points
    if found.occupancy is not None:
        scale = found.occupancy.scale
        forms["occupancy"] = found.occupancy.points[found.occupancy.inside][:SHOWN_INSIDE].astype(np.float64)
    there = [points for points in forms.values() if points is not None and len(points)]
    camera = camera_around(np.concatenate(there), TIPPED, size_px=SHAPE_PX) if there else None
    for axes, (name, points) in zip(places, forms.items(), strict=True):
        if camera is None or points is None or len(points) == 0:
            draw_gap(axes, f"no {name}", title=name)
            continue
        if name == "mesh" and found.mesh is not None:
            picture = render_mesh(points, found.mesh.faces, camera)
        else:
            picture = _points_picture(points, camera)
        pixel_um = None if scale is None else camera.pixel * scale * voxel_um
        title = "occupancy: inside points" if name == "occupancy" else name
        draw_picture(axes, picture, pixel_um=pixel_um, title=title)


def _points_picture(points: NDArray[Any], camera: Camera) -> NDArray[np.uint8]:
    """Render points coloured by depth, the nearest brightest."""
    from matplotlib import colormaps

    depth = points.astype(np.float64) @ camera.rotation[:, 2]
    nearness = (depth.max() - depth) / max(float(np.ptp(depth)), 1e-9)
    colours = colormaps["viridis"](0.25 + 0.75 * nearness)[:, :3]
    return render_points(points, camera, radius=BALL * camera.extent, colours=colours)


def _draw_mesh(axes: Axes, found: Instance, voxel_um: float) -> None:
    if found.mesh is None or len(found.mesh.faces) == 0:
        draw_gap(axes, "no mesh")
        return
    camera = camera_around(found.mesh.vertices, TIPPED, size_px=SHAPE_PX)
    picture = render_mesh(found.mesh.vertices, found.mesh.faces, camera)
    draw_picture(axes, picture, pixel_um=camera.pixel * voxel_um)


def _draw_shot(axes: Axes, shot: Shot, *, titled: bool = True) -> None:
    title = shot.title if titled else ""
    if shot.values is None:
        draw_gap(axes, "no image", title=title)
    else:
        draw_image(axes, shot.values, pixel_um=shot.pixel_um, wavelength_um=shot.wavelength_um, title=title)
