"""What figures are made of: one image, one shape or one gap on a pair of matplotlib axes, with its scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec
    from numpy.typing import NDArray

    from msl_store.library import Library

BACKGROUND = "#0b0e14"
INK = "#e8ebf0"
FAINT = "#8b93a3"

TINTS = {0.42: (0.45, 0.2, 1.0), 0.488: (0.0, 0.78, 0.72), 0.53: (0.35, 0.85, 0.2), 0.57: (0.85, 0.75, 0.1)}
TINTS |= {0.6: (1.0, 0.5, 0.1), 0.65: (1.0, 0.25, 0.2)}
"""sRGB of images by the wavelength in um that they are taken at, about as it looks; in between interpolated."""

DARKEST, BRIGHTEST = 1.0, 99.9
"""Percentiles of an image that are drawn black and white."""


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty dark figure that belongs to no pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), facecolor=BACKGROUND)


def panel_grid(
    figure: Figure,
    rows: int,
    columns: int,
    *,
    top: float,
    bottom: float,
    left: float = 0.04,
    right: float = 0.04,
    gap: float = 0.04,
) -> GridSpec:
    """Return a grid of panels; margins are the empty inches beside it, `gap` those between rows."""
    width, height = figure.get_size_inches()
    panel = (height - top - bottom - gap * (rows - 1)) / rows
    return figure.add_gridspec(
        rows,
        columns,
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=0.04 / ((width - left - right + 0.08) / columns),
        hspace=gap / panel,
    )


def tinted(wavelength_um: float) -> Colormap:
    """Return the colour map of images at a wavelength: from black through its colour to nearly white."""
    from matplotlib.colors import LinearSegmentedColormap

    tint = np.array([np.interp(wavelength_um, list(TINTS), channel) for channel in zip(*TINTS.values(), strict=True)])
    stops = [(0.0, np.zeros(3)), (0.4, 0.5 * tint), (0.75, tint), (1.0, 0.15 * tint + 0.85)]
    return LinearSegmentedColormap.from_list(
        f"{wavelength_um:g} um", [(place, tuple(colour)) for place, colour in stops]
    )


def draw_image(axes: Axes, values: NDArray[Any], *, pixel_um: float, wavelength_um: float, title: str = "") -> None:
    """Draw a microscope image, shape (y, x), with a scale bar."""
    low, high = np.nanpercentile(values, (DARKEST, BRIGHTEST))
    _blank(axes, title)
    axes.imshow(values, cmap=tinted(wavelength_um), vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    draw_scale_bar(axes, width=values.shape[1], height=values.shape[0], unit_um=pixel_um)


def draw_picture(axes: Axes, picture: NDArray[np.uint8], *, pixel_um: float | None, title: str = "") -> None:
    """Draw a rendered picture, shape (height, width, 4), with a scale bar where its scale is known."""
    _blank(axes, title)
    axes.imshow(picture, interpolation="antialiased")
    if pixel_um is not None:
        draw_scale_bar(axes, width=picture.shape[1], height=picture.shape[0], unit_um=pixel_um)


def draw_masks(
    axes: Axes, filled: NDArray[np.bool_], outlined: NDArray[np.bool_], *, colours: tuple[str, str], pixel_um: float
) -> None:
    """Draw a mask, shape (y, x), as an area and another as a line about it, with a scale bar."""
    from matplotlib.colors import ListedColormap

    _blank(axes, "")
    axes.imshow(filled, cmap=ListedColormap(["black", colours[0]]), vmin=0, vmax=1, interpolation="nearest")
    outline(axes, outlined, colours[1])
    draw_scale_bar(axes, width=filled.shape[1], height=filled.shape[0], unit_um=pixel_um)


def outline(axes: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    """Draw a line about a mask, shape (y, x), on axes that show an image of the same pixels."""
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=0.7)


def draw_gap(axes: Axes, text: str, *, title: str = "") -> None:
    """Draw an empty panel that says what is missing."""
    _blank(axes, title)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.text(0.5, 0.5, text, color=FAINT, fontsize=8, ha="center", va="center")
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT, linestyle=(0, (4, 4)), linewidth=0.6)


def draw_scale_bar(axes: Axes, *, width: float, unit_um: float, height: float | None = None) -> None:
    """Draw a scale bar in the lower right of axes whose data run `width` units across and `height` (or as far) down."""
    length_um = round_length(width * unit_um / 3)
    tall = height or width
    length, side = length_um / unit_um, min(width, tall)
    end, foot = width - 0.05 * side - 0.5, tall - 0.06 * side - 0.5
    axes.plot([end - length, end], [foot] * 2, color=INK, linewidth=1.6, solid_capstyle="butt")
    shown = f"{length_um:g} \N{MICRO SIGN}m" if length_um >= 0.1 else f"{1000 * length_um:g} nm"
    axes.text(end - length / 2, foot - 0.02 * side, shown, color=INK, fontsize=6, ha="center", va="bottom")


def round_length(longest: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is no longer than `longest`.

    >>> round_length(2.3), round_length(0.7), round_length(99)
    (2.0, 0.5, 50.0)
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest)


def credit(library: Library) -> str:
    """Return a library's title and licence in a line, as `write_licence` takes it."""
    doi = library.attributes.get("doi")
    return f"{library.attributes.get('title', 'library')}, {library.license}" + (f", doi:{doi}" if doi else "")


def write_licence(figure: Figure, text: str) -> None:
    """Write a line in small type at the foot of a figure."""
    figure.text(0.995, 0.06 / figure.get_figheight(), text, color=FAINT, fontsize=6, ha="right", va="bottom")


def _blank(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[], facecolor="black")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, color=INK, fontsize=7, pad=3)
