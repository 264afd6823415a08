"""`msl scene` and `msl timelapse`: what they write is what the library says, in formats that others read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

import msl_store as msl
from msl_store.cli import app
from msl_store.optics.description import write_description
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.labelling import Labelling
from msl_store.scenes import Motion, compose, label_volume, masks, moved, poses, recompose, render, timelapse
from msl_store.store import locate

if TYPE_CHECKING:
    from pathlib import Path

    from servers.s3 import Bucket


def asked(*arguments: object) -> Any:
    """Run a command and return its JSON; errors are raised."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def url(library: msl.Library) -> str:
    return library.url


def test_a_scene_is_written_with_all_its_truth(url: str, library: msl.Library, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    options = [
        "--ids",
        "10,20,30",
        "--field-um",
        "5,6",
        "--depth-um",
        4,
        "--non-overlap",
        "--seed",
        3,
        "--z",
        "-0.5,0.5",
    ]
    done = asked("scene", url, folder, *options, "--microscope", "conf1,confocal-60x-oil", "--voxel-um", 0.2)
    assert done["instances"] == 3
    assert sorted(path.name for path in folder.iterdir()) == sorted(done["files"])
    scene = recompose(library, json.loads((folder / "scene.json").read_text()))
    assert scene.digest == compose(library, [10, 20, 30], field_um=(5, 6), depth_um=4, overlap="forbid", seed=3).digest
    assert (folder / "preview.png").read_bytes().startswith(b"\x89PNG")
    for name in ("conf1", "confocal-60x-oil"):
        group = zarr.open_group(folder / f"{name}.ome.zarr", mode="r")
        np.testing.assert_array_equal(group["0"][0, 0], render(scene, name, z=[-0.5, 0.5], seed=3).values)
        truth = masks(scene, name)
        for rule in ("silhouette", "emitters"):
            np.testing.assert_array_equal(group[f"labels/{rule}/0"][0, 0, 0], truth.labels.sel(rule=rule).values)
        np.testing.assert_array_equal(group["labels/volume/0"][0, 0], label_volume(scene, 0.2).values)
        held = np.load(folder / f"{name}_masks.npz")
        np.testing.assert_array_equal(held["instance_mask"], truth.instance_mask.values)
        assert held["id"].tolist() == [10, 20, 30]
        assert held["label"].tolist() == [1, 2, 3]


def test_the_published_models_accept_what_is_written(url: str, tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    asked("scene", url, tmp_path / "scene", "--first", 2, "--field-um", 5, "--voxel-um", 0.3)
    asked("timelapse", url, tmp_path / "a.ome.zarr", "--first", 2, "--field-um", 5, "--frames", 2, "--spin-deg", 5)
    for path in (tmp_path / "scene" / "conf1.ome.zarr", tmp_path / "a.ome.zarr"):
        group = zarr.open_group(path, mode="r")
        models.Image.from_zarr(group)
        for name in models.Labels.from_zarr(group["labels"]).ome_attributes.labels:
            models.ImageLabel.from_zarr(group[f"labels/{name}"])


def test_a_scene_is_replaced_only_when_asked(url: str, tmp_path: Path) -> None:
    first = ("scene", url, tmp_path / "scene", "--ids", "10,20", "--field-um", 4)
    asked(*first)
    with pytest.raises(msl.UsageError, match=r"holds a scene; .*--overwrite"):
        asked(*first, "--seed", 1)
    asked(*first, "--seed", 1, "--overwrite")
    assert json.loads((tmp_path / "scene" / "scene.json").read_text())["seed"] == 1


def test_a_bucket_holds_the_same_objects(url: str, bucket: Bucket, tmp_path: Path) -> None:
    arguments = ("--first", 1, "--field-um", 4)
    target = [f"--target-option={key}={json.dumps(value)}" for key, value in bucket.storage_options.items()]
    asked("scene", url, f"{bucket.url}/scene", *arguments, *target)
    asked("scene", url, tmp_path / "scene", *arguments)
    remote, local = locate(f"{bucket.url}/scene", bucket.storage_options), locate(tmp_path / "scene")
    paths = [path for path, _ in local.list()]
    assert paths == [path for path, _ in remote.list()]
    same = [path for path in paths if not path.endswith(("png", "npz"))]
    assert [local.get(path) for path in same] == [remote.get(path) for path in same]


MOTION = Motion(drift_um=(0.05, 0, 0), spin_deg=3, wander_um=0.2, seed=4)
FADING = Labelling(where="both", bleach_frames=5)


def film_options(folder: Path) -> list[object]:
    (folder / "motion.json").write_text(write_description(replace(MOTION, wander_um=0.0)))
    (folder / "labelling.yaml").write_text(write_description(FADING, "yaml"))
    moving = ["--motion", folder / "motion.json", "--wander-um", 0.2, "--labelling", folder / "labelling.yaml"]
    return ["--ids", "10,20", "--field-um", 4, "--frames", 3, "--interval-s", 0.5, "--seed", 2, *moving]


def test_films_for_programs_are_the_time_lapse(url: str, library: msl.Library, tmp_path: Path) -> None:
    options = film_options(tmp_path)
    scene = compose(library, [10, 20], field_um=4, seed=2, labelling=FADING)
    expected = timelapse(scene, "widefield-100x-oil", MOTION, 3, seed=2, interval_s=0.5)
    asked("timelapse", url, tmp_path / "a.zarr", *options, "--microscope", "widefield-100x-oil")
    edition = msl.open(tmp_path / "a.zarr")
    np.testing.assert_array_equal(edition.images.values[:, 0, 0], expected.values)
    volume = ["--voxel-um", "0.4,0.2,0.2", "--depth-um", 4]
    ome = tmp_path / "a.ome.zarr"
    asked("timelapse", url, ome, *options, "--microscope", "widefield-100x-oil", *volume)
    group = zarr.open_group(ome, mode="r")
    scene = compose(library, [10, 20], field_um=4, seed=2, labelling=FADING, depth_um=4)
    now = moved(scene, MOTION, 2)
    np.testing.assert_array_equal(group["0"][2, 0, 0], render(now, "widefield-100x-oil", seed=2).values)
    np.testing.assert_array_equal(group["labels/volume/0"][2, 0], label_volume(now, (0.4, 0.2, 0.2), depth_um=4).values)
    scales = group["labels/volume"].attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    np.testing.assert_allclose(scales["scale"], [0.5, 1, 0.4, 0.2, 0.2])
    held = json.loads((tmp_path / "a.ome.zarr.json").read_text())
    assert [frame["time_s"] for frame in held["frames"]] == [0, 0.5, 1]
    found = [one["position_um"] for one in held["frames"][2]["instances"]]
    np.testing.assert_allclose(found, poses(now).position_um)
    assert Motion.from_dict(held["motion"]) == MOTION
    assert recompose(library, held["scene"]).digest == scene.digest


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_a_film_for_people_has_every_frame(url: str, tmp_path: Path, scheduler: str) -> None:
    image = pytest.importorskip("PIL.Image")
    asked("timelapse", url, tmp_path / "a.gif", *film_options(tmp_path), "--fps", 4, "--scheduler", scheduler)
    with image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.info["duration"]) == (3, 250)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timelapse", "a.avi"], r"a\.avi: allowed are names that end in \.mp4, \.gif, \.ome\.zarr, \.zarr"),
        (["timelapse", "a.gif", "--microscope", "conf1,epi1"], "allowed is one"),
        (["timelapse", "a.gif", "--motion", "fast"], "fast: .*No such file"),
        (["timelapse", "a.ome.zarr", "--voxel-um", "0.1", "--first", "1"], "give --depth-um with it"),
        (["scene", "s", "--microscope", "conf1,conf1", "--first", "1"], "of different names"),
        (["scene", "s", "--field-um", "1,2,3"], "field-um '1,2,3': allowed are one number or 2"),
        (["scene", "s", "--labelling", "matrix,per_um3"], "'per_um3' is no change; allowed is field=number"),
        (["scene", "s", "--labelling", "matrix,per_mm=1"], "labelling: unknown field per_mm"),
    ],
)
def test_bad_arguments_say_what_is_allowed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command, target, *others = arguments
    with pytest.raises(msl.UsageError, match=message):
        asked(command, url, target, *others)
    assert not (tmp_path / target).exists()


def test_pictures_need_every_instruments_colours(url: str, tmp_path: Path) -> None:
    names = ",".join(INSTRUMENTS)
    done = asked("scene", url, tmp_path / "scene", "--first", 1, "--field-um", 3, "--microscope", names)
    assert len(done["files"]) == 2 * len(INSTRUMENTS) + 2
