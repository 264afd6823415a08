from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingest.formats import read_tiff, write_tiff
from msl_store.errors import FormatError


def image(shape: tuple[int, ...] = (128, 128), dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(3).poisson(60, shape).astype(dtype)


def saved(pixels: np.ndarray, **options: object) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(target, pixels, **options)
    return target.getvalue()


def test_the_published_images_are_read_as_tifffile_reads_them(instance_1):
    files = sorted(instance_1.rglob("*.tif"))
    assert len(files) == 18
    for path in files:
        pixels = read_tiff(path.read_bytes())
        assert pixels.dtype == np.uint16
        assert np.array_equal(pixels, tifffile.imread(path))


@pytest.mark.parametrize("name", ["Conf1_imgs/N_0_1_x90.tif", "Conf2_imgs/0_1_x90.tif"])
def test_images_are_written_like_the_published_ones(instance_1, name):
    data = (instance_1 / name).read_bytes()
    written = write_tiff(read_tiff(data), packbits=name.startswith("Conf1"))
    assert np.array_equal(read_tiff(written), read_tiff(data))
    with tifffile.TiffFile(io.BytesIO(data)) as left, tifffile.TiffFile(io.BytesIO(written)) as right:
        for tag in ("ImageWidth", "ImageLength", "BitsPerSample", "Compression", "RowsPerStrip", "SamplesPerPixel"):
            assert left.pages[0].tags[tag].value == right.pages[0].tags[tag].value
    assert abs(len(written) - len(data)) < 128


@given(arrays(st.sampled_from([np.uint8, np.uint16]), (16, 16)), st.booleans())
def test_reading_what_was_written_is_the_identity(pixels, packbits):
    assert np.array_equal(read_tiff(write_tiff(pixels, packbits=packbits), shape=(16, 16)), pixels)


@pytest.mark.parametrize("compression", [None, "packbits", "lzw", "deflate", "lzma", "zstd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_every_compression_byte_order_and_depth(compression, dtype, byteorder, bigtiff):
    pixels = image(dtype=dtype)
    read = read_tiff(saved(pixels, compression=compression, byteorder=byteorder, bigtiff=bigtiff))
    assert read.dtype == np.uint16
    assert np.array_equal(read, pixels)


@pytest.mark.parametrize("options", [{"tile": (32, 32)}, {"compression": "deflate", "predictor": True}])
def test_tiles_and_predictors(options):
    assert np.array_equal(read_tiff(saved(image(), **options)), image())


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with the value of one tag changed."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<HI", changed, at + 2, 4, 1)
            struct.pack_into("<I", changed, at + 8, value)
            return bytes(changed)
    raise LookupError(tag)


PLAIN = write_tiff(image())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with b''; a TIFF file starts with II or MM"),
        (b"II", "ends within its TIFF directory"),
        (b"II\x2b\0" + bytes(20), "ends within|has its TIFF directory|TIFF tags"),
        (b"II\x2c\0" + bytes(20), "has 44 where TIFF has 42 and BigTIFF 43"),
        (PLAIN[:200], "ends within its TIFF directory|cannot be decoded|TIFF tags"),
        (PLAIN[:-1], "cannot be decoded"),
        (write_tiff(image(), packbits=True)[:-20000], "has its TIFF directory beyond its end|cannot be decoded"),
        (write_tiff(image((64, 128))), r"is 64 x 128 pixels \(rows x columns\); 128 x 128 is allowed"),
        (with_tag(PLAIN, 256, 2**31), "is 128 x 2147483648 pixels"),
        (with_tag(PLAIN, 258, 12), "has 1 channels, 1 planes of 12 bits"),
        (saved(image(dtype=np.int16)), "16 bits in sample format 2; one channel and plane of 8 or 16 unsigned bits"),
        (saved(image(dtype=np.float32)), "32 bits in sample format 3"),
        (saved(image(dtype=np.uint32)), "has 1 channels, 1 planes of 32 bits"),
        (
            saved(image((128, 128, 3), np.uint8), photometric="rgb"),
            "has its bits .258. more than once; a grey image has one",
        ),
        (saved(image((2, 128, 128))), "holds more than one image; one is allowed"),
        (saved(image(), photometric="miniswhite"), "has photometric interpretation 0; 1, black is zero, is allowed"),
        (with_tag(saved(image(), tile=(32, 32)), 322, 2**20), "has tiles of more than 1024 pixels"),
    ],
)
def test_a_wrong_image_is_refused_with_the_reason(data, message):
    with pytest.raises(FormatError, match=message):
        read_tiff(data)


SAMPLES = [
    write_tiff(image((8, 8))), write_tiff(image((8, 8)), packbits=True), saved(image((8, 8)), compression="lzw"),
    saved(image((16, 16)), compression="deflate", tile=(16, 16)), saved(image((8, 8)), bigtiff=True, byteorder=">"),
]  # fmt: skip


@settings(max_examples=400)
@given(st.data())
def test_damage_is_noticed_or_harmless(data):
    damaged = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        damaged = damaged or bytearray(b" ")
    damaged = damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))]
    try:
        read = read_tiff(bytes(damaged), shape=None)
    except FormatError:
        return
    assert read.ndim == 2
    assert read.dtype == np.uint16
