"""Camera images as TIFF, the published form of the simulated views."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import FormatError
from msl_store.schema import IMAGE_SHAPE

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Tags and values of Adobe's "TIFF Revision 6.0" (1992), sections 8, 15 and 19, and libtiff's ImageDepth.
_WIDTH, _LENGTH = 256, 257
_BITS = 258
_PHOTOMETRIC, _BLACK_IS_ZERO = 262, 1
_SAMPLES = 277
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_SAMPLE_FORMAT, _UNSIGNED = 339, 1
_DEPTH = 32997
_DECISIVE = {
    _WIDTH: "width",
    _LENGTH: "length",
    _BITS: "bits",
    _PHOTOMETRIC: "photometric interpretation",
    _SAMPLES: "channels",
    _TILE_WIDTH: "tile width",
    _TILE_LENGTH: "tile length",
    _SAMPLE_FORMAT: "sample format",
    _DEPTH: "depth",
}
"""The tags that decide an image's size and kind."""

_DEFAULTS = {_BITS: 1, _SAMPLES: 1, _DEPTH: 1, _SAMPLE_FORMAT: _UNSIGNED, _PHOTOMETRIC: _BLACK_IS_ZERO}
_INTEGERS = {3: "H", 4: "I"}
_LARGEST_TILE = 1024


def read_tiff(data: bytes, *, shape: tuple[int, int] | None = IMAGE_SHAPE) -> NDArray[np.uint16]:
    """Read one grey image of 8 or 16 unsigned bits, in any compression that libtiff knows.

    Parameters
    ----------
    data : bytes
        The whole file.
    shape : (int, int) or None, optional
        The rows and columns that it must have; None allows up to 4096 of each.

    Returns
    -------
    ndarray of uint16, shape (y, x)
        Eight-bit values are widened, not scaled.

    Raises
    ------
    FormatError
        If the file is damaged, or holds another kind of image or several of them.
    """
    import imagecodecs

    try:
        tags, pages = _tags(data)
    except struct.error as error:
        raise FormatError("ends within its TIFF directory; the file is cut short: fetch it again") from error
    _check(tags, pages, shape)
    try:
        image = imagecodecs.tiff_decode(data)
    except (imagecodecs.TiffError, ValueError, LookupError, TypeError, RuntimeError, MemoryError) as error:
        raise FormatError(f"is a TIFF image that cannot be decoded ({error}); fetch it again") from error
    if image.shape != (tags[_LENGTH], tags[_WIDTH]) or image.dtype not in (np.uint8, np.uint16):
        raise FormatError(f"decodes to {image.dtype} {image.shape}; uint8 or uint16 (y, x) is allowed")
    return np.asarray(image, np.uint16)


def _tags(data: bytes) -> tuple[dict[int, int], int]:
    """Return what decides the first image's size and kind, and how many images there are (at most 2)."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise FormatError(f"starts with {data[:8]!r}; a TIFF file starts with II or MM")
    magic = struct.unpack_from(order + "H", data, 2)[0]
    if magic == 42:
        start, count_type, pointer, inline = struct.unpack_from(order + "I", data, 4)[0], "H", "I", 4
    elif magic == 43:
        start, count_type, pointer, inline = struct.unpack_from(order + "Q", data, 8)[0], "Q", "Q", 8
    else:
        raise FormatError(f"has {magic} where TIFF has 42 and BigTIFF 43")
    if start >= len(data):
        raise FormatError("has its TIFF directory beyond its end; the file is cut short: fetch it again")
    count = struct.unpack_from(order + count_type, data, start)[0]
    entry = struct.Struct(f"{order}HH{pointer}{inline}s")
    at = start + struct.calcsize(order + count_type)
    stop = at + count * entry.size
    later = struct.unpack_from(order + pointer, data, stop)[0] if stop < len(data) else None
    if later is None:
        raise FormatError(f"states {count} TIFF tags, more than its {len(data)} bytes can hold")
    tags = dict[int, int]()
    for tag, kind, length, value in entry.iter_unpack(data[at:stop]):
        if tag not in _DECISIVE:
            continue
        if kind not in _INTEGERS or length != 1 or tag in tags:
            raise FormatError(
                f"has its {_DECISIVE[tag]} ({tag}) more than once; a grey image has one whole number there"
            )
        tags[tag] = struct.unpack_from(order + _INTEGERS[kind], value)[0]
    return tags, 2 if later else 1


def _check(tags: dict[int, int], pages: int, shape: tuple[int, int] | None) -> None:
    """Raise FormatError unless the tags describe the allowed kind of image, in buffers of moderate size."""
    if pages != 1:
        raise FormatError("holds more than one image; one is allowed")
    found = (tags.get(_LENGTH, 0), tags.get(_WIDTH, 0))
    if found != shape if shape is not None else not all(1 <= side <= 4096 for side in found):
        allowed = "1 to 4096 each" if shape is None else f"{shape[0]} x {shape[1]}"
        raise FormatError(f"is {found[0]} x {found[1]} pixels (rows x columns); {allowed} is allowed")
    kind = {**_DEFAULTS, **tags}
    if kind[_SAMPLES] != 1 or kind[_DEPTH] != 1 or kind[_SAMPLE_FORMAT] != _UNSIGNED or kind[_BITS] not in (8, 16):
        raise FormatError(
            f"has {kind[_SAMPLES]} channels, {kind[_DEPTH]} planes of {kind[_BITS]} bits in sample format "
            f"{kind[_SAMPLE_FORMAT]}; one channel and plane of 8 or 16 unsigned bits (sample format 1) is allowed"
        )
    if kind[_PHOTOMETRIC] != _BLACK_IS_ZERO:
        raise FormatError(f"has photometric interpretation {kind[_PHOTOMETRIC]}; 1, black is zero, is allowed")
    if max(tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)) > _LARGEST_TILE:
        raise FormatError(f"has tiles of more than {_LARGEST_TILE} pixels; cut it into smaller ones or strips")


def write_tiff(image: NDArray[np.uint16], *, packbits: bool = False) -> bytes:
    """Write one image as the published files are: `packbits` for ``conf1``, uncompressed for the others.

    Parameters
    ----------
    image : ndarray of uint16 or uint8, shape (y, x)
        The image.
    packbits : bool, optional
        Compress by PackBits in strips of 64 rows, at 72 pixels an inch.
    """
    import tifffile

    target = io.BytesIO()
    if packbits:
        tifffile.imwrite(
            target, image, compression="packbits", rowsperstrip=64, resolution=(72, 72), resolutionunit="INCH",
            metadata=None, software=False, photometric="minisblack",
        )  # fmt: skip
    else:
        tifffile.imwrite(target, image, photometric="minisblack")
    return target.getvalue()
