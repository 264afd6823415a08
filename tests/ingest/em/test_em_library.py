"""A segmentation becomes the same library whatever the blocks, the scheduler and the interruptions."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from held_volume import HeldVolume
from hypothesis import given, settings
from hypothesis import strategies as st

import msl_store as msl
from ingest.em.library import Plan, ingest_volume, prepare
from ingest.em.meshing import Meshing, Recipe
from ingest.em.objects import Segmentation
from ingest.em.opening import open_volume
from ingest.em.source import Forms
from ingest.em.synthetic import SampleVolume, write_sample_volume
from ingest.em.volume import Box
from ingest.verify import verify
from msl_store import schema
from msl_store.errors import BusyError, IntegrityError, MissingError, UsageError
from msl_store.store import held, locate
from msl_store.subsetting import subset
from msl_store.verification import verify as check

pytest.importorskip("cc3d")
pytest.importorskip("fill_voids")

SHAPE = (110, 120, 130)
PLAIN = Forms(sdf=False, images=False)
"""What tells libraries apart most quickly."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A made-up volume on the disk, with seven objects, cut into blocks of 64."""
    folder = tmp_path_factory.mktemp("volume") / "sample.zarr"
    write_sample_volume(locate(folder), SHAPE, seed=1, scheduler="synchronous")
    return folder


def plan(forms=PLAIN, *, block=64, recipe=None, dust=100, **segmentation):
    return Plan(Segmentation(block=block, dust=dust, **segmentation), recipe or Recipe(), forms)


def made(volume, target, plan, **options):
    """The library of a volume."""
    options = {"scheduler": "synchronous", **options}
    report = ingest_volume(volume, target, plan, **options)
    return report, msl.open(target.url, target.storage_options)


def digests(library):
    return {i: library.stored_digest(i).tobytes() for i in library.with_set_aside().ids.tolist()}


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


def test_a_second_run_has_nothing_to_do_and_another_plan_is_refused(sample, tmp_path):
    target = locate(tmp_path / "lib.zarr")
    made(open_volume(sample), target, plan(), limit=2)
    assert not [path for path, _ in target.list("_unpublished")]
    report, _ = made(open_volume(sample), target, plan(block=128), limit=2)
    assert (report.state, report.instances) == ("published", 2)
    with pytest.raises(UsageError, match="holds a library made from something else"):
        made(open_volume(sample), target, plan(dust=300), limit=2)
    report, library = made(open_volume(sample), target, plan(dust=300), limit=3, overwrite=True)
    assert (report.state, len(library)) == ("new", 3)


def test_blocks_and_schedulers_change_nothing(sample, tmp_path):
    found = []
    for number, (block, scheduler) in enumerate([(64, "synchronous"), (128, "threads"), (40, "threads")]):
        work = locate(tmp_path / f"work-{number}")
        source, _ = prepare(open_volume(sample), work, plan(block=block), scheduler=scheduler)
        found.append(source.listing().entries)
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 6


def test_a_cluster_makes_the_same_library_from_s3_to_s3(sample, tmp_path, bucket, client):
    there = locate(bucket.url, bucket.storage_options)
    for path in sample.rglob("*"):
        if path.is_file():
            there.put(f"sample.zarr/{path.relative_to(sample).as_posix()}", path.read_bytes())
    volume = open_volume(f"{bucket.url}/sample.zarr", bucket.storage_options)
    target = locate(f"{bucket.url}/lib.zarr", bucket.storage_options)
    _, library = made(volume, target, plan(), scheduler=client, limit=3)
    _, alone = made(open_volume(sample), locate(tmp_path / "lib.zarr"), plan(), limit=3)
    assert digests(library) == digests(alone)
    assert [path for path, _ in target.list("_unpublished") if not path.endswith(".json")] == []


class StoppedError(Exception):
    """A run is stopped."""


@pytest.mark.parametrize("stage", ["volume", "labels", "joins", "meshes", "library"])
def test_a_run_that_was_stopped_goes_on_where_it_was(stage, sample, tmp_path):
    options = {"limit": 3, "plan": plan(downsample=(1, 2, 2)), "scheduler": "synchronous"}
    expected = made(open_volume(sample), locate(tmp_path / "whole.zarr"), **options)[1]
    target = locate(tmp_path / "lib.zarr")
    for stop in itertools.count(1):

        def interrupted(name, done, everything, stop=stop):
            if name == stage and done >= min(stop, everything):
                raise StoppedError

        with pytest.raises(StoppedError):
            ingest_volume(open_volume(sample), target, progress=interrupted, **options)
        with pytest.raises(MissingError, match=r"no library here|not finished"):
            msl.open(target.url)
        if stop == 2:
            break
    calls = []
    made(open_volume(sample), target, **options, progress=lambda *state: calls.append(state))
    first = next(done for name, done, _ in calls if name == stage)
    assert first >= (1 if stage in {"volume", "labels", "meshes"} else 0)
    assert digests(msl.open(target.url)) == digests(expected)


def test_slices_become_the_same_library_as_chunks(sample, tmp_path):
    import tifffile

    values = open_volume(sample).read(Box((0, 0, 0), SHAPE))
    (tmp_path / "slices").mkdir()
    for z, plane in enumerate(values):
        tifffile.imwrite(tmp_path / "slices" / f"{z}.tif", plane, compression="zlib")
    own = Plan(Segmentation(block=64, dust=100), Recipe(), PLAIN, (24, 24, 24))
    stages = set()
    _, library = made(
        open_volume(tmp_path / "slices"),
        locate(tmp_path / "slices.zarr"),
        own,
        limit=3,
        progress=lambda *state: stages.add(state[0]),
    )
    _, expected = made(open_volume(sample), locate(tmp_path / "chunks.zarr"), plan(), limit=3)
    assert digests(library) == digests(expected)
    assert stages == {"volume", "labels", "joins", "meshes", "library"}


def test_decimation_keeps_the_shape_with_fewer_faces(tmp_path):
    values = np.zeros((40, 40, 40), bool)
    values[8:30, 8:30, 8:24] = True
    _, one = made(HeldVolume(values), locate(tmp_path / "one"), plan())
    _, few = made(HeldVolume(values), locate(tmp_path / "few"), plan(recipe=Recipe(decimate=0.25)))
    assert len(few.mesh(1).faces) == pytest.approx(len(one.mesh(1).faces) / 4, rel=0.1)
    assert float(few.table.volume_um3[0]) == pytest.approx(float(one.table.volume_um3[0]), rel=0.01)
    assert few.table.watertight.values.all()


def test_two_runs_at_one_target_refuse(sample, tmp_path):
    target = locate(tmp_path / "lib.zarr")
    with held(locate(f"{target.url}/_unpublished/em")), pytest.raises(BusyError, match="is writing here"):
        made(open_volume(sample), target, plan())


def test_a_place_of_something_else_is_refused_before_any_work(sample, tmp_path):
    target = locate(tmp_path / "lib.zarr")
    target.put("mesh/foreign", b"")
    calls = []
    with pytest.raises(UsageError, match="holds objects of something else"):
        made(open_volume(sample), target, plan(), progress=lambda *state: calls.append(state))
    assert calls == []


def test_what_cannot_be_meshed_is_set_aside_with_its_reason(tmp_path):
    values = np.zeros((60, 60, 60), bool)
    values[5:25, 5:25, 5:25] = True
    values[40, 2:58, 2:58] = True  # one voxel thick: the fast recipe smooths it away
    values[45:60, 3:55, 3:55] = True  # larger than allowed
    report, library = made(
        HeldVolume(values), locate(tmp_path / "lib.zarr"), plan(recipe=Recipe(largest=30_000), dust=100)
    )
    assert (report.complete, report.set_aside) == (1, 2)
    assert library.ids.tolist() == [1]
    reasons = {finding["instance"]: finding for finding in library.findings}
    assert "no surface" in reasons[2]["reason"]
    assert "its crop has 59584 voxels, and 30000 are allowed" in reasons[3]["reason"]
    assert reasons[3]["place"] == "held: object 3"
    assert library.with_set_aside().table.voxel_count.values.tolist() == [8000, 56 * 56, 15 * 52 * 52]


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


def test_a_mesh_does_not_depend_on_its_neighbours_or_its_place(tmp_path):
    alone = np.zeros((50, 50, 50), bool)
    alone[8:24, 8:24, 8:20] = True
    shifted = np.zeros((70, 60, 90), bool)
    shifted[20:36, 30:46, 50:62] = True
    shifted[20:36, 30:46, 64:80] = True
    _, one = made(HeldVolume(alone), locate(tmp_path / "one"), plan())
    _, two = made(HeldVolume(shifted), locate(tmp_path / "two"), plan())
    np.testing.assert_array_equal(one.mesh(1).vertices, two.mesh(1).vertices)
    np.testing.assert_array_equal(one.mesh(1).faces, two.mesh(1).faces)
    origins = [[float(lib.table[f"origin_{a}_um"][0]) for a in range(3)] for lib in (one, two)]
    np.testing.assert_allclose(np.subtract(*origins[::-1]), np.array([12, 22, 42]) * 0.024, atol=1e-12)


def test_dilation_is_by_a_centred_ball_and_voids_are_filled(tmp_path):
    grid = np.stack(np.meshgrid(*[np.arange(50.0)] * 3, indexing="ij"), axis=-1)
    from_middle = np.linalg.norm(grid - 24.5, axis=-1)
    values = (from_middle < 12) & (from_middle > 6)
    volumes = {}
    for name, recipe in {
        "hollow": Recipe(fill=False),
        "full": Recipe(),
        "grown": Recipe(dilate=3.0),
    }.items():
        _, library = made(HeldVolume(values), locate(tmp_path / name), plan(recipe=recipe))
        volumes[name] = float(library.table.volume_um3[0]) / 0.024**3
        middle = library.mesh(1).box()[0] - np.array([float(library.mesh(1).box()[1]) / 2] * 3)
        assert np.ptp(middle) < 1e-3
    ball = 4 / 3 * np.pi
    assert volumes["full"] - volumes["hollow"] == pytest.approx(ball * 6**3, rel=0.1)
    assert volumes["full"] == pytest.approx(ball * 12**3, rel=0.03)
    assert volumes["grown"] == pytest.approx(ball * 15**3, rel=0.06)


MASKS = st.builds(
    lambda shape, seed, share: np.random.default_rng(seed).random(shape) < share,
    st.tuples(*[st.integers(1, 7)] * 3),
    st.integers(0, 2**32),
    st.sampled_from([0.01, 0.05, 0.3]),
)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.floats(0.5, 4), st.tuples(*[st.sampled_from([1.0, 1.5, 3.0])] * 3))
def test_dilation_reaches_what_is_no_farther_than_the_radius(mask, radius, edges):
    meshing = Meshing(Recipe(dilate=radius, fill=False), edges)
    padded = np.pad(mask, [(m, m) for m in meshing.margin()])
    own = np.argwhere(padded) * meshing.proportions
    every = np.argwhere(np.ones_like(padded)) * meshing.proportions
    nearest = np.full(len(every), np.inf)
    for point in own:
        nearest = np.minimum(nearest, np.linalg.norm(every - point, axis=1))
    clear = np.abs(nearest - radius) > 1e-9
    found = meshing.solid(padded) if mask.any() else padded
    np.testing.assert_array_equal(found.ravel()[clear], (nearest <= radius)[clear])
    assert not any(found.take([0, -1], axis=axis).any() for axis in range(3))


def test_labels_that_change_under_a_run_are_an_error(sample, tmp_path):
    work = locate(tmp_path / "work")
    prepare(open_volume(sample), work, plan(), limit=1, scheduler="synchronous")
    for path, _ in work.list():
        if "/c/" in path:
            work.delete(path)
    with pytest.raises(IntegrityError, match="the work place has changed since the volume was labelled"):
        prepare(open_volume(sample), work, plan(), limit=2, scheduler="synchronous")


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
