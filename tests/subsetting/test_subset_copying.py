"""Subsets are copied from anywhere to anywhere, in few requests, their size said beforehand."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_library import WHOLE, built
from subsets import SHOWN, assert_reads_alike, taken_to
from tiny_edition import stored

import msl_store as msl
from msl_store import schema
from msl_store.extract import extract, stored_size
from msl_store.store import locate


@pytest.mark.parametrize(
    ("source", "target"), [("disk", "memory"), ("disk", "s3"), ("zip", "disk"), ("web", "disk"), ("s3", "s3")]
)
def test_from_anywhere_to_anywhere(source, target, library, tmp_path, request):
    url, options = str(built()), {}
    if source == "zip":
        url = shutil.make_archive(str(tmp_path / "lib"), "zip", built())
    elif source == "web":
        url = f"{request.getfixturevalue('web')(built().parent).url}/{built().name}"
    elif source == "s3":
        bucket = request.getfixturevalue("bucket")
        url, options = f"{bucket.url}/source.zarr", bucket.storage_options
        for path, data in stored(locate(built())).items():
            locate(url, options).put(path, data)
    place, place_options = str(tmp_path / "subset.zarr"), {}
    if target == "memory":
        place = f"memory://{tmp_path.name}/subset.zarr"
    elif target == "s3":
        bucket = request.getfixturevalue("bucket")
        place, place_options = f"{bucket.url}/subset.zarr", bucket.storage_options
    ids = [WHOLE, SHOWN[-1], SHOWN[0]]
    done = msl.subset(msl.open(url, options), place, place_options, ids=ids)
    assert (done.state, done.instances) == ("new", 3)
    subset = msl.open(place, place_options)
    assert_reads_alike(subset, library.select(ids=ids))
    assert subset.digest == done.digest


def test_a_cluster_copies(library, folder, client):
    subset_url = folder / "cluster.zarr"
    msl.subset(library, subset_url, ids=SHOWN, arrays=["mesh", "occupancy"], scheduler=client)
    alone = taken_to(folder / "alone.zarr", library, ids=SHOWN, arrays=["mesh", "occupancy"])
    assert stored(locate(subset_url)) == stored(locate(alone.url))


def test_a_remote_block_takes_few_round_trips(folder, web, delay_proxy):
    """The indexes of all shards together, then the chunks: latency is paid per block, not per chunk."""
    from servers.request_log import round_trips

    proxy = delay_proxy(web(built().parent).url, delay_s=0.1)
    library = msl.open(f"{proxy.url}/{built().name}")
    taken_to(folder / "far.zarr", library, first=60)
    requests = proxy.requests()
    assert round_trips(requests) <= 5  # the root, columns, indexes, what is stored a block, chunks
    assert {r.method for r in requests} == {"GET"}
    paths = [(r.path, r.range) for r in requests]
    assert len(paths) == len(set(paths))


def test_the_size_is_that_of_the_chunks(library):
    for choice in ({}, {"arrays": ["mesh", "images:epi1"], "views": ["z90"]}, {"arrays": ["point_cloud/points"]}):
        taken = extract(library.select(ids=SHOWN[::3]), **choice)
        expected = dict.fromkeys(taken.of_kind("rows", "ragged"), 0)
        for path in expected:
            for place in np.flatnonzero(taken.has(path)).tolist():
                pieces = taken.store.pieces(taken.want(path, place))
                assert taken.store.learn(pieces) == {}
                expected[path] += sum(b - a for a, b in map(taken.store.range_of, pieces))
        size = stored_size(taken)
        assert (size.by_array, size.exact) == (expected, True)
        assert size.stored_bytes == sum(expected.values()) > 0


def test_the_size_of_many_blocks_is_estimated_from_some(monkeypatch):
    library = msl.open(built())
    exact = stored_size(extract(library))
    monkeypatch.setattr("msl_store.extract.SIZED_BLOCKS", 1)
    estimated = stored_size(extract(msl.open(built())))
    first = int((library.rows_of(library.ids) < schema.BLOCK).sum())
    in_first = stored_size(extract(library.select(first=first)))
    assert exact.exact
    assert not estimated.exact
    for path, size in estimated.by_array.items():
        assert size == round(in_first.by_array[path] * len(library) / first)


def test_progress_tells_the_size_before_anything_is_written(library, folder):
    told = []
    shutil.rmtree(folder / "told.zarr", ignore_errors=True)
    done = msl.subset(library, folder / "told.zarr", scheduler="synchronous", progress=told.append)
    assert [state.blocks for state in told] == [0, 1, 2]
    assert [state.instances for state in told] in ([0, 64, len(library)], [0, len(library) - 64, len(library)])
    assert (told[0].stored_bytes, told[0].size.exact) == (0, True)
    assert told[-1].stored_bytes == done.stored_bytes > told[0].size.stored_bytes
    assert msl.subset(library, folder / "told.zarr").state == "published"
