"""A library read on the other side of a fork or a spawn gives the same values."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import small_library
from child_process import forked, spawned
from small_library import WHOLE, sums

import msl_store as msl
from msl_store.store.filesystems import FsspecBackend
from msl_store.store.object_stores import ObstoreBackend


@pytest.fixture(params=["disk", "web server", "bucket", "zip"])
def library(request, small, web, tmp_path):
    """The small library at each kind of place that another process reaches too."""
    if request.param == "disk":
        return msl.open(small)
    if request.param == "web server":
        return msl.open(f"{web(small.parent).url}/{small.name}")
    if request.param == "zip":
        return msl.open(shutil.make_archive(str(tmp_path / "lib"), "zip", small))
    bucket, upload = request.getfixturevalue("bucket"), request.getfixturevalue("upload")
    return msl.open(upload(small), bucket.storage_options)


IDS = [WHOLE, small_library.instance_of(0), small_library.instance_of(65)]


def test_a_forked_child_reads_what_its_parent_reads(library):
    expected = sums(library, IDS)

    def work():
        return sums(library, IDS), type(library.store.objects._backend).__name__, os.getpid()

    found, backend, pid = forked(work)
    assert found == expected
    assert pid != os.getpid()
    if not library.url.endswith(".zip"):
        assert isinstance(library.store.objects._backend, ObstoreBackend)
        assert backend == FsspecBackend.__name__
    assert sums(library, IDS) == expected


def test_a_child_that_is_forked_before_the_parent_reads(library):
    assert forked(lambda: sums(library, IDS)) == sums(library, IDS)


def test_a_forked_child_writes(tmp_path):
    record = small_library.made_record(7)
    small_library.build([record], tmp_path / "parent.zarr")
    forked(lambda: bool(small_library.build([record], tmp_path / "child.zarr")))
    ours, theirs = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "parent.zarr", tmp_path / "child.zarr")
    )
    assert ours == theirs


def test_a_spawned_process_reads_what_it_is_sent(library):
    subset = library.select(ids=IDS)
    assert spawned(sums, subset, IDS) == sums(subset, IDS)


def test_dask_workers_read_the_lazy_images(library, client):
    images = library.images.sel(instance=IDS).chunk({"instance": 1})
    total = images.sum(("view", "y", "x")).compute()
    np.testing.assert_array_equal(total, library.images.sel(instance=IDS).sum(("view", "y", "x")))


OPENED_BY_THREADS = """
import sys, threading
from msl_store.errors import MSLError
from msl_store.store import locate

sys.setswitchinterval(1e-6)
start, found = threading.Barrier(8), []

def look(number):
    start.wait()
    try:
        locate(["/no/such/folder", "s3://bucket/lib", "http://127.0.0.1:9/lib", "memory://lib"][number % 4]).size("x")
    except MSLError as error:
        found.append(type(error).__name__)

threads = [threading.Thread(target=look, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(found))
"""


def test_threads_of_a_new_process_open_different_places_at_once():
    keys = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    command = [sys.executable, "-c", OPENED_BY_THREADS]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100, env={**os.environ, **keys})
    assert (ran.stdout, ran.stderr) == ("8\n", "")
