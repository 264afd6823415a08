"""`msl simulate`, `msl ome` and `msl microscopes`: options mean what the library's arguments mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
import zarr
from beads import bead, bead_stack
from shapes_source import ShapesSource
from typer.testing import CliRunner

import msl_store as msl
from ingest.repack import ingest
from msl_store.cli import app
from msl_store.cli_options import labelling_of, microscopes_of, psfs_of
from msl_store.optics.description import write_description
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.labelling import Labelling
from msl_store.optics.microscope import PRESETS, get_microscope
from msl_store.scenes import Motion, compose, edition_of, timelapse
from msl_store.store import locate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("commands") / "library.zarr"
    ingest(ShapesSource(4), locate(folder), attributes={"title": "shapes", "license": "CC0-1.0"})
    return str(folder)


def asked(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_simulate_writes_what_the_library_simulates(url: str, tmp_path: Path) -> None:
    own = replace(PRESETS["epi1"], name="mine", camera=INSTRUMENTS["confocal-60x-oil"].camera)
    (tmp_path / "mine.yaml").write_text(write_description(own, "yaml"))
    labelling = Labelling(where="both", per_um3=200, bleach_frames=3)
    asked(
        "simulate", url, tmp_path / "edition.zarr", "--microscope", f"conf2, {tmp_path / 'mine.yaml'}", "--first", 2,
        "--views", "0, y90", "--z", "-0.2,0.2", "--frames", 2, "--interval-s", 0.5, "--seed", 6,
        "--labelling", "both,per_um3=200,bleach_frames=3",
    )  # fmt: skip
    edition = msl.open(tmp_path / "edition.zarr")
    images = msl.simulate(
        msl.open(url).select(first=2), ["conf2", own], views=["0", "y90"], z=[-0.2, 0.2], frames=2, interval_s=0.5,
        seed=6, labelling=labelling,
    )  # fmt: skip
    np.testing.assert_array_equal(edition.images.values, images.values)
    assert edition.attributes["provenance"]["labelling"] == labelling.to_dict()
    np.testing.assert_array_equal(edition.images.time_s, images.time_s)


def test_all_18_published_images_are_one_command(url: str, tmp_path: Path) -> None:
    done = asked(
        "simulate",
        url,
        tmp_path / "edition.zarr",
        "--microscope",
        "conf1,conf2,epi1",
        "--mode",
        "published",
        "--ids",
        20,
    )
    assert done["images"] == 18
    images = msl.open(tmp_path / "edition.zarr").images
    for name in PRESETS:
        alone = msl.simulate(msl.open(url).select(ids=[20]), name, mode="published")
        np.testing.assert_array_equal(images.sel(microscope=name).values, alone.values)


@pytest.mark.parametrize("form", ["tif", "zarr"])
def test_a_measured_psf_comes_from_a_file(url: str, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"psf.{form}"
    if form == "tif":
        pytest.importorskip("tifffile").imwrite(path, bead_stack("epi1"))
    else:
        zarr.create_array(path, data=bead_stack("epi1"))
    given = ["--psf", f"epi1={path}", "--psf-voxel-um", "0.1,0.05", "--views", "0", "--first", 1, "--no-noise"]
    asked("simulate", url, tmp_path / "edition.zarr", "--microscope", "epi1,conf1", *given)
    edition = msl.open(tmp_path / "edition.zarr")
    psf = bead("epi1")
    expected = msl.simulate(msl.open(url).select(first=1), "epi1", psf=psf, views=["0"], noise=False)
    np.testing.assert_array_equal(edition.images.sel(microscope="epi1").values, expected.values)
    assert edition.attributes["provenance"]["psf"] == {"epi1": psf.to_dict()}


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    optics = microscopes_of("conf1,epi1")
    for files, voxel, message in (
        (["psf.tif"], None, "give --psf-voxel-um"),
        (["psf.tif"], "0.1,0.05", "allowed is NAME=FILE, with a name of conf1, epi1"),
        (["conf2=psf.tif"], "0.1", "allowed is NAME=FILE"),
        (["epi1=absent.tif"], "0.1", r"absent\.tif"),
        (["epi1=psf.tif"], "0.1,x", "psf-voxel-um '0.1,x': allowed are numbers"),
    ):
        with pytest.raises(msl.UsageError, match=message):
            psfs_of(files, voxel, optics)
    with pytest.raises(msl.MissingError, match="no Zarr array here"):
        psfs_of([f"epi1={tmp_path / 'absent.zarr'}"], "0.1", optics)
    zarr.create_group(tmp_path / "group.zarr")
    with pytest.raises(msl.FormatError, match="name a Zarr array"):
        psfs_of([f"epi1={tmp_path / 'group.zarr'}"], "0.1", optics)
    assert labelling_of(None) is None
    with pytest.raises(msl.UsageError, match="'lipids' is unknown"):
        labelling_of("lipids")
    with pytest.raises(msl.UsageError, match=r"absent\.json: .*No such file"):
        microscopes_of("absent.json")


def test_microscopes_are_listed_with_their_sources() -> None:
    result = CliRunner().invoke(app, ["microscopes"], catch_exceptions=False)
    for name, one in {**PRESETS, **INSTRUMENTS}.items():
        assert name in result.stdout
        assert one.source in result.stdout
    assert [one["name"] for one in asked("microscopes")] == [*PRESETS, *INSTRUMENTS]


def test_a_description_is_where_ones_own_microscope_starts(tmp_path: Path) -> None:
    text = CliRunner().invoke(app, ["microscopes", "--describe", "confocal-60x-oil"], catch_exceptions=False).stdout
    values = yaml.safe_load(text)
    (tmp_path / "mine.yaml").write_text(text.replace("name: confocal-60x-oil", "name: mine"))
    (mine,) = microscopes_of(str(tmp_path / "mine.yaml"))
    assert mine == replace(get_microscope("confocal-60x-oil"), name="mine")
    assert asked("microscopes", "--describe", "confocal-60x-oil") == json.loads(json.dumps(values))


def test_a_stack_or_film_of_an_edition_becomes_ome_zarr(url: str, tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    fine, coarse = (replace(PRESETS["conf1"], name=name, wavelength_um=um) for name, um in (("a", 0.5), ("b", 0.6)))
    library = msl.open(url).select(first=2)
    images = msl.simulate(library, [fine, coarse], views=["0", "x90"], z=[-0.5, 0, 0.5], frames=2, interval_s=3.0)
    msl.write(images, tmp_path / "edition.zarr")
    asked("ome", tmp_path / "edition.zarr", tmp_path / "a.ome.zarr", "--id", 20, "--view", "x90", "--levels", 2)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    models.Image.from_zarr(group)
    expected = images.sel(instance=20, view="x90").transpose("frame", "microscope", "z", "y", "x")
    np.testing.assert_array_equal(group["0"][:], expected.values)
    assert [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]] == ["a", "b"]
    scale = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    np.testing.assert_allclose(scale, [3.0, 1, 0.5, 0.07, 0.07])
    assert group.attrs["provenance"] == json.loads(json.dumps(images.attrs["provenance"]))


def test_a_time_lapse_of_a_scene_becomes_ome_zarr_whole(url: str, tmp_path: Path) -> None:
    library = msl.open(url)
    scene = compose(library, library.ids[:2], field_um=4, seed=1)
    film = timelapse(scene, "epi1", Motion(spin_deg=10), 3, interval_s=0.5)
    msl.write(edition_of(film), tmp_path / "film.zarr")
    asked("ome", tmp_path / "film.zarr", tmp_path / "a.ome.zarr")
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:, 0, 0], film.values)
    scale = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    np.testing.assert_allclose(scale, [0.5, 1, 1, 0.109, 0.109])


def test_what_ome_cannot_write_is_refused(url: str, tmp_path: Path) -> None:
    msl.write(msl.simulate(msl.open(url).select(first=2), ["conf1", "epi1"], views=["0"]), tmp_path / "edition.zarr")
    for options, message in (
        ([], "holds 2 instances; give one with --id, as in --id 10"),
        (["--id", 10], "select one microscope"),
        (["--id", 10, "--microscope", "conf2"], "microscope 'conf2': allowed are conf1, epi1"),
        (["--id", 10, "--view", "x90"], "view 'x90': allowed are 0"),
    ):
        with pytest.raises(msl.UsageError, match=message):
            asked("ome", tmp_path / "edition.zarr", tmp_path / "no.ome.zarr", *options)
    with pytest.raises(msl.MissingError, match="has no instance 99"):
        asked("ome", tmp_path / "edition.zarr", tmp_path / "no.ome.zarr", "--id", 99)
    assert not (tmp_path / "no.ome.zarr").exists()
