"""A library made of a segmentation has every form of every object, and says what it was made from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from em_made import SHAPE, digests, made, plan
from held_volume import HeldVolume

import msl_store as msl
from ingest.em.library import prepare
from ingest.em.meshing import Recipe
from ingest.em.opening import open_volume
from ingest.em.source import Forms
from ingest.em.synthetic import SampleVolume
from ingest.em.volume import Box
from ingest.verify import verify
from msl_store import schema
from msl_store.errors import MissingError, UsageError
from msl_store.store import locate
from msl_store.subsetting import subset
from msl_store.verification import verify as check

pytest.importorskip("cc3d")
pytest.importorskip("fill_voids")


@pytest.fixture(scope="module")
def whole(sample, tmp_path_factory):
    """A library with every form of every object, made undisturbed, and its work place."""
    folder = tmp_path_factory.mktemp("whole")
    forms = Forms(grids=(64, 32), labels="published", seed=5)
    report, library = made(
        open_volume(sample), locate(folder / "lib.zarr"), plan(forms), work=locate(folder / "work"), limit=3
    )
    return report, library, folder / "work"


def test_every_form_of_every_object_is_there(whole):
    report, library, _ = whole
    assert (report.state, report.instances, report.complete, report.findings) == ("new", 3, 3, ())
    assert library.ids.tolist() == [1, 2, 3]
    for found in library.instances():
        mesh, cloud, occupancy = found.mesh, found.point_cloud, found.occupancy
        assert mesh.vertices.min() > 0
        assert cloud.points.shape == cloud.normals.shape == occupancy.points.shape == (schema.SAMPLES, 3)
        assert found.sdf.shape == (schema.SAMPLES,)
        assert {edge: grid.shape for edge, grid in found.voxel_grid.items()} == {32: (32,) * 3, 64: (64,) * 3}
        assert found.present.all()
        assert found.images.any(axis=(-1, -2)).all()
        # The labels are those of a mesh inflated by 0.0032; distances are of the mesh itself.
        clear = np.abs(found.sdf.astype(float) - 0.0032) > 1e-5
        np.testing.assert_array_equal((found.sdf < 0.0032)[clear], occupancy.inside[clear])
        share = found.voxel_grid[64].mean()
        assert share == pytest.approx((found.sdf < 0).mean(), abs=0.01)
        np.testing.assert_array_equal(library.voxel_grid(found.id, 32), found.voxel_grid[32])
        np.testing.assert_array_equal(library.sdf(found.id), found.sdf)
    table = library.table
    assert table.watertight.values.all()
    assert (table.status.values == "complete").all()
    assert {name: table[name].attrs["units"] for name in ("centroid_1_um", "origin_0_um", "voxel_count")} == {
        "centroid_1_um": "um",
        "origin_0_um": "um",
        "voxel_count": "1",
    }


def test_meshes_lie_where_the_table_says_and_have_the_volume_of_their_voxels(whole):
    _, library, _ = whole
    for instance in library.ids.tolist():
        row = library.table.sel(instance=instance)
        where = [float(row[f"origin_{axis}_um"]) for axis in range(3)] + library.mesh(instance).vertices_um(0.024)
        centre = [float(row[f"centroid_{axis}_um"]) for axis in range(3)]
        assert (where.min(axis=0) < centre).all()
        assert (where.max(axis=0) > centre).all()
        if row.voxel_count < 2000:
            continue
        # The Gaussian of one voxel takes 3 / r^2 of a ball's volume and 1 / r^2 of a cylinder's; 5.5 is the least r.
        assert 0.9 < float(row.volume_um3) / (float(row.voxel_count) * 0.024**3) < 1.01


def test_images_are_the_simulators_with_true_rotations(whole):
    _, library, _ = whole
    from msl_store.optics.rotations import view_rotation

    assert library.attributes["edition"] == "simulated"
    assert [m["name"] for m in library.microscopes] == list(schema.MICROSCOPES)
    np.testing.assert_array_equal(library.rotations.sel(microscope="conf2", view="x90"), view_rotation("x90"))
    again = msl.simulate(library.select(first=2), "conf2", seed=5)
    stored = library.select(first=2).images.sel(microscope="conf2")
    np.testing.assert_array_equal(again.transpose("instance", "view", "y", "x").values, stored.values)


def test_a_library_says_what_it_was_made_from(whole, sample):
    _, library, _ = whole
    said = library.attributes["volume"]
    assert said["name"] == f"{sample}/labels"
    assert (said["shape"], said["voxel_nm"]) == (list(SHAPE), [24.0, 24.0, 24.0])
    assert said["segmentation"]["connectivity"] == 26
    assert said["objects_kept"] > 3
    assert library.attributes["voxel_um"] == 0.024
    assert json.dumps(said)


def test_a_library_agrees_with_its_source(whole, sample):
    _, library, work = whole
    forms = Forms(grids=(64, 32), labels="published", seed=5)
    source, _ = prepare(open_volume(sample), locate(work), plan(forms), limit=3, scheduler="synchronous")
    assert verify(source, library, scheduler="synchronous").differences == ()
    other, _ = prepare(
        open_volume(sample), locate(work), plan(Forms(grids=(64,), seed=6)), limit=3, scheduler="synchronous"
    )
    reasons = " ".join(str(finding) for finding in verify(other, library, scheduler="synchronous").differences)
    assert "voxel_grid/inside_32: missing from the source" in reasons
    assert "sdf/distance: differs" in reasons


def test_a_library_is_sound_and_a_subset_of_it_is_a_library(whole, tmp_path):
    _, library, _ = whole
    assert check(library, scheduler="synchronous").damages == ()
    subset(library, tmp_path / "some.zarr", ids=[3, 1], scheduler="synchronous")
    some = msl.open(tmp_path / "some.zarr")
    assert check(some, scheduler="synchronous").damages == ()
    assert {i: some.stored_digest(i).tobytes() for i in (1, 3)} == {i: digests(library)[i] for i in (1, 3)}
    np.testing.assert_array_equal(some.sdf(3), library.sdf(3))
    np.testing.assert_array_equal(some.voxel_grid(1), library.voxel_grid(1))
    assert float(some.table.skeleton_length_um.sel(instance=3)) == float(library.table.skeleton_length_um[2])


def test_objects_at_the_border_are_marked_dropped_or_kept(tmp_path):
    values = np.zeros((40, 40, 40), np.uint8)
    values[10:25, 10:25, 10:25] = 1
    values[28:40, 28:38, 28:38] = 1
    tables = {}
    for border in ("mark", "drop", "keep"):
        _, library = made(HeldVolume(values), locate(tmp_path / border), plan(border=border, dust=10))
        tables[border] = library.table
    assert tables["mark"].touches_border.values.tolist() == [False, True]
    assert tables["drop"].touches_border.values.tolist() == [False]
    assert "touches_border" not in tables["keep"]
    assert len(tables["keep"].instance) == 2


def test_trusted_labels_are_the_ids(tmp_path):
    values = np.zeros((40, 40, 40), np.uint16)
    values[5:15, 5:15, 5:15] = 700
    values[25:35, 25:35, 25:35] = 700
    values[5:15, 25:35, 5:15] = 31
    _, library = made(HeldVolume(values), locate(tmp_path / "lib"), plan(by_label=True, dust=10))
    assert library.ids.tolist() == [31, 700]
    assert library.table.label.values.tolist() == [31, 700]
    assert library.table.component_count.values.tolist() == [1, 2]


def test_forms_that_are_not_asked_for_are_not_there(tmp_path):
    values = np.zeros((30, 30, 30), bool)
    values[5:20, 5:20, 5:20] = True
    report, library = made(HeldVolume(values), locate(tmp_path / "lib"), plan())
    assert report.complete == 1
    assert set(library.store.groups) == {"instances", "mesh", "occupancy", "point_cloud"}
    assert "has_images" not in library.table
    assert not library.has_part("images").any()
    with pytest.raises(MissingError, match="has no sdf"):
        library.sdf(1)
    with pytest.raises(MissingError, match="has no voxel grid"):
        library.voxel_grid(1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Recipe("best"), "recipe 'best': allowed are fast, paper"),
        (lambda: Recipe(dilate=-1), "dilate -1"),
        (lambda: Recipe(decimate=0), "decimate 0"),
        (lambda: Recipe(largest=0), "largest 0"),
        (lambda: Forms(labels="all"), "labels 'all': allowed are exact, published"),
        (lambda: Forms(grids=(64, 48)), r"grids \[48\]: allowed are 32, 64"),
        (lambda: Forms(seed=-1), "seed -1"),
    ],
)
def test_options_that_are_not_allowed_are_said(make, match):
    with pytest.raises(UsageError, match=match):
        make()


def test_a_volume_without_objects_or_without_those_asked_for_is_an_error(sample, tmp_path):
    with pytest.raises(MissingError, match="holds no object to keep"):
        made(HeldVolume(np.zeros((9, 9, 9), bool)), locate(tmp_path / "a"), plan())
    with pytest.raises(MissingError, match=r"has no object 99; it has \d+, 1 to \d+"):
        made(open_volume(sample), locate(tmp_path / "b"), plan(), ids=[1, 99])
    with pytest.raises(UsageError, match="has no voxel size"):
        made(HeldVolume(np.ones((9, 9, 9), bool), voxel_nm=None), locate(tmp_path / "c"), plan())


def test_a_sample_volume_is_the_same_in_blocks_and_for_every_size(sample):
    volume = SampleVolume(SHAPE, seed=1)
    values = volume.read(Box((0, 0, 0), SHAPE))
    np.testing.assert_array_equal(open_volume(sample).read(Box((0, 0, 0), SHAPE)), values)
    np.testing.assert_array_equal(volume.read(Box((20, 30, 40), (60, 70, 130))), values[20:60, 30:70, 40:])
    larger = SampleVolume((300, 300, 300), seed=1).read(Box((0, 0, 0), SHAPE))
    np.testing.assert_array_equal(larger, values)
    numbers = SampleVolume(SHAPE, seed=1, labelled=True).read(Box((0, 0, 0), SHAPE))
    np.testing.assert_array_equal(numbers > 0, values > 0)
    assert len(np.unique(numbers)) > 2
