"""Volumes written block by block are Zarr arrays like any others, and every Zarr array is read by boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.errors import FormatError, IntegrityError, MissingError, UsageError
from msl_store.store import BlockArray, ZarrArray, locate, pack, unpack, zarr_node
from msl_store.store.zarr_store import ReadOnlyObjects

FRESH = itertools.count()


@st.composite
def block_arrays(draw):
    """Values, and the array that they are written to in blocks of one or more chunks."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    chunk = draw(st.tuples(*[st.integers(1, 4)] * 3))
    block = tuple(c * draw(st.integers(1, 3)) for c in chunk)
    dtype = draw(st.sampled_from(["bool", "uint8", "uint32", "int64"]))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2, shape) * draw(st.sampled_from([0, 1, 77]))
    return values.astype(dtype), BlockArray(locate(f"memory://{next(FRESH)}"), "a", shape, dtype, block, chunk)


@settings(max_examples=60, deadline=None)
@given(block_arrays(), st.data())
def test_what_is_written_by_blocks_is_read_by_boxes(made, data):
    values, array = made
    array.create(("z", "y", "x"), {"note": 1})
    for place in np.ndindex(*(-(-n // b) for n, b in zip(array.shape, array.block, strict=True))):
        part = tuple(slice(p * b, (p + 1) * b) for p, b in zip(place, array.block, strict=True))
        assert array.put(place, values[part]) > 0
    reading = array.reading()
    assert (reading.shape, reading.dtype, reading.chunk) == (array.shape, np.dtype(array.dtype), array.chunk)
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in array.shape]
    box = [slice(a, b) for a, b in ends]
    np.testing.assert_array_equal(reading.read(box), values[tuple(box)])
    assert zarr_node(array.objects).attributes == {"note": 1}
    assert zarr_node(array.objects, "a").kind == "array"
    assert zarr_node(array.objects, "b") is None


def test_a_volume_opens_with_zarr_alone(tmp_path):
    values = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    array = BlockArray(locate(tmp_path / "v.zarr"), "a", (4, 5, 6), "uint16", (4, 4, 8), (2, 2, 4))
    array.create(("z", "y", "x"), {})
    array.put((0, 0, 0), values[:, :4])
    array.put((0, 1, 0), values[:, 4:])
    opened = zarr.open_group(tmp_path / "v.zarr", mode="r")["a"]
    np.testing.assert_array_equal(opened[:], values)
    assert opened.metadata.dimension_names == ("z", "y", "x")


def test_blocks_that_were_not_written_are_zeros(tmp_path):
    array = BlockArray(locate(tmp_path), "a", (4, 4, 4), "uint8", (2, 2, 2), (2, 2, 2))
    array.create(("z", "y", "x"))
    assert not array.reading().read([slice(0, 4)] * 3).any()


def test_what_is_no_array_is_said(tmp_path):
    with pytest.raises(MissingError, match="there is no Zarr array"):
        ZarrArray(locate(tmp_path / "none")).shape  # noqa: B018
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array", "shape": [1]}')
    with pytest.raises(FormatError, match="cannot be opened"):
        ZarrArray(locate(tmp_path)).shape  # noqa: B018


def test_a_store_for_reading_refuses_everything_else(tmp_path):
    store = ReadOnlyObjects(locate(tmp_path))
    assert store == ReadOnlyObjects(locate(tmp_path))
    assert store != ReadOnlyObjects(locate(tmp_path / "other"))
    assert [store.supports_writes, store.supports_deletes, store.supports_listing] == [False] * 3
    for refused in (store.list, lambda: store.list_prefix(""), lambda: store.list_dir("")):
        with pytest.raises(UsageError, match="open for reading only"):
            refused()
    with pytest.raises((UsageError, ValueError), match="read"):
        zarr.create_array(store, name="a", shape=(2,), dtype="u1")


ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=4),
    st.builds(
        lambda shape, dtype, seed: np.random.default_rng(seed).integers(0, 100, shape).astype(dtype),
        st.lists(st.integers(0, 4), max_size=3),
        st.sampled_from(["u1", "<i8", "<f4", "bool"]),
        st.integers(0, 9),
    ),
    max_size=4,
)


@given(ARRAYS, st.dictionaries(st.text(max_size=3), st.integers() | st.none() | st.lists(st.booleans())))
def test_arrays_and_facts_are_what_was_packed(arrays, facts):
    data = pack(arrays, facts)
    assert data == pack(arrays, facts)
    found, told = unpack(data, "here")
    assert told == facts
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_damage_is_told_with_its_place():
    data = bytearray(pack({"a": np.arange(1000)}))
    data[-20] ^= 1
    with pytest.raises(IntegrityError, match="here: a: the CRC-32C"):
        unpack(bytes(data), "here")
    with pytest.raises(IntegrityError, match="here: "):
        unpack(bytes(data[:12]), "here")
