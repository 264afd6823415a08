"""The gallery shows every microscope, focus and motion; pictures are what the simulator gives, with their scale."""

from __future__ import annotations

import itertools
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from small_library import HeldSource, made_cloud

from ingest.procedural import instance
from ingest.record import Record
from ingest.repack import ingest
from msl_store import gallery as galleries
from msl_store.errors import MissingError, UsageError
from msl_store.gallery import EMITTERS, FOCUSED, FRAMES, PLANES, SILHOUETTE, covering, describe, plot_gallery
from msl_store.geometry.topology import topology
from msl_store.optics.exposure import expose
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.microscope import MODALITIES, PRESETS
from msl_store.plot import save
from msl_store.shapes import Mesh
from msl_store.store import locate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

pytest.importorskip("matplotlib")

DOT = instance("dot", 1, 0)
MICRO = "\N{MICRO SIGN}m"


@pytest.fixture(scope="module")
def figure() -> Figure:
    return plot_gallery(DOT, name="A dot", licence="CC0-1.0", instance=7, seed=3)


def titled(figure: Figure, start: str) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_title().startswith(start)]


def values(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def test_every_preset_and_instrument_is_there_and_says_what_it_is(figure: Figure) -> None:
    titles = [axes.get_title() for axes in figure.axes]
    for name, preset in PRESETS.items():
        for mode in ("published", "corrected"):
            assert titles.count(describe(preset).replace(name, f"{name}, {mode}", 1)) == 1
    for instrument in INSTRUMENTS.values():
        assert titles.count(describe(instrument)) == 1
    shown = [m for m in (*PRESETS.values(), *INSTRUMENTS.values()) if titled(figure, m.name)]
    assert {m.modality for m in shown} == set(MODALITIES)


@pytest.mark.parametrize("microscope", [*PRESETS.values(), *INSTRUMENTS.values()], ids=lambda m: m.name)
def test_a_description_has_the_figures_of_the_microscope(microscope) -> None:
    name, light, optics = describe(microscope).split("\n")
    assert name == microscope.name
    assert f"{1000 * microscope.wavelength_um:g} nm" in light
    assert microscope.modality.split()[0] in light
    assert microscope.excitation_um is None or f"{1000 * microscope.excitation_um:g}/" in light
    assert f"NA {microscope.numerical_aperture:g} {microscope.immersion}" in optics
    assert optics.endswith(f"pixel {1000 * microscope.pixel_um:.3g} nm")


def test_panels_show_one_field_in_the_pixels_of_their_microscope(figure: Figure) -> None:
    fields = []
    for microscope in INSTRUMENTS.values():
        (axes,) = titled(figure, f"{microscope.name}\n")
        rows, columns = values(axes).shape
        assert rows == columns
        fields.append((rows * microscope.pixel_um, microscope.pixel_um))
    smallest = min(field for field, _ in fields)
    assert all(field - smallest <= pixel for field, pixel in fields)


def test_a_panel_is_what_the_simulator_gives(figure: Figure) -> None:
    subject = galleries._subject(DOT, 0.024, 7, 3)
    microscope = covering(INSTRUMENTS["light-sheet-25x-water"], subject.field_um)
    (axes,) = titled(figure, "light-sheet-25x-water\n")
    (counts,) = expose(subject.emitters_um, microscope, ["0"], instance=7, seed=3)
    np.testing.assert_array_equal(values(axes), counts)


def test_every_panel_has_a_scale_bar_of_its_length(figure: Figure) -> None:
    pixels = {describe(m): m.pixel_um for m in (*PRESETS.values(), *INSTRUMENTS.values())}
    for axes in figure.axes:
        height, width = values(axes).shape[:2]
        bar = axes.lines[0]
        x, y = bar.get_data()
        assert -0.5 < min(x) < max(x) < width - 0.5
        assert height / 2 < min(y) == max(y) < height - 0.5
        (text,) = (text.get_text() for text in axes.texts)
        assert text.endswith((MICRO, " nm"))
        for description, pixel_um in pixels.items():
            if axes.get_title() == description:
                length = float(text.split()[0]) * (1 if text.endswith(MICRO) else 1e-3)
                assert np.ptp(x) * pixel_um == pytest.approx(length)


def test_a_stack_is_five_planes_and_a_section_through_all(figure: Figure) -> None:
    assert len(titled(figure, "z = ")) == len(FOCUSED) * PLANES
    sections = titled(figure, "xz section")
    assert {name for name in FOCUSED for axes in sections if name in axes.get_title()} == set(FOCUSED)
    for name, section in zip(reversed(FOCUSED), sections, strict=True):
        row = section.get_subplotspec().rowspan
        planes = [axes for axes in titled(figure, "z = ") if axes.get_subplotspec().rowspan == row]
        assert [axes.get_title() for axes in planes][PLANES // 2] == "z = 0"
        middle = planes[PLANES // 2]
        (dashed,) = (line for line in middle.lines if line.get_linestyle() == "--")
        at = int(dashed.get_ydata()[0])
        depth = values(section).shape[0]
        assert depth % 2 == 1
        np.testing.assert_array_equal(values(section)[depth // 2], values(middle)[at])
        # z upwards: the first plane shown, the lowest, is the section's last row
        np.testing.assert_array_equal(values(section)[-1], values(planes[0])[at])
        assert name in section.get_title()


def test_six_frames_bleach_on_one_scale_and_have_their_masks(figure: Figure) -> None:
    assert len(FRAMES) == 6
    frames = titled(figure, "frame ")
    assert [axes.get_title() for axes in frames] == [f"frame {frame}" for frame in FRAMES]
    assert len({axes.images[0].get_clim() for axes in frames}) == 1
    brightness = [np.percentile(values(axes), 99) for axes in frames]
    assert brightness[-1] < 0.8 * brightness[0]
    masks = [axes for axes in figure.axes[-2 * len(FRAMES) :] if not axes.get_title()]
    assert len(masks) == len(FRAMES)
    for image, mask in zip(frames, masks, strict=True):
        inside = values(mask)
        assert inside.shape == values(image).shape
        assert inside.dtype == bool
        assert 0.02 < inside.mean() < 0.6
        assert values(image)[inside].mean() > 1.2 * values(image)[~inside].mean()
        assert [len(axes.collections) for axes in (image, mask)] == [1, 1]
        assert mask.images[0].get_cmap()(1.0)[:3] == pytest.approx(rgb(SILHOUETTE))
        assert tuple(mask.collections[0].get_edgecolor()[0][:3]) == pytest.approx(rgb(EMITTERS))


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


def test_masks_can_be_told_apart_by_all_kinds_of_colour_vision() -> None:
    # how dichromats see linear sRGB: F. Vienot et al., Color Res. Appl. 24, 243 (1999); tritans as DaltonLens has it
    protan = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
    deutan = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    tritan = np.array([[1.0, 0.14461, -0.14461], [0.0, 0.85924, 0.14076], [0.0, 0.85924, 0.14076]])
    colours = [np.array(rgb(colour)) ** 2.2 for colour in (SILHOUETTE, EMITTERS, "#000000")]
    for seen in (np.eye(3), protan, deutan, tritan):
        for one, other in itertools.combinations([seen @ colour for colour in colours], 2):
            assert np.linalg.norm(one - other) > 0.35


def test_the_figure_names_the_shape_and_its_licence(figure: Figure) -> None:
    written = " ".join(text.get_text() for text in figure.texts)
    assert "A dot under every microscope" in written
    assert "CC0-1.0" in written


def test_the_same_gallery_is_the_same_file(figure: Figure, tmp_path: Path) -> None:
    again = plot_gallery(DOT, name="A dot", licence="CC0-1.0", instance=7, seed=3)
    first, second = (save(each, tmp_path / f"{n}.png").read_bytes() for n, each in enumerate((figure, again)))
    assert first == second


@given(field_um=st.floats(0.1, 50))
def test_pixels_cover_the_field_and_no_more(field_um: float) -> None:
    for microscope in (PRESETS["conf2"], INSTRUMENTS["spinning-disk-60x-water"]):
        rows, columns = covering(microscope, field_um).size_px
        assert rows == columns
        assert (rows - 1) * microscope.pixel_um < field_um <= rows * microscope.pixel_um * (1 + 1e-12)


def test_a_mesh_without_surface_is_refused() -> None:
    with pytest.raises(UsageError, match="too little surface for a single emitter"):
        plot_gallery(Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.uint32)))


def command(*arguments: str) -> None:
    """Run the command as ``msl`` does: by the entry point that pyproject declares."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, function = project["entry-points"]["msl_store.commands"]["gallery"].partition(":")
    app = typer.Typer()
    app.command()(getattr(import_module(module), function))
    app(list(arguments), standalone_mode=False)


def test_the_command_shows_an_instance_of_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    monkeypatch.setattr(galleries, "plot_gallery", lambda mesh, **options: shown.update(options, mesh=mesh) or small())
    held = Record(1, DOT), Record(2, point_cloud=made_cloud(np.random.default_rng(0), normals=False))
    ingest(HeldSource(held), locate(tmp_path / "l.zarr"), scheduler="synchronous")
    command(str(tmp_path / "one.png"), "--library", str(tmp_path / "l.zarr"), "--id", "1", "--seed", "4")
    assert (tmp_path / "one.png").stat().st_size > 0
    np.testing.assert_allclose(shown["mesh"].vertices, DOT.vertices, atol=1e-5)
    assert (shown["instance"], shown["seed"], shown["name"]) == (1, 4, "Instance 1")
    assert "CC BY-NC 4.0" in shown["licence"]
    with pytest.raises(MissingError, match="instance 2 has no mesh"):
        command(str(tmp_path / "two.png"), "--library", str(tmp_path / "l.zarr"), "--id", "2")


def test_without_a_library_the_command_shows_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(galleries, "plot_gallery", lambda mesh, **_: shown.append(mesh) or small())
    command(str(tmp_path / "network.svg"))
    assert topology(shown[0].vertices, shown[0].faces).genus >= 1
    assert (tmp_path / "network.svg").read_text().startswith("<?xml")


def small() -> Figure:
    from msl_store.panels import new_figure

    return new_figure(1, 1)


@pytest.mark.parametrize("arguments", [["--library", "l.zarr"], ["--id", "1"]])
def test_a_library_and_an_id_belong_together(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="one without the other"):
        command("x.png", *arguments)
