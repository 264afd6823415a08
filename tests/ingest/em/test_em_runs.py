"""Making a library of a segmentation: the same one whatever the blocks, the scheduler and the interruptions."""

from __future__ import annotations

import itertools

import pytest
from em_made import PLAIN, SHAPE, digests, made, plan

import msl_store as msl
from ingest.em.library import Plan, ingest_volume, prepare
from ingest.em.meshing import Recipe
from ingest.em.objects import Segmentation
from ingest.em.opening import open_volume
from ingest.em.volume import Box
from msl_store.errors import BusyError, IntegrityError, MissingError, UsageError
from msl_store.store import held, locate

pytest.importorskip("cc3d")
pytest.importorskip("fill_voids")


class StoppedError(Exception):
    """A run is stopped."""


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


def test_labels_that_change_under_a_run_are_an_error(sample, tmp_path):
    work = locate(tmp_path / "work")
    prepare(open_volume(sample), work, plan(), limit=1, scheduler="synchronous")
    for path, _ in work.list():
        if "/c/" in path:
            work.delete(path)
    with pytest.raises(IntegrityError, match="the work place has changed since the volume was labelled"):
        prepare(open_volume(sample), work, plan(), limit=2, scheduler="synchronous")
