"""Chunks and shards: what goes in comes out, and no damage passes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from msl_store.errors import IntegrityError
from msl_store.store.sharding import (
    CHECKSUM_BYTES,
    MISSING,
    decode_chunk,
    decode_index,
    encode_chunk,
    encode_shard,
    index_bytes,
)

DTYPES = st.sampled_from(["bool", "uint8", "uint16", "<f2", "uint32", "<f4", "int64", "<f8"])
CHUNKS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=1, max_dims=4, max_side=9))


def decoded(data, values):
    return decode_chunk(memoryview(data), values.shape, values.dtype, "here")


@settings(deadline=None)
@given(CHUNKS)
def test_a_chunk_comes_back_as_it_was(values):
    np.testing.assert_array_equal(decoded(encode_chunk(values), values), values, strict=True)


@settings(deadline=None)
@given(CHUNKS, st.data())
def test_a_flipped_bit_in_a_chunk_is_an_error(values, data):
    spoiled = bytearray(encode_chunk(values))
    bit = data.draw(st.integers(0, 8 * len(spoiled) - 1))
    spoiled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError, match=r"here: the CRC-32C of .* does not match"):
        decoded(spoiled, values)


@settings(deadline=None)
@given(CHUNKS, st.data())
def test_a_cut_chunk_is_an_error(values, data):
    whole = encode_chunk(values)
    with pytest.raises(IntegrityError, match="here: the CRC-32C"):
        decoded(whole[: data.draw(st.integers(0, len(whole) - 1))], values)


def test_a_chunk_of_another_extent_is_an_error():
    data = encode_chunk(np.arange(6, dtype=np.uint16))
    with pytest.raises(IntegrityError, match="the chunk holds 12 bytes, its array's chunks have 14"):
        decode_chunk(memoryview(data), (7,), np.dtype(np.uint16), "here")


def test_a_chunk_has_the_same_bytes_in_any_thread():
    values = np.random.default_rng(0).integers(0, 50, (400, 400), np.uint32)
    found = []
    thread = threading.Thread(target=lambda: found.append(encode_chunk(values)))
    thread.start()
    thread.join()
    assert found == [encode_chunk(values)]


@settings(deadline=None)
@given(st.lists(st.none() | st.binary(min_size=1, max_size=50), min_size=1, max_size=40))
def test_the_index_of_a_shard_finds_every_chunk_and_marks_what_is_missing(chunks):
    shard = encode_shard(chunks)
    size = index_bytes([len(chunks)])
    index = decode_index(memoryview(shard)[:size], "here")
    found = [None if start == MISSING else shard[int(start) : int(start + length)] for start, length in index]
    assert found == chunks
    assert len(shard) == size + sum(len(chunk) for chunk in chunks if chunk is not None)


@settings(deadline=None)
@given(st.integers(0, 8 * (3 * 16 + CHECKSUM_BYTES) - 1))
def test_a_flipped_bit_in_an_index_is_an_error(bit):
    spoiled = bytearray(encode_shard([b"one", None, b"three"]))
    spoiled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError, match="here: the CRC-32C of 52 bytes"):
        decode_index(memoryview(spoiled)[: index_bytes([3])], "here")
