"""Occupancy samples as NPZ, the published form of `occupancies.npz`; nothing in them is ever unpickled."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.zipdir import ZIP_ERRORS
from msl_store.errors import FormatError
from msl_store.schema import SAMPLES
from msl_store.shapes import Occupancy

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER_BYTES = 4096
"""Room for the header before an array's numbers; numpy's own takes 128 bytes."""

# An NPY header, versions 1.0 and 2.0 of numpy.lib.format: a magic, a length, and a dict literal padded with blanks.
_NPY = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|\x02\x00....)"
    rb"\{'descr': '([<>|])([a-z]\d)', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,60})\),? ?\} *\n",
    re.DOTALL,
)
_LONGEST_AXIS = 10**9


def read_npz(data: bytes, *, queries: int | None = SAMPLES) -> Occupancy:
    """Read occupancy samples from NPZ, stored or deflated.

    Parameters
    ----------
    data : bytes
        The whole file.
    queries : int or None, optional
        How many points there must be; None allows any number from 1 on, as many as the file can hold.

    Returns
    -------
    Occupancy

    Raises
    ------
    FormatError
        If the archive is damaged, an array is missing or has another shape or dtype, a number is not finite, or the
        scale is not positive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            points = _array(archive, "points", "<f2", (queries, 3))
            bits = _array(archive, "occupancies", "|u1", ((len(points) + 7) // 8,))
            loc = _array(archive, "loc", "<f8", (3,))
            scale = float(_array(archive, "scale", "<f8", ()))
    except FormatError:
        raise
    except (*ZIP_ERRORS, zlib.error, EOFError) as error:
        raise FormatError(f"is no readable NPZ archive ({error}); fetch it again") from error
    wrong = ~np.isfinite(points).all(axis=1)
    if wrong.any():
        at = int(wrong.argmax())
        raise FormatError(f"query point {at} is {points[at].tolist()}; finite numbers are allowed")
    if not np.isfinite(loc).all():
        raise FormatError(f"has loc {loc.tolist()}; finite numbers are allowed")
    if not (np.isfinite(scale) and scale > 0):
        raise FormatError(f"has scale {scale}; a finite number above 0 is allowed")
    return Occupancy(points, bits, loc, scale)


def _array(archive: zipfile.ZipFile, key: str, descr: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Read one array of a known dtype and shape (None for any length above 0), C-contiguous."""
    name = f"{key}.npy"
    if name not in archive.NameToInfo:
        raise FormatError(f"has no array {key}; it has: {', '.join(archive.namelist()[:8]) or 'none'}")
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"has {key} compressed by method {info.compress_type}; stored or deflate is allowed")
    dtype = np.dtype(descr)
    # What an array of any length may take is bounded by deflate, which shrinks at most 1032 times.
    rows = info.compress_size * 1032 if shape[:1] == (None,) else 1
    known = math.prod(length for length in shape if length is not None)
    if info.file_size > dtype.itemsize * known * rows + _HEADER_BYTES:
        raise FormatError(f"has {info.file_size} bytes of {key}, more than the {_text(dtype, shape)} that is allowed")
    raw = archive.read(info)
    header = _NPY.match(raw)
    if header is None:
        raise FormatError(f"has {key} with another header than numpy's: {raw[:80]!r}; write it with numpy.savez")
    kind = header[2].decode()
    found = tuple(int(length) for length in header[4].replace(b",", b" ").split())
    fits = len(found) == len(shape) and all(
        length == wanted if wanted is not None else 0 < length < _LONGEST_AXIS
        for length, wanted in zip(found, shape, strict=True)
    )
    if not fits or kind != descr[1:]:
        raise FormatError(f"has {key} as {kind} {found}; {_text(dtype, shape)} is allowed")
    body = memoryview(raw)[header.end() :]
    if len(body) != dtype.itemsize * math.prod(found):
        raise FormatError(f"has {len(body)} bytes of {key}, which {_text(dtype, found)} does not take; fetch it again")
    stored = dtype.newbyteorder(">" if header[1] == b">" else "<")
    values = np.frombuffer(body, stored).reshape(found, order="F" if header[3] == b"True" else "C")
    return np.ascontiguousarray(values, dtype.newbyteorder("=")).reshape(found)


def _text(dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> str:
    """Return ``float16 (100000, 3)``."""
    return f"{dtype.name} ({', '.join('any' if length is None else str(length) for length in shape)})"


def write_npz(occupancy: Occupancy) -> bytes:
    """Write occupancy samples as `numpy.savez` does, under the published names and dtypes."""
    target = io.BytesIO()
    np.savez(
        target,
        points=np.ascontiguousarray(occupancy.points, np.float16),
        occupancies=np.asarray(occupancy.inside_bits, np.uint8),
        loc=np.asarray(occupancy.loc, np.float64),
        scale=np.float64(occupancy.scale),
    )
    return target.getvalue()
