from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats import read_npz, write_npz
from msl_store.errors import FormatError
from msl_store.shapes import Occupancy


def occupancy(count: int = 20) -> Occupancy:
    rng = np.random.default_rng(2)
    points = rng.uniform(-0.55, 0.55, (count, 3)).astype(np.float16)
    return Occupancy(points, np.packbits(rng.random(count) < 0.5), rng.random(3) * 100, 50.25)


def same(left: Occupancy, right: Occupancy) -> bool:
    return (
        np.array_equal(left.points, right.points)
        and np.array_equal(left.inside_bits, right.inside_bits)
        and np.array_equal(left.loc, right.loc)
        and left.scale == right.scale
    )


def saved(*, compressed: bool = False, **changed: object) -> bytes:
    value = occupancy()
    arrays = {
        "points": value.points,
        "occupancies": value.inside_bits,
        "loc": value.loc,
        "scale": value.scale,
    } | changed
    target = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(target, **{key: array for key, array in arrays.items() if array is not None})
    return target.getvalue()


def test_the_published_occupancy_is_read_bit_for_bit(instance_1):
    read = read_npz((instance_1 / "occupancies.npz").read_bytes())
    with np.load(instance_1 / "occupancies.npz", allow_pickle=False) as arrays:
        assert same(read, Occupancy(arrays["points"], arrays["occupancies"], arrays["loc"], float(arrays["scale"])))
    assert read.points.dtype == np.float16
    assert read.points.flags.c_contiguous
    assert read.inside_bits.shape == (12_500,)
    assert same(read_npz(write_npz(read)), read)


def test_an_occupancy_is_written_as_numpy_and_the_published_files_have_it(instance_1):
    published = (instance_1 / "occupancies.npz").read_bytes()
    written = write_npz(read_npz(published))
    with zipfile.ZipFile(io.BytesIO(published)) as left, zipfile.ZipFile(io.BytesIO(written)) as right:
        assert [(info.filename, info.file_size, info.CRC, info.compress_type) for info in left.infolist()] == [
            (info.filename, info.file_size, info.CRC, info.compress_type) for info in right.infolist()
        ]


@given(st.integers(1, 40))
def test_reading_what_was_written_is_the_identity(count):
    assert same(read_npz(write_npz(occupancy(count)), queries=count), occupancy(count))


@pytest.mark.parametrize(
    "data",
    [
        saved(),
        saved(compressed=True),
        saved(points=np.asfortranarray(occupancy().points)),
        saved(points=occupancy().points.astype(">f2"), loc=occupancy().loc.astype(">f8")),
        saved(something=np.zeros(3)),
    ],
    ids=["plain", "compressed", "column-major", "big-endian", "another array"],
)
def test_other_ways_to_write_the_same_occupancy(data):
    assert same(read_npz(data, queries=None), occupancy())


def bomb() -> bytes:
    """An archive whose points are a gigabyte of zeros, deflated a thousand times."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("points.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(2**20))
    return target.getvalue().replace(struct.pack("<I", 64 * 2**20), struct.pack("<I", 2**30))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no readable NPZ archive"),
        (saved()[:-1], "is no readable NPZ archive"),
        (saved()[100:], "is no readable NPZ archive"),
        (saved(loc=None), "has no array loc; it has: points.npy, occupancies.npy, scale.npy"),
        (saved(points=np.zeros((20, 3), np.float32)), r"has points as f4 \(20, 3\); float16 \(20, 3\) is allowed"),
        (saved(points=np.zeros((19, 3), np.float16)), r"has points as f2 \(19, 3\); float16 \(20, 3\) is allowed"),
        (saved(points=np.zeros((20, 2), np.float16)), r"has points as f2 \(20, 2\)"),
        (saved(points=np.full((20, 3), np.nan, np.float16)), "query point 0 is .*nan.*; finite numbers are allowed"),
        (saved(occupancies=np.zeros(20, np.bool_)), r"has occupancies as b1 \(20,\); uint8 \(3\) is allowed"),
        (saved(occupancies=np.zeros(2, np.uint8)), r"has occupancies as u1 \(2,\); uint8 \(3\) is allowed"),
        (saved(loc=np.array([0, np.inf, 0])), "has loc .*inf.*; finite numbers are allowed"),
        (saved(scale=np.float64(0)), "has scale 0.0; a finite number above 0 is allowed"),
        (saved(scale=np.float64(np.nan)), "has scale nan"),
        (saved(scale=np.ones(1)), r"has scale as f8 \(1,\); float64 \(\) is allowed"),
        (saved(loc=np.array([None, 1, "a"], object)), "has loc with another header than numpy's"),
        (bomb(), "has 1073741824 bytes of points, more than the float16 .* that is allowed"),
    ],
)
def test_a_wrong_occupancy_is_refused_with_the_reason(data, message):
    with pytest.raises(FormatError, match=message):
        read_npz(data, queries=20)


def test_a_flipped_bit_anywhere_in_an_array_is_noticed():
    data = bytearray(saved())
    start = data.index(occupancy().points.tobytes())
    for at in range(start, start + 120, 7):
        data[at] ^= 4
        with pytest.raises(FormatError, match="CRC-32"):
            read_npz(bytes(data), queries=20)
        data[at] ^= 4


SAMPLES = [saved(), saved(compressed=True)]


@settings(max_examples=400)
@given(st.data())
def test_damage_is_noticed_or_harmless(data):
    damaged = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        read = read_npz(bytes(damaged), queries=None)
    except FormatError:
        return
    assert same(read, occupancy())
