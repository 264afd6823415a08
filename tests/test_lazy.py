"""Lazy images index as numpy's do, point by point too, and read the chunks that this takes and no other."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import small_library
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.request_log import round_trips
from small_library import IMAGES_SHAPE, built, made_records

import msl_store as msl

IDS = small_library.shown()[5:25:3]


@cache
def images_twice():
    """The images of some instances, as a library gives them and as numpy holds them: zeros where absent."""
    records = (made_records()[i].images for i in IDS)
    whole = np.stack([np.zeros(IMAGES_SHAPE, np.uint16) if images is None else images.counts for images in records])
    return msl.open(built()).select(ids=IDS).images, xr.DataArray(whole, dims=DIMS)


DIMS = ("instance", "microscope", "view", "y", "x")


def slices(extent):
    """Slices that leave something, where that can be: xarray itself fails on some empty ones."""
    return st.slices(extent).filter(lambda chosen: len(range(extent)[chosen]) > 0) if extent else st.just(slice(None))


@st.composite
def indexes(draw):
    """An index for each of some dimensions: alone as a slice, a list or a number, or together along one or two axes."""
    shape = (len(IDS), *IMAGES_SHAPE)
    joint = {name: draw(st.integers(0, 4)) for name in ("p", "q")}
    chosen = {}
    for dim, extent in zip(DIMS, shape, strict=True):
        axes = draw(st.sampled_from(["", "slice", "number", "p", "q", "pq", "qp", "p", "p"]))
        if axes == "slice":
            chosen[dim] = draw(slices(extent))
        elif axes == "number":
            chosen[dim] = draw(st.integers(-extent, extent - 1))
        elif axes:
            size = [joint[name] for name in axes]
            count = math.prod(size)
            flat = draw(st.lists(st.integers(-extent, extent - 1), min_size=count, max_size=count))
            chosen[dim] = xr.DataArray(np.array(flat, np.int64).reshape(size), dims=tuple(axes))
    return chosen


@given(indexes())
@settings(max_examples=100, deadline=None)
def test_images_index_point_by_point_as_numpy_does(chosen):
    images, whole = images_twice()
    found, expected = images.isel(chosen), whole.isel(chosen)
    assert found.dims == expected.dims
    np.testing.assert_array_equal(found.values, expected.values, strict=True)


@given(indexes(), st.data())
@settings(max_examples=50, deadline=None)
def test_points_of_points_are_read_as_numpy_does(chosen, data):
    images, whole = images_twice()
    found, expected = images.isel(chosen), whole.isel(chosen)
    again = {dim: data.draw(slices(extent)) for dim, extent in expected.sizes.items()}
    np.testing.assert_array_equal(found.isel(again).values, expected.isel(again).values, strict=True)


def test_a_point_outside_is_refused():
    images = msl.open(built()).images
    points = {"y": xr.DataArray([0, 128], dims="p"), "x": xr.DataArray([0, 0], dims="p")}
    with pytest.raises(IndexError, match="index 128 is out of bounds for axis 3"):
        images.isel(points).load()


@pytest.fixture
def distant(small_folder, web, delay_proxy):
    """The library on a server that cannot list, 100 ms away."""
    proxy = delay_proxy(web(small_folder.parent).url, delay_s=0.1)
    return f"{proxy.url}/{small_folder.name}", proxy


@pytest.fixture(scope="module")
def small_folder():
    """The folder of the small library."""
    return built()


def chunk_bytes(library, picks):
    """The sum of the stored sizes of some images, each counted once."""
    array = library.store.array("images/counts")
    rows = library.rows_of([i for i, _, _ in picks])
    places = {array.object_of((row, m, v, 0, 0)) for row, (_, m, v) in zip(rows.tolist(), picks, strict=True)}
    return sum(int(library.store.index(path)[number, 1]) for path, number in places)


def test_an_image_each_of_many_instances_is_what_is_fetched(distant, monkeypatch):
    """Nothing but the indexes of two shards and the chunks of the points: bytes and round trips are counted."""
    url, proxy = distant
    monkeypatch.setattr("msl_store.store.ranges.COALESCE_BYTES", 0)
    monkeypatch.setattr("msl_store.store.ranges.NEAR_BYTES", 0)
    library = msl.open(url)
    images = library.images  # reads the columns that say what is there
    rng = np.random.default_rng(3)
    there = [i for i in library.ids.tolist() if (r := made_records()[i].images) is not None and r.present.all()]
    picks = [(int(i), int(rng.integers(3)), int(rng.integers(6))) for i in rng.permutation(there)[:12]]
    picks += picks[:2]  # the same image twice is fetched once
    microscopes, views = images.microscope.values, images.view.values
    proxy.reset()
    found = images.sel(
        instance=xr.DataArray([i for i, _, _ in picks], dims="s"),
        microscope=xr.DataArray(microscopes[[m for _, m, _ in picks]], dims="s"),
        view=xr.DataArray(views[[v for _, _, v in picks]], dims="s"),
    )
    np.testing.assert_array_equal(found.values, [made_records()[i].images.counts[m, v] for i, m, v in picks])
    requests = proxy.requests()
    shards = {r.path for r in requests}
    assert {path.partition("/c/")[0].rpartition("/images/")[2] for path in shards} == {"counts"}
    index_bytes = library.store.array("images/counts").shard_index_bytes
    assert proxy.bytes() == len(shards) * index_bytes + chunk_bytes(library, picks)
    assert len(requests) <= len(shards) + len(set(picks))
    assert round_trips(requests) == 2


def test_pixels_of_one_image_take_one_chunk(distant):
    url, proxy = distant
    library = msl.open(url)
    images = library.images
    instance = next(i for i in library.ids.tolist() if (r := made_records()[i].images) is not None and r.present.all())
    proxy.reset()
    pixels = images.sel(instance=instance, microscope="conf2", view="y90").isel(
        y=xr.DataArray([3, 90, 3], dims="p"), x=xr.DataArray([127, 0, 5], dims="p")
    )
    expected = made_records()[instance].images.counts[1, 3]
    np.testing.assert_array_equal(pixels.values, expected[[3, 90, 3], [127, 0, 5]])
    assert len(proxy.requests()) == 2
