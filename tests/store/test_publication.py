"""A library appears whole or not at all, is written by one run at a time, and outlives the death of that run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from mortal import Death, Mortal, bury, changes_of, claims, dead_pid
from tiny_edition import INSTANCES, check_is_whole, publication, stored, write, write_block

import msl_store as msl
from msl_store.errors import BusyError, FormatError, MissingError, UsageError
from msl_store.store import Objects
from msl_store.store.claims import CLAIMS, SILENCE_S


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request, tmp_path):
    """A fresh place that takes writes."""
    if request.param == "disk":
        return Objects(str(tmp_path / "lib.zarr"))
    if request.param == "memory":
        return Objects(f"memory://{tmp_path.name}/lib.zarr")
    bucket = request.getfixturevalue("bucket")
    return Objects(f"{bucket.url}/lib.zarr", bucket.storage_options)


@pytest.fixture
def disk(tmp_path):
    """A fresh folder."""
    return Objects(str(tmp_path / "lib.zarr"))


def test_a_second_run_finds_it_published_and_writes_nothing(place):
    assert write(place) == "new"
    before = stored(place)
    assert not any(path.startswith("_unpublished") for path in before)
    assert write(place) == "published"
    assert stored(place) == before


def test_a_second_run_touches_no_file(disk):
    write(disk)
    times = {path: path.stat().st_mtime_ns for path in disk.path.rglob("*")}
    assert write(disk) == "published"
    assert {path: path.stat().st_mtime_ns for path in disk.path.rglob("*")} == times


def test_another_source_is_refused_and_overwrites_when_told(place):
    write(place)
    before = stored(place)
    with pytest.raises(UsageError, match=r"made from something else \(made of a, a\); .* pass --overwrite to replace"):
        write(place, source="b")
    assert stored(place) == before
    assert write(place, source="b", instances=3, overwrite=True) == "new"
    assert {path for path in stored(place) if "/c/1/" in path} == set()
    if place.storage_options == {}:
        check_is_whole(place.url, "b", 3)


def test_an_unfinished_library_of_another_plan_is_refused(place):
    with pytest.raises(KeyboardInterrupt), publication(place).claimed():
        raise KeyboardInterrupt
    with pytest.raises(
        UsageError, match=r"an unfinished library with another plan is here \(changed: digest, source\)"
    ):
        write(place, source="b")
    assert write(place) == "resumed"


def test_finished_blocks_are_not_written_again(disk):
    with publication(disk).claimed():
        write_block(publication(disk), 1, "a")
    time_before = (disk.path / "images/counts/c/1/0/0/0/0").stat().st_mtime_ns
    assert publication(disk).finished_blocks() == {1}
    assert write(disk) == "resumed"
    assert (disk.path / "images/counts/c/1/0/0/0/0").stat().st_mtime_ns == time_before
    check_is_whole(disk.url)


def test_a_root_document_that_is_no_json_is_not_overwritten(disk):
    disk.put("zarr.json", b"something of someone's")
    with pytest.raises(FormatError, match="remove it or choose another target"):
        write(disk)
    assert disk.get("zarr.json") == b"something of someone's"


def test_a_web_server_is_no_target(tmp_path, web):
    with pytest.raises(UsageError, match="a web server cannot list its files"):
        write(Objects(f"{web(tmp_path).url}/lib.zarr"))


def test_columns_of_another_length_are_refused(disk):
    this = publication(disk)
    columns = {spec.path: np.zeros(3) for spec in this.layout.arrays}
    with pytest.raises(ValueError, match=r"instances/id: has shape \(3,\), the layout \(70,\)"), this.claimed():
        this.publish(columns, {}, {})
    with pytest.raises(MissingError, match="this library is not finished"):
        msl.open(disk.url)


# --- claims


def claim(objects, **changes):
    """Leave a claim as another run would."""
    mine = {"run": "x", "host": socket.gethostname(), "pid": os.getpid(), "beat": time.time(), "released": False}
    objects.put(f"{CLAIMS}/000001.json", json.dumps({**mine, **changes}).encode())


def test_one_run_at_a_time(place):
    with publication(place).claimed():
        with pytest.raises(
            BusyError, match=rf"process {os.getpid()} on .* is writing here \(last sign of life \d+ s ago"
        ):
            write(place)
        with pytest.raises(BusyError, match=f"stop it and run this again after {SILENCE_S:.0f} s"):
            write(place, overwrite=True)
    assert write(place) == "resumed"


@pytest.mark.parametrize("left", [{"pid": "dead"}, {"released": True}, {"host": "elsewhere", "beat": 0}])
def test_a_dead_run_is_followed(place, left):
    claim(place, **{**left, **({"pid": dead_pid()} if left.get("pid") else {})})
    assert write(place) == "new"


@pytest.mark.parametrize("silent_s", [0, SILENCE_S - 10])
def test_a_run_on_another_machine_is_left_alone_until_it_is_silent(place, silent_s):
    claim(place, host="elsewhere", pid=dead_pid(), beat=time.time() - silent_s)
    with pytest.raises(BusyError, match=r"on elsewhere is writing here \(last sign of life (0|5\d) s ago\)"):
        write(place)
    claim(place, host="elsewhere", pid=dead_pid(), beat=time.time() - SILENCE_S - 1)
    assert write(place) == "new"


@pytest.mark.parametrize("left", [{}, {"pid": "dead"}])
def test_of_runs_that_come_at_once_one_gets_the_target(place, left):
    if left:
        claim(place, pid=dead_pid())
    barrier, release = threading.Barrier(6), threading.Event()
    outcomes = []

    def run():
        mine = publication(Objects(place.url, place.storage_options))
        barrier.wait()
        try:
            with mine.claimed():
                outcomes.append("mine")
                release.wait(30)
        except BusyError:
            outcomes.append("busy")
        if len(outcomes) == 6:
            release.set()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(outcomes) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy"] * 5 + ["mine"]


def test_a_run_says_that_it_is_alive(disk, monkeypatch):
    monkeypatch.setattr("msl_store.store.claims.BEAT_S", 0.01)
    with publication(disk).claimed():
        beats = set()
        deadline = time.monotonic() + 30
        while len(beats) < 3 and time.monotonic() < deadline:
            beats |= {document["beat"] for document in claims(disk).values()}
    assert len(beats) >= 3
    assert [document["released"] for document in claims(disk).values()] == [True]


# --- death at any moment


def test_death_at_any_write_leaves_nothing_that_opens_and_the_next_run_finishes(tmp_path):
    reference = Objects(str(tmp_path / "reference.zarr"))
    count = changes_of(write, reference.url)
    assert count > 25
    states, opened = set(), []
    for changes in range(count):
        target = Objects(str(tmp_path / f"{changes}.zarr"))
        with pytest.raises(Death):
            write(Mortal(target.url, changes=changes))
        try:
            msl.open(target.url)
        except MissingError:
            opened.append(False)
        else:
            opened.append(True)
            check_is_whole(target.url)
        bury(target)
        states.add(write(target))
        assert stored(target) == stored(reference), f"died after {changes} changes"
    assert states == {"new", "resumed", "published"}
    assert opened == sorted(opened)
    assert 0 < sum(opened) < count


def test_death_at_any_moment_of_a_replacement_never_mixes_the_two(tmp_path):
    reference = Objects(str(tmp_path / "reference.zarr"))
    write(reference, source="b", instances=66)
    base = tmp_path / "base.zarr"
    write(Objects(str(base)))

    def copy(name):
        return Objects(str(shutil.copytree(base, tmp_path / name)))

    count = changes_of(lambda objects: write(objects, source="b", instances=66, overwrite=True), copy("whole.zarr").url)
    for changes in range(count):
        target = copy(f"{changes}.zarr")
        with pytest.raises(Death):
            write(Mortal(target.url, changes=changes), source="b", instances=66, overwrite=True)
        try:
            source = msl.open(target.url).attributes["source"]
        except MissingError:
            source = ""
        else:
            check_is_whole(target.url, source, {"a": INSTANCES, "b": 66}[source])
        bury(target)
        write(target, source="b", instances=66, overwrite=source == "a" or changes % 2 == 0)
        assert stored(target) == stored(reference), f"died after {changes} changes"


def test_objects_of_something_else_are_refused_and_stay(place):
    place.put("images/holiday.jpg", b"sea")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"objects of something else \(images/holiday\.jpg\)"):
            write(place, overwrite=overwrite)
    assert bytes(place.get("images/holiday.jpg")) == b"sea"


def test_a_library_is_not_written_among_the_files_of_a_folder(disk):
    disk.put("notes/thesis.txt", b"mine")
    with pytest.raises(UsageError, match=r"lib.zarr: holds objects of something else \(notes\); choose a place of its"):
        write(disk)
    assert sorted(path.name for path in disk.path.iterdir() if not path.name.startswith("_")) == ["notes"]


def test_no_empty_folder_stays_behind(disk):
    write(disk)
    write(disk, source="b", instances=3, overwrite=True)
    empty = [path for path in disk.path.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert empty == []
    assert not (disk.path / "_unpublished").exists()


def test_half_a_file_of_a_killed_writer_is_gone_in_the_end(disk):
    with pytest.raises(Death):
        write(Mortal(disk.url, changes=4))
    (disk.path / "images/counts/c/1/0/0/0").mkdir(parents=True)
    (disk.path / "images/counts/c/1/0/0/0/0#1").write_bytes(b"half")
    bury(disk)
    write(disk)
    assert not list(disk.path.rglob("*#*"))
    check_is_whole(disk.url)
