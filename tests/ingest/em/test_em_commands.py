"""`msl-ingest em` and `msl-ingest sample-volume`: options mean what the arguments of their functions mean."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import msl_store as msl
from ingest.cli import app
from ingest.em.opening import open_volume
from ingest.em.synthetic import SampleVolume
from ingest.em.volume import Box
from msl_store.errors import UsageError

pytest.importorskip("cc3d")
h5py = pytest.importorskip("h5py")


def asked(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """An HDF5 file without a voxel size: an object whole, one at the border, one too thin to mesh, dust."""
    values = np.zeros((30, 45, 48), np.uint16)
    values[6:18, 9:27, 9:27] = 4
    values[0:12, 30:42, 30:45] = 7
    values[24, 3:30, 3:30] = 9
    values[27:29, 42:44, 0:3] = 11
    path = tmp_path_factory.mktemp("stack") / "v.h5"
    with h5py.File(path, "w") as file:
        file["labels"] = values
        file["raw"] = values
    return path


def test_the_options_of_em_reach_the_library(stack, tmp_path):
    options = [
        stack, tmp_path / "lib.zarr", "--dataset", "labels", "--voxel-size", "30,8,8", "--downsample", "1,3,3",
        "--by-label", "--dust", 10, "--border", "mark", "--dilate", 0, "--recipe", "fast", "--labels", "published",
        "--grids", "32", "--no-images", "--seed", 3, "--block", 16, "--scheduler", "synchronous", "--title", "Mine",
        "--license", "CC0-1.0", "--work", tmp_path / "work", "--report", tmp_path / "report.json",
    ]  # fmt: skip
    result = asked("-q", "em", *options, "--json", code=6)
    found = json.loads(result.stdout)
    assert (found["instances"], found["complete"], found["set_aside"]) == (3, 2, 1)
    assert json.loads((tmp_path / "report.json").read_text()) == found
    library = msl.open(tmp_path / "lib.zarr")
    assert library.ids.tolist() == [4, 7]
    assert "no surface" in library.findings[0]["reason"]
    assert (library.attributes["title"], library.license) == ("Mine", "CC0-1.0")
    assert library.attributes["voxel_um"] == 0.024
    assert library.table.touches_border.values.tolist() == [False, True]
    assert library.table.voxel_count.values.tolist() == [12 * 6 * 6, 12 * 4 * 5]
    extent = [float(library.table[f"extent_{axis}_um"][0]) for axis in range(3)]
    np.testing.assert_allclose(extent, [12 * 0.030, 6 * 0.024, 6 * 0.024], atol=0.03)
    assert library.voxel_grid(4, 32).any()
    assert library.sdf(4).min() < 0
    assert (tmp_path / "work").is_dir()
    again = asked("em", *options)
    assert "nothing to do, this library is complete (3 instances)" in again.stdout


def test_em_says_its_size_first_and_what_it_set_aside(stack, tmp_path, monkeypatch):
    monkeypatch.setattr("msl_store.console.LARGE_BYTES", 1000)
    result = asked(
        "em", stack, tmp_path / "lib.zarr", "--dataset", "labels", "--voxel-size", "24,24,24", "--no-sdf",
        "--no-images", "--dust", 100, "--border", "drop", "--scheduler", "synchronous", code=6,
    )  # fmt: skip
    lines = result.stderr.splitlines()
    assert lines[0] == f"{stack}: 129.6 kB before compression"
    assert any(line.startswith(f"finding: {stack}:/labels: object 2: cannot be meshed: no surface") for line in lines)
    assert "2 instances (1 complete, 0 partial, 1 set aside)" in result.stdout


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--voxel-size", "8,8"], "voxel size .*: allowed are three positive lengths"),
        (["--voxel-size", "8;8;8"], "--voxel-size '8;8;8': allowed are numbers"),
        (
            ["--voxel-size", "8,8,8", "--downsample", "2,2"],
            "--downsample '2,2': allowed are one whole number, or three",
        ),
        (["--voxel-size", "8,8,8", "--downsample", "1.5"], "allowed are one whole number"),
        (["--voxel-size", "8,8,8", "--connectivity", "8"], "connectivity 8: allowed are 6"),
        (["--voxel-size", "8,8,8", "--border", "cut"], "border 'cut': allowed are keep, drop, mark"),
        (["--voxel-size", "8,8,8", "--grids", "48"], r"grids \[48\]: allowed are 32, 64"),
        ([], "has no voxel size"),
    ],
)
def test_what_em_does_not_allow_is_said(options, match, stack, tmp_path):
    with pytest.raises(UsageError, match=match):
        asked("em", stack, tmp_path / "lib.zarr", "--dataset", "labels", *options)


def test_sample_volume_writes_the_volume_of_its_size_and_seed(tmp_path):
    result = asked("sample-volume", tmp_path / "v.zarr", "--size", "40,50,60", "--seed", 7, "--labelled")
    assert result.stdout.startswith(f"{tmp_path / 'v.zarr'}: 40 x 50 x 60 voxels")
    volume, whole = open_volume(tmp_path / "v.zarr"), Box((0, 0, 0), (40, 50, 60))
    assert volume.voxel_nm == pytest.approx((24, 24, 24))
    np.testing.assert_array_equal(volume.read(whole), SampleVolume((40, 50, 60), 7, labelled=True).read(whole))
    with pytest.raises(UsageError, match="holds a Zarr hierarchy"):
        asked("sample-volume", tmp_path / "v.zarr", "--size", "40")
