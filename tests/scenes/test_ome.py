"""OME-Zarr: valid by the published models, the same values back, aligned in um, pyramids where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr

import msl_store as msl
from msl_store.ome import write_ome
from msl_store.scenes import Motion, Scene, compose, label_volume, render, timelapse, timelapse_truth

if TYPE_CHECKING:
    from pathlib import Path

    from servers.s3 import Bucket


@pytest.fixture(scope="module")
def scene(library: msl.Library) -> Scene:
    return compose(library, library.ids[:3], field_um=4, seed=1)


def places(group: Any, axis: int, level: int = 0) -> np.ndarray:
    """Return where a group's pixels lie along an axis, by its metadata."""
    scales = group.attrs["ome"]["multiscales"][0]["datasets"][level]
    step, first = (t[t["type"]] for t in scales["coordinateTransformations"])
    return first[axis] + step[axis] * np.arange(group[scales["path"]].shape[axis])


def test_a_time_lapse_with_labels_is_valid_and_reads_back(scene: Scene, tmp_path: Path) -> None:
    motion, planes = Motion(drift_um=(0.1, 0, 0)), [-0.4, 0.0, 0.4]
    lapse = timelapse(scene, "epi1", motion, 3, z=planes, interval_s=2.5)
    truth = timelapse_truth(scene, "epi1", motion, 3)
    labels = {"silhouette": truth.labels.sel(rule="silhouette"), "volume": label_volume(scene, (0.2, 0.1, 0.1))}
    written = write_ome(lapse, tmp_path / "a.ome.zarr", labels=labels, levels=2)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:, 0], lapse.values)
    assert group["0"].metadata.dimension_names == ("t", "c", "z", "y", "x")
    assert group["0"].dtype == np.uint16
    np.testing.assert_allclose(places(group, 0), lapse.time_s)
    np.testing.assert_allclose(places(group, 2), planes)
    np.testing.assert_allclose(places(group, 3), lapse.y)
    np.testing.assert_allclose(places(group, 4), lapse.x)
    assert group["labels"].attrs["ome"]["labels"] == ["silhouette", "volume"]
    flat = group["labels/silhouette"]
    np.testing.assert_array_equal(flat["0"][:, 0, 0], labels["silhouette"].values)
    np.testing.assert_allclose(places(flat, 4), lapse.x)
    volume = group["labels/volume"]
    np.testing.assert_array_equal(volume["0"][0, 0], labels["volume"].values)
    for axis, name in ((2, "z"), (3, "y"), (4, "x")):
        np.testing.assert_allclose(places(volume, axis), labels["volume"][name])
    assert group.attrs["provenance"]["motion"] == motion.to_dict()
    stored = [path for path in (tmp_path / "a.ome.zarr").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert written == sum(path.stat().st_size for path in stored)
    window = group.attrs["ome"]["omero"]["channels"][0]["window"]
    assert (window["min"], window["max"]) == (lapse.min(), lapse.max())


def test_the_published_models_accept_it(scene: Scene, tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    image = render(scene, "conf2", z=[0.0, 0.3])
    write_ome(image, tmp_path / "a.ome.zarr", labels={"cells": label_volume(scene, 0.3)}, levels=3)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    read = models.Image.from_zarr(group)
    (scales,) = read.ome_attributes.multiscales
    assert [axis.name for axis in scales.axes] == ["t", "c", "z", "y", "x"]
    assert len(scales.datasets) == 3
    assert models.Labels.from_zarr(group["labels"]).ome_attributes.labels == ["cells"]
    models.ImageLabel.from_zarr(group["labels/cells"])


def test_levels_average_images_and_sample_labels_in_place(tmp_path: Path) -> None:
    values = np.arange(35, dtype=np.float32).reshape(5, 7)
    coords = {"y": np.arange(5) * 0.5, "x": np.arange(7) * 0.5}
    image = xr.DataArray(values, coords, ("y", "x"))
    labels = xr.DataArray(values.astype(np.uint16), coords, ("y", "x"))
    write_ome(image, tmp_path / "a.ome.zarr", labels={"l": labels}, levels=2)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["1"][0, 0, 0, :2, :3], values[:4, :6].reshape(2, 2, 3, 2).mean(axis=(1, 3)))
    assert group["1"].shape == (1, 1, 1, 3, 4)
    np.testing.assert_allclose(places(group, 4, 1), [0.25, 1.25, 2.25, 3.25])
    np.testing.assert_array_equal(group["labels/l/1"][0, 0, 0], labels[::2, ::2])
    np.testing.assert_allclose(places(group["labels/l"], 4, 1), [0, 1, 2, 3])


def test_images_of_simulate_and_of_a_library_are_written_too(library: msl.Library, tmp_path: Path) -> None:
    images = msl.simulate(library.select(first=1), "epi1", views=["0", "x90"], z=[-0.5, 0, 0.5])
    write_ome(images.isel(instance=0, view=1), tmp_path / "a.ome.zarr")
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][0, 0], images.values[0, 1])
    assert places(group, 4)[0] == pytest.approx(-63.5 * 0.109)
    assert group.attrs["ome"]["omero"]["channels"][0]["label"] == "epi1"


def test_a_bucket_holds_it_too(scene: Scene, bucket: Bucket, tmp_path: Path) -> None:
    image = render(scene, "epi1")
    write_ome(image, f"{bucket.url}/a.ome.zarr", bucket.storage_options)
    write_ome(image, tmp_path / "a.ome.zarr")
    from msl_store.store import locate

    remote, local = locate(f"{bucket.url}/a.ome.zarr", bucket.storage_options), locate(tmp_path / "a.ome.zarr")
    assert {path: remote.get(path) for path, _ in remote.list("")} == {
        path: local.get(path) for path, _ in local.list("")
    }


def test_only_an_ome_zarr_group_is_overwritten(scene: Scene, library: msl.Library, tmp_path: Path) -> None:
    target = tmp_path / "a.ome.zarr"
    image = render(scene, "epi1", z=[0.0, 1.0])
    write_ome(image, target, labels={"l": (image > 60).drop_vars("microscope")})
    with pytest.raises(msl.UsageError, match="overwrite=True"):
        write_ome(image, target)
    write_ome(image.isel(z=0), target, overwrite=True)
    group = zarr.open_group(target, mode="r")
    assert group["0"].shape[2] == 1
    assert "labels" not in group
    planes = [path for path in (target / "0" / "c").rglob("*") if path.is_file()]
    assert planes == [target / "0" / "c" / "0" / "0" / "0" / "0" / "0"]
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(msl.UsageError, match="another kind"):
        write_ome(image, tmp_path / "other.zarr", overwrite=True)
    with pytest.raises(msl.UsageError, match="another kind"):
        write_ome(image, library.url, overwrite=True)


def test_what_cannot_be_written_is_refused(scene: Scene, library: msl.Library, tmp_path: Path) -> None:
    image = render(scene, "epi1", z=[0.0, 0.1, 0.5])
    for refused, options, message in (
        (image, {}, "regular grid"),
        (image.isel(z=0).rename(y="row"), {}, "dims"),
        (image.isel(z=0).drop_vars(["x", "y", "pixel_um"]), {}, "pixel_um"),
        (image.isel(z=0), {"levels": 0}, "levels 0"),
        (image.isel(z=0), {"levels": 9}, "levels 9"),
        (image.isel(z=0), {"labels": {"a/b": image.isel(z=0)}}, "slashes"),
        (image.isel(z=0), {"labels": {"a": image.isel(z=0).astype(float)}}, "label images"),
    ):
        with pytest.raises(msl.UsageError, match=message):
            write_ome(refused, tmp_path / "no.ome.zarr", **options)
    assert not (tmp_path / "no.ome.zarr").exists()
