"""Figures: what is drawn is what the library holds, what is missing says so, and files are reproducible."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

import msl_store
from ingest.record import Entry, Images, Listing, Record
from ingest.repack import ingest
from msl_store.errors import MissingError, UsageError
from msl_store.library import open_library
from msl_store.panels import draw_image, draw_scale_bar, new_figure, round_length, tinted
from msl_store.plot import plot_instance, plot_overview, save
from msl_store.schema import MICROSCOPES, SAMPLES, VIEWS
from msl_store.shapes import Mesh, Occupancy, PointCloud
from msl_store.store import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from msl_store.library import Library

pytest.importorskip("matplotlib")

WHOLE, BARE, ONE_VIEW = 1, 2, 3


@dataclass(frozen=True)
class Octahedra:
    """A source of a whole instance, one with a mesh alone, and one with no mesh and a single image."""

    name: str = "octahedra"

    def listing(self) -> Listing:
        counts = {WHOLE: (6, 8), BARE: (6, 8), ONE_VIEW: (0, 0)}
        return Listing(tuple(Entry(number, "made", *sizes, str(number)) for number, sizes in counts.items()))

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
        mesh = Mesh(np.vstack([np.eye(3), -np.eye(3)]) * 25, np.array(faces, np.uint32))
        rng = np.random.default_rng(0)
        surface = rng.dirichlet([1, 1, 1], SAMPLES) * rng.choice([-0.5, 0.5], (SAMPLES, 3))
        queries = rng.uniform(-0.55, 0.55, (SAMPLES, 3)).astype(np.float16)
        inside = np.abs(queries.astype(np.float32)).sum(axis=1) < 0.5
        counts = rng.poisson(50, (len(MICROSCOPES), len(VIEWS), 128, 128)).astype(np.uint16)
        present = np.ones(counts.shape[:2], bool)
        lonely = np.zeros_like(present)
        lonely[1, 2] = True
        for entry in entries:
            if entry.id == WHOLE:
                occupancy = Occupancy(queries, np.packbits(inside), *mesh.box())
                cloud = PointCloud(surface.astype(np.float32))
                yield Record(WHOLE, mesh, cloud, occupancy, Images(counts, present))
            elif entry.id == BARE:
                yield Record(BARE, mesh)
            else:
                yield Record(ONE_VIEW, images=Images(counts * lonely[:, :, None, None], lonely))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("plot") / "made.zarr"
    ingest(Octahedra(), locate(folder), scheduler="synchronous")
    return open_library(folder)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def written(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_an_instance_is_three_shapes_over_a_row_of_images_for_each_microscope(library: Library) -> None:
    figure = plot_instance(library, WHOLE)
    images = [f"{microscope}  {view}" for microscope in MICROSCOPES for view in VIEWS]
    assert titles(figure) == ["mesh", "point cloud", "occupancy: inside points", *images]
    assert all(len(axes.images) == 1 for axes in figure.axes)
    stored = library.images.sel(instance=WHOLE)
    for number, axes in enumerate(figure.axes[3:]):
        np.testing.assert_array_equal(axes.images[0].get_array(), stored[number // len(VIEWS), number % len(VIEWS)])
    assert "instance 1" in written(figure)


def test_shapes_are_drawn_at_one_scale(library: Library) -> None:
    covered = [(axes.images[0].get_array()[..., 3] > 127) for axes in plot_instance(library, WHOLE).axes[:3]]
    mesh, cloud, inside = covered
    assert mesh.mean() > 0.2
    assert (mesh & cloud).sum() > 0.97 * mesh.sum()
    assert (mesh | cloud).sum() < 1.1 * mesh.sum()
    assert (inside & ~mesh).sum() < 0.05 * mesh.sum()


def test_every_panel_with_a_scale_has_its_bar(library: Library) -> None:
    figure = plot_instance(library, WHOLE)
    pixels = [microscope["pixel_um"] for microscope in library.microscopes]
    for number, axes in enumerate(figure.axes[3:]):
        (bar,) = axes.lines
        length_px = np.ptp(bar.get_xdata())
        (text,) = texts(axes)
        assert length_px * pixels[number // len(VIEWS)] == pytest.approx(float(text.removesuffix(" \N{MICRO SIGN}m")))
        assert 128 / 8 < length_px <= 128 / 3
    # The octahedron is 50 voxels of 24 nm across: 1.2 um.
    (bar,) = figure.axes[0].lines
    (text,) = texts(figure.axes[0])
    columns = (figure.axes[0].images[0].get_array()[..., 3] > 127).any(axis=0).sum()
    um = float(text.removesuffix(" \N{MICRO SIGN}m"))
    assert columns / np.ptp(bar.get_xdata()) * um == pytest.approx(1.2, rel=0.02)


def test_missing_parts_are_labelled_gaps(library: Library) -> None:
    figure = plot_instance(library, BARE)
    assert [texts(axes) for axes in figure.axes[1:3]] == [["no point cloud"], ["no occupancy"]]
    assert all(texts(axes) == ["no image"] and not axes.images for axes in figure.axes[3:])
    assert len(figure.axes[0].images) == 1
    figure = plot_instance(library, ONE_VIEW)
    assert [texts(axes) for axes in figure.axes[:3]] == [["no mesh"], ["no point cloud"], ["no occupancy"]]
    assert [axes.get_title() for axes in figure.axes if axes.images] == [f"conf2  {VIEWS[2]}"]


def test_figures_name_the_licence(library: Library) -> None:
    for figure in (plot_instance(library, BARE), plot_overview(library, [WHOLE])):
        assert "CC BY-NC 4.0, doi:10.18710/JX6JXF" in written(figure)


def stack(ids: Sequence[int], planes: int | None) -> xr.DataArray:
    """Images in the form that `msl_store.simulate` returns, of the view y90; values tell the plane."""
    depth = np.arange(planes or 1, dtype=np.uint16)
    values = np.zeros((len(ids), 1, len(depth), 32, 32), np.uint16) + depth[:, None, None]
    values[..., ::2] += 100
    dims = ("instance", "view", "z", "y", "x")
    images = xr.DataArray(
        values,
        {
            "instance": list(ids),
            "view": ["y90"],
            "z": depth / 4 - 0.5,
            "microscope": "epi1",
            "pixel_um": 0.2,
            "wavelength_um": 0.608,
            "present": (("instance", "view"), np.array([[i != ONE_VIEW] for i in ids])),
        },
        dims,
        attrs={"provenance": {"mode": "corrected"}},
    )
    return images if planes else images.isel(z=0, drop=True)


def test_an_overview_has_a_row_an_instance(library: Library) -> None:
    figure = plot_overview(library, [WHOLE, BARE, ONE_VIEW])
    assert len(figure.axes) == 3 * (1 + len(MICROSCOPES))
    assert titles(figure)[:4] == ["mesh", *(f"{microscope}  0" for microscope in MICROSCOPES)]
    assert not any(titles(figure)[4:])
    assert [texts(axes)[-1] for axes in figure.axes[::4]] == ["1", "2", "3"]
    assert [texts(axes) for axes in figure.axes[5:8]] == [["no image"]] * 3
    assert texts(figure.axes[8])[0] == "no mesh"


def test_an_overview_shows_simulated_images_beside_stored_ones_of_the_same_view(library: Library) -> None:
    figure = plot_overview(library, [ONE_VIEW, WHOLE], images=stack([WHOLE, BARE, ONE_VIEW], None))
    assert titles(figure)[1:5] == [*(f"{microscope}  y90" for microscope in MICROSCOPES), "epi1  y90  corrected"]
    assert texts(figure.axes[4]) == ["no image"]
    np.testing.assert_array_equal(
        figure.axes[6].images[0].get_array(), library.images.sel(instance=WHOLE, microscope="conf1", view="y90")
    )
    assert figure.axes[9].images[0].get_array().shape == (32, 32)


@pytest.mark.parametrize(("planes", "shown"), [(1, [0]), (3, [0, 1, 2]), (9, [0, 2, 4, 6, 8])])
def test_of_a_stack_five_planes_at_most_are_shown_from_end_to_end(
    library: Library, planes: int, shown: list[int]
) -> None:
    figure = plot_overview(library, [WHOLE], images=stack([WHOLE], planes))
    drawn = figure.axes[4:]
    assert [int(axes.images[0].get_array().min()) for axes in drawn] == shown
    assert [axes.get_title() for axes in drawn] == [
        "epi1  y90  corrected\nz = " + {2: "0"}.get(plane, f"{plane / 4 - 0.5:+g} \N{MICRO SIGN}m") for plane in shown
    ]


def test_of_a_stored_stack_the_middle_plane_is_shown(library: Library, tmp_path: Path) -> None:
    images = msl_store.simulate(library.select(ids=[BARE]), "epi1", views=["0"], z=[0.0, 0.4, 0.8], noise=False)
    msl_store.write(images, tmp_path / "edition.zarr", scheduler="synchronous")
    edition = open_library(tmp_path / "edition.zarr")
    figure = plot_instance(edition, BARE)
    assert titles(figure) == ["mesh", "point cloud", "occupancy", "epi1  0\nz = +0.4 \N{MICRO SIGN}m"]
    np.testing.assert_array_equal(figure.axes[3].images[0].get_array(), edition.images[0, 0, 0, 1])


def test_what_cannot_be_shown_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="has no instance 77"):
        plot_instance(library, 77)
    with pytest.raises(UsageError, match="one id or more"):
        plot_overview(library, [])
    with pytest.raises(UsageError, match="images: have no instance 2"):
        plot_overview(library, [WHOLE, BARE], images=stack([WHOLE], None))
    with pytest.raises(UsageError, match=r"cannot write \.xyz; allowed: \.png"):
        save(new_figure(1, 1), tmp_path / "figure.xyz")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_is_the_same_file(suffix: str, library: Library, tmp_path: Path) -> None:
    first, second = (save(plot_overview(library, [WHOLE]), tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert len(first) > 10_000


def test_colours_of_images_grow_lighter_with_the_counts() -> None:
    for wavelength_um in (0.42, 0.488, 0.53, 0.608, 0.7):
        colours = tinted(wavelength_um)(np.linspace(0, 1, 64))[:, :3]
        assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0).all()
    teal, orange = (tinted(wavelength_um)(0.7) for wavelength_um in (0.488, 0.608))
    assert teal[1] > teal[0]
    assert orange[0] > orange[1]


@pytest.mark.parametrize("value", [0, 7])
def test_an_image_without_contrast_can_be_drawn(value: int) -> None:
    axes = new_figure(1, 1).add_subplot()
    draw_image(axes, np.full((8, 8), value, np.uint16), pixel_um=0.1, wavelength_um=0.5)
    low, high = axes.images[0].get_clim()
    assert low < high


@pytest.mark.parametrize(
    ("unit_um", "text"), [(1.0, "20 \N{MICRO SIGN}m"), (0.0004, "10 nm"), (0.01, "0.2 \N{MICRO SIGN}m")]
)
def test_a_scale_bar_says_its_length(unit_um: float, text: str) -> None:
    axes = new_figure(1, 1).add_subplot()
    draw_scale_bar(axes, width=100, unit_um=unit_um)
    assert texts(axes) == [text]


@pytest.mark.parametrize("power", [0.001, 1.0, 1000.0])
def test_scale_bars_have_round_lengths(power: float) -> None:
    for longest, length in ((1.0, 1), (1.99, 1), (2.0, 2), (4.9, 2), (5.0, 5), (9.9, 5)):
        assert round_length(longest * power) == pytest.approx(length * power)


def test_neither_importing_nor_plotting_touches_pyplot() -> None:
    program = (
        "import sys, msl_store; assert 'matplotlib' not in sys.modules;"
        "from msl_store import plot, panels; assert 'matplotlib' not in sys.modules;"
        "panels.new_figure(1, 1).add_subplot(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
