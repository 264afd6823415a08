"""An ingest that is killed and resumed makes the library that an undisturbed one makes."""

from __future__ import annotations

import random

import pytest
from benchmarks.kill_resume import clear, torment, undisturbed
from published_zip import instance_files, write_zip

from msl_store.schema import BLOCK
from msl_store.store import locate

INSTANCES = 2 * BLOCK + 2


@pytest.fixture(scope="module")
def zips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zips")
    parts = {"part1.zip": range(1, 80), "part2.zip": range(80, INSTANCES + 1)}
    return [write_zip(folder / name, {n: instance_files(n) for n in numbers}) for name, numbers in parts.items()]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", ["folder", "S3"])
def test_five_kills_leave_no_trace(place, zips, tmp_path, bucket):
    url, options = (str(tmp_path / "library.zarr"), {}) if place == "folder" else (bucket.url, bucket.storage_options)
    target = locate(url, options)
    expected, duration_s, blocks = undisturbed(zips, target)
    assert blocks == 3
    clear(target)
    rng = random.Random(place)
    trial = torment(zips, target, expected, kills=5, duration_s=duration_s, blocks=blocks, rng=rng)
    assert trial.wrong == []
    assert len(trial.kills) == 5
    assert trial.libraries >= 1
