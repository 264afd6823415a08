"""Records of a pack are found by key and believed by digest; whatever happened to the file, nothing wrong is read."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.cache.packs import (
    HEADER_BYTES,
    STRIPE_BYTES,
    DamagedPieceError,
    append,
    key_of,
    pack_of,
    read_record,
    record,
    scan,
)

BODIES = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6)


def extent_of(number, body):
    return (1000 * number, 1000 * number + len(body))


def written(path, bodies):
    """Write bodies as records and return the open file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    append(fd, 0, [record(key_of("a", extent_of(n, body)), memoryview(body)) for n, body in enumerate(bodies)])
    return fd


def found(fd, bodies):
    """What is read of each body: bytes, None, or the error's type."""
    index = scan(fd)
    answers = []
    for number, body in enumerate(bodies):
        key = key_of("a", extent_of(number, body))
        try:
            offset = index.offsets.get(key)
            part = None if offset is None else read_record(fd, offset, key, extent_of(number, body))
            answers.append(None if part is None else bytes(part))
        except DamagedPieceError:
            answers.append(DamagedPieceError)
    return answers, index


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return tmp_path_factory.mktemp("packs") / "one.pack"


@given(BODIES)
def test_what_is_written_is_found(pack, bodies):
    fd = written(pack, bodies)
    answers, index = found(fd, bodies)
    assert answers == bodies
    assert index.sound
    assert index.end == os.fstat(fd).st_size == sum(HEADER_BYTES + len(body) for body in bodies)
    os.close(fd)


@given(BODIES, st.data())
def test_a_file_cut_short_loses_the_last_records_alone_and_is_sound(pack, bodies, data):
    fd = written(pack, bodies)
    kept = data.draw(st.integers(0, os.fstat(fd).st_size))
    os.ftruncate(fd, kept)
    answers, index = found(fd, bodies)
    ends = [sum(HEADER_BYTES + len(body) for body in bodies[: n + 1]) for n in range(len(bodies))]
    assert answers == [body if end <= kept else None for body, end in zip(bodies, ends, strict=True)]
    assert index.sound
    os.close(fd)


@given(BODIES, st.data())
def test_a_flipped_bit_is_seen_and_touches_no_record_before_it(pack, bodies, data):
    fd = written(pack, bodies)
    place = data.draw(st.integers(0, 8 * os.fstat(fd).st_size - 1))
    byte = os.pread(fd, 1, place // 8)[0]
    os.pwrite(fd, bytes([byte ^ 1 << place % 8]), place // 8)
    answers, index = found(fd, bodies)
    assert all(answer in (body, None, DamagedPieceError) for answer, body in zip(answers, bodies, strict=True))
    assert answers != bodies
    assert not index.sound or DamagedPieceError in answers
    starts = [sum(HEADER_BYTES + len(body) for body in bodies[:n]) for n in range(len(bodies) + 1)]
    hit = sum(place // 8 >= start for start in starts) - 1
    assert answers[:hit] == bodies[:hit]
    os.close(fd)


@settings(max_examples=30)
@given(BODIES, st.binary(min_size=1, max_size=50))
def test_the_later_of_two_records_with_one_key_counts(pack, bodies, other):
    fd = written(pack, bodies)
    before = scan(fd)
    key = key_of("a", extent_of(0, bodies[0]))
    append(fd, before.end, [record(key, memoryview(other))])
    after = scan(fd, before)
    assert after == scan(fd)
    assert bytes(read_record(fd, after.offsets[key], key, None)) == other
    os.close(fd)


@pytest.mark.parametrize("length", [1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 300_000])
def test_a_whole_object_is_read_whatever_its_length(pack, length):
    body = os.urandom(length)
    key = key_of("whole", None)
    fd = os.open(pack, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    append(fd, 0, [record(key, memoryview(body))])
    assert bytes(read_record(fd, 0, key, None)) == body
    os.close(fd)


def test_an_index_of_another_file_that_had_the_name_misleads_nobody(pack):
    one, other = [b"first", b"second"], [b"2" * 40, b"later", b"last"]
    fd = written(pack, one)
    known = scan(fd)
    os.close(fd)
    fd = written(pack, other)
    for key, offset in known.offsets.items():
        assert read_record(fd, offset, key, None) is None
    os.close(fd)


def test_neighbours_share_a_pack_and_indexes_and_columns_lie_apart():
    assert pack_of("a/c/0", (100, 200)) == pack_of("a/c/0", (STRIPE_BYTES - 1, STRIPE_BYTES + 500))
    assert pack_of("a/c/0", (100, 200)) != pack_of("a/c/0", (STRIPE_BYTES, STRIPE_BYTES + 5))
    assert pack_of("a/c/0", (100, 200)) != pack_of("a/c/1", (100, 200))
    assert pack_of("a/c/0", (0, 20)) == pack_of("a/c/0", None)
    assert pack_of("a/c/0", None).startswith("meta-")
    assert key_of("a", (0, 1)) != key_of("a", (0, 2)) != key_of("a", None) != key_of("b", None)


def test_a_full_disk_leaves_a_pack_as_it_was(pack, monkeypatch):
    fd = written(pack, [b"one"])
    before = pack.read_bytes()

    def half(fd, buffers, offset):
        return os.pwrite(fd, b"".join(buffers)[:20], offset)

    monkeypatch.setattr(os, "pwritev", half)
    with pytest.raises(OSError, match="No space left on device"):
        append(fd, len(before), [record(b"k" * 16, memoryview(b"two"))])
    assert pack.read_bytes() == before
    os.close(fd)
