"""Packs: files of records, each a piece of a remote object behind a header that names and proves it.

A record is 48 bytes of header and then the piece. The header has a mark, the piece's key, its length, its XXH3 digest
(128 bits), and a CRC-32C of all that. Records are appended only; of two with one key the later counts. What a killed
writer leaves is a last record that is cut short: readers stop before it, the next writer removes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import google_crc32c
import xxhash

from msl_store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

MARK = b"MSLp"
FIELDS = struct.Struct("<4s16sQ16s")
CHECKSUM = struct.Struct("<I")
HEADER_BYTES = FIELDS.size + CHECKSUM.size

STRIPE_BYTES = 2 * 2**20
"""Pieces that start in the same stretch of an object, of this length, share a pack: what is read and evicted together.

The first piece of a sharded object is its index and has a pack of another kind, see `pack_of`.
"""

BUFFERS_A_CALL = 512
"""Buffers that one ``pwritev`` takes; POSIX lets a system allow as few as 16, Linux and macOS allow 1,024."""

FIRST_READ_BYTES = 64 * 1024
"""What is read of a piece of unknown length; most are shorter."""

Extent = tuple[int, int] | None
"""First byte and the byte after the last; None is a whole object."""


class DamagedPieceError(IntegrityError):
    """A piece on this disk is not what was written."""


@dataclass(frozen=True)
class PackIndex:
    """Where a pack's records are, as far as it was read.

    Attributes
    ----------
    offsets : mapping of bytes to int
        Offset of each key's latest record.
    end : int
        Where the last record that was read ends.
    sound : bool
        Whether what follows may be a record that is being written; else the pack is damaged there.
    """

    offsets: Mapping[bytes, int] = field(default_factory=dict)
    end: int = 0
    sound: bool = True


NOTHING_READ = PackIndex()


def key_of(path: str, extent: Extent) -> bytes:
    """Return the key of a piece of an object, 16 bytes."""
    place = "whole" if extent is None else f"{extent[0]}-{extent[1]}"
    return hashlib.blake2b(f"{path}\0{place}".encode(), digest_size=16).digest()


def pack_of(path: str, extent: Extent) -> str:
    """Return the name of the pack that a piece belongs to.

    Whole objects (the root document, columns) and the indexes at the start of shards are what makes the rest of use;
    they lie together in sixteen packs.
    """
    name = hashlib.blake2b(path.encode(), digest_size=8).hexdigest()
    if extent is None or extent[0] == 0:
        return f"meta-{name[0]}.pack"
    return f"{name}-{extent[0] // STRIPE_BYTES}.pack"


def digest_of(body: Buffer) -> bytes:
    """Return what proves a piece, 16 bytes: by XXH3, since SHA-256 was a seventh of the work of a warm read."""
    return xxhash.xxh3_128_digest(body)


def record(key: bytes, body: memoryview) -> tuple[bytes, memoryview]:
    """Return a piece as a record: header and body."""
    fields = FIELDS.pack(MARK, key, len(body), digest_of(body))
    return fields + CHECKSUM.pack(google_crc32c.value(fields)), body


def _parsed(header: bytes) -> tuple[bytes, int, bytes] | None:
    """Return a header's key, length and digest, or None where it is no header."""
    if len(header) < HEADER_BYTES or CHECKSUM.unpack_from(header, FIELDS.size)[0] != google_crc32c.value(
        header[: FIELDS.size]
    ):
        return None
    mark, key, length, digest = FIELDS.unpack_from(header)
    return (key, length, digest) if mark == MARK else None


def scan(fd: int, known: PackIndex = NOTHING_READ) -> PackIndex:
    """Return an index with the records that a known one lacks.

    A record that is cut short by the end of the file is no damage: it is being written, or its writer was killed.
    """
    size = os.fstat(fd).st_size
    if size == known.end:
        return known
    if size < known.end:
        known = NOTHING_READ
    offsets, end, sound = dict(known.offsets), known.end, True
    while end + HEADER_BYTES <= size:
        found = _parsed(os.pread(fd, HEADER_BYTES, end))
        if found is None:
            sound = False
            break
        if end + HEADER_BYTES + found[1] > size:
            break
        offsets[found[0]] = end
        end += HEADER_BYTES + found[1]
    return PackIndex(offsets, end, sound) if (end, sound) != (known.end, known.sound) else known


def read_record(fd: int, offset: int, key: bytes, extent: Extent) -> memoryview | None:
    """Return the piece at an offset, or None where that key's record is not there (any more).

    Raises
    ------
    DamagedPieceError
        The record is there, and its piece fails its digest.
    """
    guess = FIRST_READ_BYTES if extent is None else extent[1] - extent[0]
    raw = os.pread(fd, HEADER_BYTES + guess, offset)
    found = _parsed(raw[:HEADER_BYTES])
    if found is None or found[0] != key:
        return None
    length = found[1]
    if extent is None and length > guess:
        raw += os.pread(fd, length - guess, offset + len(raw))
    body = memoryview(raw)[HEADER_BYTES : HEADER_BYTES + length]
    if len(body) < length:
        return None
    if digest_of(body) != found[2]:
        if os.fstat(fd).st_size < offset + HEADER_BYTES + length:  # evicted while it was read
            return None
        raise DamagedPieceError(f"the digest of {length} bytes at {offset} does not match")
    return body


def append(fd: int, offset: int, records: Sequence[tuple[bytes, memoryview]]) -> int:
    """Write records at an offset, all or none of them; return where they end.

    Raises
    ------
    OSError
        The disk is full, or does not write.
    """
    buffers = [part for whole in records for part in whole]
    at = offset
    for first in range(0, len(buffers), BUFFERS_A_CALL):
        group = buffers[first : first + BUFFERS_A_CALL]
        try:
            written = os.pwritev(fd, group, at)
        except OSError:
            os.ftruncate(fd, offset)
            raise
        at += written
        if written < sum(map(len, group)):
            os.ftruncate(fd, offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return at
