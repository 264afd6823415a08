"""What is read is what was written: by any index, through other libraries too, and never wrong in silence."""

from __future__ import annotations

import shutil
from functools import cache

import numpy as np
import pytest
import small_library
import tensorstore
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.request_log import round_trips
from small_library import WHOLE, assert_same, contents, made_records, record_of

import msl_store as msl
from msl_store import schema
from msl_store.errors import IntegrityError, MissingError, UsageError
from msl_store.store import Want, locate, open_store

SPECS = {spec.path: spec for spec in schema.ARRAYS}
SPARSE = [path for path, spec in SPECS.items() if spec.kind == "ragged"]

HAS = {
    "point_cloud/points": "has_point_cloud",
    "point_cloud/normals": "has_normals",
    "occupancy/points": "has_occupancy",
    "occupancy/inside_bits": "has_occupancy",
    "occupancy/loc": "has_occupancy",
    "occupancy/scale": "has_occupancy",
}


@cache
def by_zarr(path):
    """A whole array as zarr-python reads it."""
    return zarr.open_group(small_library.built(), mode="r")[path][...]


def test_records_come_back_as_they_were(small):
    found = contents(msl.open(small))
    assert list(found) == list(made_records())
    for instance, record in made_records().items():
        assert_same(found[instance], record)


@pytest.mark.parametrize("path", sorted(set(SPECS) - set(SPARSE)))
def test_zarr_reads_the_same_values(small, path):
    lib = msl.open(small).with_set_aside()
    group, _, name = path.partition("/")
    if path in {"instances/id", "instances/findings"}:
        (found,) = lib.store.read([Want(path)])
    else:
        found = lib.tree[group][name].values
    has = HAS.get(path)
    there = slice(None) if has is None else by_zarr(f"instances/{has}")
    np.testing.assert_array_equal(found[there], by_zarr(path)[there])
    if has is not None and found.dtype.kind == "f":
        assert np.isnan(found[~there]).all()


@pytest.mark.parametrize("path", SPARSE)
def test_zarr_reads_the_same_meshes(small, path):
    store = open_store(small)
    dim = SPECS[path].dims[0]
    for start, count in zip(by_zarr(f"mesh/{dim}_start"), by_zarr(f"mesh/{dim}_count"), strict=True):
        (found,) = store.read([Want(path, (slice(start, start + count),))])
        np.testing.assert_array_equal(found, by_zarr(path)[start : start + count])


@pytest.mark.parametrize("path", sorted(path for path, spec in SPECS.items() if spec.kind == "rows"))
def test_tensorstore_reads_the_same_values(small, path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{small}/{path}/"}}
    array = tensorstore.open(spec, read=True).result()
    row = list(made_records()).index(WHOLE)
    (found,) = open_store(small).read([Want(path, (slice(row, row + 1),))])
    np.testing.assert_array_equal(found, array[row : row + 1].read().result())


@pytest.mark.parametrize("group", sorted({spec.group for spec in schema.ARRAYS}))
def test_xarray_opens_every_group_with_its_dims(small, group):
    data = xr.open_zarr(small, group=group, consolidated=True)
    expected = {spec.path.partition("/")[2]: spec.dims for spec in schema.ARRAYS if spec.group == group}
    assert {str(name): variable.dims for name, variable in data.variables.items()} == expected
    assert all(variable.attrs["units"] for variable in data.variables.values())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_index_reads_what_numpy_would(data):
    path = data.draw(st.sampled_from(["occupancy/inside_bits", "images/counts", "mesh/vertices", "occupancy/loc"]))
    store = open_store(small_library.built())
    array = store.array(path)
    has = by_zarr("images/present") if path == "images/counts" else None
    index = []
    for axis, extent in enumerate(array.shape):
        allowed = range(extent)
        if path.startswith("occupancy/") and axis == 0:
            allowed = np.flatnonzero(by_zarr("instances/has_occupancy")).tolist()
        elif path == "mesh/vertices" and axis == 0:
            allowed = range(SPECS[path].chunk[0])  # the first instance's
        if data.draw(st.booleans()) and len(allowed) == extent:
            start = data.draw(st.integers(0, extent - 1))
            index.append(
                slice(start, data.draw(st.integers(start, min(extent, start + 40))), data.draw(st.integers(1, 3)))
            )
        else:
            index.append(np.array(data.draw(st.lists(st.sampled_from(allowed), min_size=0, max_size=6)), np.int64))
    (found,) = store.read([Want(path, tuple(index), has)])
    whole = [np.arange(extent)[i] for extent, i in zip(array.shape, index, strict=True)]
    np.testing.assert_array_equal(found, by_zarr(path)[np.ix_(*whole)], strict=True)


def test_an_index_beyond_the_array_is_refused(small):
    with pytest.raises(UsageError, match=r"occupancy/scale: instance 70 is out of range; allowed: 0 to 69"):
        open_store(small).read([Want("occupancy/scale", (np.array([3, 70]),))])


def test_an_array_that_is_not_there_is_named_with_those_that_are(small):
    with pytest.raises(MissingError, match=r"has no array mesh/colours; it has mesh/face_count, "):
        open_store(small).read([Want("mesh/colours")])


# --- what is damaged or missing


def instance_objects(folder):
    """The stored objects that hold data of `WHOLE`, which lies in block 0."""
    return [
        folder / f"{path}/c/0{'/0' * (len(spec.dims) - 1)}" for path, spec in SPECS.items() if spec.kind != "column"
    ]


@pytest.mark.parametrize("number", range(len([spec for spec in schema.ARRAYS if spec.kind != "column"])))
def test_a_deleted_object_of_a_present_part_is_named(spoiled, number):
    path = instance_objects(spoiled)[number]
    path.unlink()
    with pytest.raises(IntegrityError, match=rf"{path.relative_to(spoiled).as_posix()}: chunk \d+ is missing"):
        msl.open(spoiled).instance(WHOLE)


def test_a_chunk_that_the_index_lacks_is_named(spoiled):
    from msl_store.store.sharding import decode_index, encode_shard, index_bytes

    path = spoiled / "images/counts/c/0/0/0/0/0"
    data = path.read_bytes()
    index = decode_index(memoryview(data)[: index_bytes([64 * 18])], "here")
    chunks = [None if start == 2**64 - 1 else data[int(start) : int(start + length)] for start, length in index]
    row = list(made_records()).index(WHOLE)
    chunks[18 * row + 1] = None
    path.write_bytes(encode_shard(chunks))
    library = msl.open(spoiled)
    with pytest.raises(IntegrityError, match=f"images/counts/c/0/0/0/0/0: chunk {18 * row + 1} is missing"):
        library.instance(WHOLE)
    other = list(made_records())[row + 3]
    np.testing.assert_array_equal(library.instance(other).images, made_records()[other].images.counts)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_flipped_bit_is_an_error_or_touches_someone_else(flipped, data):
    path = data.draw(st.sampled_from(instance_objects(flipped)))
    whole = path.read_bytes()
    places = st.integers(0, min(8 * len(whole), 4_000_000) - 1) | st.integers(0, 8 * min(len(whole), 18436) - 1)
    bit = data.draw(places)
    path.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
    found = what_is_read(flipped)
    path.write_bytes(whole)
    if isinstance(found, IntegrityError):
        assert path.relative_to(flipped).as_posix() in str(found)
    else:
        assert_same(found, made_records()[WHOLE])


def what_is_read(folder):
    try:
        return record_of(msl.open(folder).instance(WHOLE))
    except IntegrityError as error:
        return error


@pytest.fixture(scope="module")
def flipped(small, tmp_path_factory):
    """A copy of the small library in which one bit at a time is wrong."""
    return shutil.copytree(small, tmp_path_factory.mktemp("flipped") / "small.zarr")


@pytest.mark.parametrize("kept", [0, 100, 500_000])
def test_an_object_cut_short_is_an_error_and_not_a_network_fault(spoiled, web, upload, bucket, kept):
    path = spoiled / "images/counts/c/0/0/0/0/0"
    path.write_bytes(path.read_bytes()[:kept])
    places = [(spoiled, {}), (f"{web(spoiled).url}", {}), (upload(spoiled), bucket.storage_options)]
    for url, options in [
        *places,
        (places[1][0], {"client_kwargs": {}}),
        (places[2][0], {**bucket.storage_options, "use_ssl": False}),
    ]:
        with pytest.raises(
            IntegrityError, match=r"images/counts/c/0/0/0/0/0: bytes \d+ to \d+ were asked for, .* shorter than"
        ):
            list(msl.open(url, options).select(first=60).instances(parts=["images"], batch=64))


# --- requests


@pytest.fixture
def distant(small, web, delay_proxy):
    """The library on a server that cannot list, 30 ms away."""
    proxy = delay_proxy(web(small.parent).url)
    return f"{proxy.url}/{small.name}", proxy


def test_opening_is_one_request_and_tells_the_ids(distant):
    url, proxy = distant
    library = msl.open(url)
    assert library.ids.tolist() == small_library.shown()
    assert [(r.method, r.path.rpartition("/")[2], r.status) for r in proxy.requests()] == [("GET", "zarr.json", 200)]


def test_everything_of_an_instance_is_five_round_trips_from_the_url(distant):
    url, proxy = distant
    assert_same(record_of(msl.open(url).instance(WHOLE)), made_records()[WHOLE])
    assert round_trips(proxy.requests()) <= 5
    assert {r.method for r in proxy.requests()} == {"GET"}


def test_scattered_images_coalesce(distant):
    url, proxy = distant
    library = msl.open(url)
    images = library.images
    rng = np.random.default_rng(0)
    picks = [xr.DataArray(rng.integers(0, size, 256), dims="pick") for size in images.shape[:3]]
    proxy.reset()
    found = images[tuple(picks)].values
    data = [r for r in proxy.requests() if "/images/counts/" in r.path]
    assert len(data) < len(
        images.present.values[tuple(p.values for p in picks)].nonzero()[0]
    )  # near ones share a request
    assert round_trips(proxy.requests()) <= 3
    for pick, image in zip(np.stack([p.values for p in picks], axis=1).tolist(), found, strict=True):
        record = made_records()[int(library.ids[pick[0]])]
        expected = record.images.counts[pick[1], pick[2]] if record.images else np.zeros((128, 128), np.uint16)
        np.testing.assert_array_equal(image, expected)


def test_what_is_not_present_is_not_asked_for(distant):
    url, proxy = distant
    images = msl.open(url).images
    absent = images.sel(instance=next(i for i, r in made_records().items() if r.images is None and r.mesh))
    proxy.reset()
    assert not absent.values.any()
    assert not absent.present.values.any()
    assert [r.path for r in proxy.requests() if "/images/counts/" in r.path] == []


def test_an_object_that_vanishes_after_its_index_was_read_is_named(spoiled):
    store = open_store(spoiled)
    want = Want("images/counts", (slice(1, 2), slice(0, 1)))
    store.read([want])
    (spoiled / "images/counts/c/0/0/0/0/0").unlink()
    with pytest.raises(IntegrityError, match="images/counts/c/0/0/0/0/0: chunk 18 is missing"):
        store.read([want])
    assert locate(spoiled).path == spoiled
