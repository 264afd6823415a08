"""Chunks and shards as bytes, after the Zarr v3 core specification.

A chunk is little-endian C order, blosc, then CRC-32C. A shard starts with its index (offset and
length of every chunk, then CRC-32C), so that one range from byte 0 gets it from any server; the chunks follow. A chunk
that was never written has the offset and length 2^64 - 1.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import blosc

from msl_store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from msl_store.schema import Packing

LEVEL = 2
"""Blosc's level: on every array of a library chunks are within 2 % of their size at level 5, in half the time."""

MISSING = 2**64 - 1
CHECKSUM_BYTES = 4
INDEX_ENTRY_BYTES = 16


def index_bytes(chunks_per_shard: Sequence[int]) -> int:
    """Return the size of a shard's index in bytes."""
    return math.prod(chunks_per_shard) * INDEX_ENTRY_BYTES + CHECKSUM_BYTES


def encode_chunk(values: NDArray[Any], packing: Packing = "zstd bits") -> bytes:
    """Return a chunk's bytes; `values` has the chunk's full extent."""
    compressor, unit = packing.split()
    shuffle = {"bits": blosc.BITSHUFFLE, "bytes": blosc.SHUFFLE}[unit]
    with _one_blosc_thread():
        packed = blosc.compress(np.ascontiguousarray(values), compressor.encode(), LEVEL, shuffle=shuffle)
    return bytes(packed) + _checksum(packed)


def decode_chunk(data: memoryview, shape: Sequence[int], dtype: np.dtype[Any], place: str) -> NDArray[Any]:
    """Return a chunk's values.

    Raises
    ------
    IntegrityError
        The checksum does not match, or the chunk holds another number of bytes than `shape` needs.
    """
    body = verified(data, place)
    values = np.empty(shape, dtype)
    held = int.from_bytes(body[4:8], "little")
    if held != values.nbytes:
        raise IntegrityError(f"{place}: the chunk holds {held} bytes, its array's chunks have {values.nbytes}")
    blosc.decompress(body, values)
    return values


def encode_shard(chunks: Sequence[bytes | None]) -> bytes:
    """Return a shard of chunks in C order; None is a chunk that is not there."""
    return b"".join(shard_parts(chunks))


def shard_parts(chunks: Sequence[bytes | memoryview | None]) -> list[bytes | memoryview]:
    """Return what makes a shard one after the other, so that nothing is copied: its index, and the chunks there are."""
    index = np.full((len(chunks), 2), MISSING, "<u8")
    position = index.nbytes + CHECKSUM_BYTES
    for place, chunk in enumerate(chunks):
        if chunk is not None:
            index[place] = position, len(chunk)
            position += len(chunk)
    head = index.tobytes()
    return [head, _checksum(head), *(chunk for chunk in chunks if chunk is not None)]


def decode_index(data: memoryview, place: str) -> NDArray[np.uint64]:
    """Return a shard's index, shape (chunk, 2): offset and length; `MISSING` twice where there is no chunk."""
    return np.frombuffer(verified(data, place), "<u8").reshape(-1, 2)


@contextmanager
def _one_blosc_thread() -> Iterator[None]:
    """Keep numcodecs from using several threads for a chunk, which it does in the main thread only.

    Blosc's threads put blocks into a chunk in the order they finish; one thread gives the same bytes every time.
    """
    before = blosc.use_threads
    main = threading.current_thread() is threading.main_thread()
    if main:
        blosc.use_threads = False
    try:
        yield
    finally:
        if main:
            blosc.use_threads = before


def _checksum(data: Any) -> bytes:
    return int(google_crc32c.value(bytes(data))).to_bytes(CHECKSUM_BYTES, "little")


def verified(data: memoryview, place: str) -> memoryview:
    """Return what precedes a CRC-32C; `IntegrityError` where the checksum does not match."""
    body, stored = data[:-CHECKSUM_BYTES], bytes(data[-CHECKSUM_BYTES:])
    if _checksum(body) != stored:
        raise IntegrityError(
            f"{place}: the CRC-32C of {len(data)} bytes does not match: they changed since they were written; "
            "copy or ingest this library again"
        )
    return body
