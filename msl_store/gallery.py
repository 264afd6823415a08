"""One mitochondrion under every microscope: a figure of all presets and instruments, of focus, and of motion.

Needs the extras ``plot`` and ``simulate``. Emitters are the same in all panels, and all panels of a section show the
same field, so what differs is the microscope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.render import camera_around, render_mesh
from msl_store.optics.emitters import sample_emitters
from msl_store.optics.exposure import expose
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.labelling import Labelling
from msl_store.optics.microscope import PRESETS
from msl_store.panels import (
    BRIGHTEST,
    DARKEST,
    FAINT,
    INK,
    draw_image,
    draw_masks,
    draw_picture,
    new_figure,
    outline,
    panel_grid,
    write_licence,
)
from msl_store.shapes import VOXEL_UM
from msl_store.shots import plane_title

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from msl_store.optics.exposure import Mode
    from msl_store.optics.microscope import Microscope
    from msl_store.shapes import Mesh

FOCUSED = ("widefield-100x-oil", "confocal-60x-oil")
"""The instruments that stacks are shown of: the one without sectioning, and one with."""

PLANES = 5
"""Planes of a stack that are shown from above."""

FILMED = "confocal-60x-oil"

FRAMES = (0, 4, 8, 12, 16, 20)
"""Frames of the time-lapse that are shown."""

BLEACH_FRAMES = 25.0
"""Mean frames until an emitter of the time-lapse bleaches."""

SILHOUETTE, EMITTERS = "#56b4e9", "#e69f00"
"""Colours of the two masks: sky blue and orange of M. Okabe and K. Ito, "Color universal design" (2008), which all
kinds of colour vision tell apart.
"""

_PUBLISHED_REMARK = "published: as those images were made, focused off the middle, without the emitters below it"
_FILM_REMARK = (
    f"{FILMED}: drift, rotation, deformation and bleaching; "
    "blue: the shape's exact silhouette, orange: the mask of its projected emitters"
)
_MARGIN, _FILM_MARGIN = 1.12, 1.2
_COLUMNS = 8
_EDGE, _CAPTION, _TITLE, _HEADING = 1.62, 0.46, 0.20, 0.40  # inches


@dataclass(frozen=True, eq=False)
class _Subject:
    """What every panel shows: a shape about the middle of its emitters, and what chooses its noise."""

    vertices_um: NDArray[np.float64]
    faces: NDArray[np.uint32]
    emitters_um: NDArray[np.float64]
    instance: int
    seed: int

    @property
    def field_um(self) -> float:
        """Edge of the square field that holds the shape."""
        return _MARGIN * 2 * float(np.abs(self.emitters_um[:, :2]).max())

    def exposed(
        self, microscope: Microscope, *, z_um: list[float] | None = None, mode: Mode = "corrected"
    ) -> NDArray[np.uint16]:
        """Return the image, or the stack, that a microscope's camera takes."""
        options: dict[str, Any] = {"z_um": z_um, "mode": mode, "instance": self.instance, "seed": self.seed}
        (image,) = expose(self.emitters_um, microscope, ["0"], **options)
        return np.asarray(image)


def plot_gallery(
    mesh: Mesh, *, voxel_um: float = VOXEL_UM, name: str = "", licence: str = "", instance: int = 1, seed: int = 0
) -> Figure:
    """Draw one shape under every preset and instrument, as a stack, and as a time-lapse with its masks.

    From top to bottom: the mesh; the published microscopes, as published and corrected; all instruments with their
    own cameras; planes and an axial section of a widefield and of a confocal stack; six frames of a time-lapse with
    the outlines of the shape, and its masks by both rules of `msl_store.scenes.masks`.

    Parameters
    ----------
    mesh : Mesh
        The shape, closed.
    voxel_um : float
        Edge of the mesh's voxel in um.
    name : str
        What the heading calls the shape.
    licence : str
        Written at the foot.
    instance, seed : int
        Choose emitters, noise and motion.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UsageError
        The mesh has no surface.
    """
    subject = _subject(mesh, voxel_um, instance, seed)
    width = _COLUMNS * _EDGE
    heights = [2 * (_EDGE + _CAPTION), 2 * (_EDGE + _TITLE), 2 * width / len(FRAMES) + _TITLE]
    figure = new_figure(width, sum(heights) + 3 * _HEADING + 0.35)
    counts = f"{len(subject.emitters_um):,} emitters in a field of {subject.field_um:.1f} \N{MICRO SIGN}m"
    sections = [
        (f"{name or 'A mitochondrion'} under every microscope", f"{counts}; {_PUBLISHED_REMARK}", _draw_microscopes),
        ("Focus", "planes of a stack, and the section along the dashed line; z above the shape's middle", _draw_stacks),
        ("Motion", _FILM_REMARK, _draw_film),
    ]
    top = 0.1
    for (title, remark, draw), section in zip(sections, heights, strict=True):
        _head(figure, top, title, remark)
        draw(figure, top + _HEADING, subject)
        top += _HEADING + section
    write_licence(figure, licence)
    return figure


def describe(microscope: Microscope) -> str:
    """Return a microscope in three lines: its name, its modality and light (excitation/emission), and its optics.

    >>> from msl_store.optics.instruments import INSTRUMENTS
    >>> print(describe(INSTRUMENTS["confocal-60x-oil"]))
    confocal-60x-oil
    confocal 1 AU, 488/525 nm
    NA 1.4 oil, pixel 50 nm
    """
    m = microscope
    light = "published confocal" if m.modality == "published" else m.modality
    if m.pinhole_au is not None:
        light += f" {m.pinhole_au:.2g} AU"
    if m.sheet_um is not None:
        light += f" {m.sheet_um:g} \N{MICRO SIGN}m"
    excitation = "" if m.excitation_um is None else f"{1000 * m.excitation_um:g}/"
    light += f", {excitation}{1000 * m.wavelength_um:g} nm"
    optics = f"NA {m.numerical_aperture:g} {m.immersion}, pixel {1000 * m.pixel_um:.3g} nm"
    return f"{m.name}\n{light}\n{optics}"


def covering(microscope: Microscope, field_um: float) -> Microscope:
    """Return a microscope with the fewest pixels that cover a square field."""
    side = int(np.ceil(field_um / microscope.pixel_um))
    return replace(microscope, size_px=(side, side))


def _subject(mesh: Mesh, voxel_um: float, instance: int, seed: int) -> _Subject:
    vertices_um = mesh.vertices_um(voxel_um)
    emitters_um = sample_emitters(vertices_um, mesh.faces, np.random.default_rng([seed, instance]))
    if not len(emitters_um):
        raise UsageError("the mesh has too little surface for a single emitter; a gallery needs a shape that shines")
    middle = emitters_um.mean(axis=0)
    return _Subject(vertices_um - middle, mesh.faces, emitters_um - middle, instance, seed)


def _draw_microscopes(figure: Figure, top: float, subject: _Subject) -> None:
    modes: tuple[Mode, ...] = ("published", "corrected")
    shown = [(preset, mode) for mode in modes for preset in PRESETS.values()]
    shown += [(instrument, "corrected") for instrument in INSTRUMENTS.values()]
    bottom = figure.get_figheight() - top - 2 * (_EDGE + _CAPTION)
    grid = panel_grid(figure, 2, _COLUMNS, top=top + _CAPTION, bottom=bottom, gap=_CAPTION)
    size_px = (round(720 * (2 * _EDGE + _CAPTION) / (2 * _EDGE)), 720)
    camera = camera_around(subject.vertices_um, np.eye(3), size_px=size_px)
    picture = render_mesh(subject.vertices_um, subject.faces, camera)
    draw_picture(figure.add_subplot(grid[:, :2]), picture, pixel_um=camera.pixel, title="mesh")
    for place, (microscope, mode) in enumerate(shown):
        image = subject.exposed(covering(microscope, subject.field_um), mode=mode)
        first, *others = describe(microscope).split("\n")
        title = "\n".join([f"{first}, {mode}" if microscope.name in PRESETS else first, *others])
        _draw(figure.add_subplot(grid[place // 6, 2 + place % 6]), image, microscope, title)


def _draw_stacks(figure: Figure, top: float, subject: _Subject) -> None:
    bottom = figure.get_figheight() - top - 2 * (_EDGE + _TITLE)
    grid = panel_grid(figure, 2, _COLUMNS, top=top + _TITLE, bottom=bottom, gap=_TITLE)
    reach_um = max(1.0, 1.3 * float(np.abs(subject.emitters_um[:, 2]).max()))
    section_um = None
    for row, name in reversed(list(enumerate(FOCUSED))):
        microscope = covering(INSTRUMENTS[name], subject.field_um)
        pixel_um = microscope.pixel_um
        half = PLANES // 2 * round(reach_um / pixel_um / (PLANES // 2))
        z_um = [plane * pixel_um for plane in range(-half, half + 1)]
        stack = subject.exposed(microscope, z_um=z_um)
        if section_um is None:  # the brightest row in the confocal's focus, for all
            section_um = (int(stack[half].sum(axis=1).argmax()) + 0.5) * pixel_um
        at = int(section_um / pixel_um)
        for column, plane in enumerate(np.linspace(0, 2 * half, PLANES).astype(int)):
            axes = figure.add_subplot(grid[row, column])
            _draw(axes, stack[plane], microscope, plane_title(round(z_um[plane], 3)))
            if plane == half:
                axes.axhline(at, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
        title = f"xz section, z upwards; {describe(microscope)}".replace("\n", ", ")
        _draw(figure.add_subplot(grid[row, PLANES:]), stack[::-1, at], microscope, title)


def _draw_film(figure: Figure, top: float, subject: _Subject) -> None:
    microscope = INSTRUMENTS[FILMED]
    images, truth = _film(subject)
    bottom = figure.get_figheight() - top - 2 * figure.get_figwidth() / len(FRAMES) - _TITLE
    grid = panel_grid(figure, 2, len(FRAMES), top=top + _TITLE, bottom=bottom)
    limits = np.percentile(images.values[0], (DARKEST, BRIGHTEST))
    for column, frame in enumerate(FRAMES):
        silhouette, projected = (truth.sel(frame=frame, rule=rule).values for rule in ("silhouette", "emitters"))
        axes = figure.add_subplot(grid[0, column])
        _draw(axes, images.sel(frame=frame).values, microscope, f"frame {frame}")
        axes.images[0].set_clim(*limits)
        outline(axes, silhouette, SILHOUETTE)
        axes = figure.add_subplot(grid[1, column])
        draw_masks(axes, silhouette, projected, colours=(SILHOUETTE, EMITTERS), pixel_um=microscope.pixel_um)


def _film(subject: _Subject) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the frames that are shown and their semantic masks."""
    from msl_store import scenes

    placed = scenes.Placed(
        subject.instance, 0, subject.vertices_um, subject.faces, subject.emitters_um, np.eye(3), np.zeros(3)
    )
    edge_um = _FILM_MARGIN * subject.field_um
    scene = scenes.Scene((placed,), (edge_um, edge_um), subject.seed, labelling=Labelling(bleach_frames=BLEACH_FRAMES))
    motion = scenes.Motion(
        drift_um=(0.003 * subject.field_um, 0.002 * subject.field_um, 0.0),
        spin_deg=2.0,
        deformation_um=0.1,
        correlation_frames=8.0,
        seed=subject.seed,
    )
    images = scenes.timelapse(scene, FILMED, motion, FRAMES, seed=subject.seed).compute(scheduler="synchronous")
    truth = scenes.timelapse_truth(scene, FILMED, motion, FRAMES)["semantic"].compute(scheduler="synchronous")
    return images, truth


def _draw(axes: Axes, image: NDArray[Any], microscope: Microscope, title: str) -> None:
    draw_image(axes, image, pixel_um=microscope.pixel_um, wavelength_um=microscope.wavelength_um, title=title)


def _head(figure: Figure, top: float, title: str, remark: str) -> None:
    """Write a section's heading, `top` inches below the figure's upper edge."""
    width, height = figure.get_size_inches()
    level = 1 - (top + _HEADING / 2) / height
    figure.text(0.06 / width, level, title, color=INK, fontsize=11, va="center")
    figure.text(1 - 0.06 / width, level, remark, color=FAINT, fontsize=7.5, va="center", ha="right")
