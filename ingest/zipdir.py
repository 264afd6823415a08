"""The directory of a zip archive that is read in place, and the bytes of single members.

Python's `zipfile` reads the directory, ZIP64 included, through a file object that fetches ranges. The format is
PKWARE's APPNOTE.TXT, version 6.3.10. The archives that macOS makes differ from it in one way, which is allowed for
here: beyond 4 GiB they keep only the low 32 bits of every offset and write no ZIP64 records.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from msl_store.errors import FormatError, MSLError

if TYPE_CHECKING:
    from types import ModuleType

    from msl_store.store.objects import Objects

deflate: ModuleType
try:
    from isal import isal_zlib as deflate
except ImportError:  # there is no wheel for this processor
    deflate = zlib

_LOCAL = struct.Struct("<4s5H3L2H")
"""A member's local header: APPNOTE 4.3.7."""

_ENCRYPTED, _UTF8 = 0x1, 0x800
_STORED, _DEFLATED = 0, 8
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ"}
_MOST_DEFLATED = 1032
"""Deflate shrinks no more than so many times: 258 bytes in 2 bits (RFC 1951)."""

_TAIL = 65536 + 256
"""The archive's last bytes, which hold its end records whatever its comment (APPNOTE 4.3.16)."""

_WRAP = 2**32

_DAMAGED = "the archive is damaged: fetch it again"

ZIP_ERRORS = (zipfile.BadZipFile, struct.error, RuntimeError, ValueError, OverflowError, OSError)
"""What the standard library raises for the directory of a damaged zip archive."""


class Member(NamedTuple):
    """One file in an archive, as the directory describes it."""

    path: str
    offset: int
    """Of its local header, in bytes from the archive's start."""
    stop: int
    """Where it ends at the latest: the next member or the directory starts here."""
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes when inflated."""
    crc: int
    method: int
    flags: int

    def problem(self, limit: int) -> str | None:
        """Return why this member cannot be read, or None where it can be."""
        if self.flags & _ENCRYPTED:
            return "is encrypted, and only plain members are read: make the archive again without a password"
        if self.method not in (_STORED, _DEFLATED):
            method = _METHODS.get(self.method, "an unknown one")
            return (
                f"is compressed by method {self.method} ({method}); stored and deflate are read: make the archive again"
            )
        if self.size > limit:
            return f"claims {self.size} bytes, and at most {limit} are allowed for a file of its kind"
        if self.size > self.packed * _MOST_DEFLATED + 64:
            return f"claims {self.size} bytes out of {self.packed}, more than deflate can yield: the archive is damaged"
        if self.stop - self.offset < _LOCAL.size + self.packed:
            return "overlaps what follows it in the archive, which is damaged or made to harm: fetch it again"
        return None


class _Ranged(io.RawIOBase):
    """An archive as the seekable file that `zipfile` wants: the tail is kept, the rest fetched up to a limit."""

    def __init__(self, objects: Objects, path: str, size: int, limit: int) -> None:
        self._objects, self._path, self._size, self._limit = objects, path, size, limit
        self._position = 0
        self._start = max(0, size - _TAIL)
        self._tail = self._fetch(self._start, size)

    def _fetch(self, start: int, stop: int) -> memoryview:
        if stop - start > self._limit:
            raise zipfile.BadZipFile(f"its directory claims {stop - start} bytes, and {self._limit} are allowed")
        return self._objects.get_ranges(self._path, [(start, stop)])[0] if stop > start else memoryview(b"")

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise zipfile.BadZipFile("its records point before its start")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        start = self._position
        stop = self._size if size < 0 else min(start + size, self._size)
        if stop <= start:
            return b""
        self._position = stop
        if start >= self._start:
            return bytes(self._tail[start - self._start : stop - self._start])
        return bytes(self._fetch(start, stop))


def read_directory(objects: Objects, path: str, size: int, *, limit: int) -> list[Member]:
    """List an archive's members without reading any of them: one request, or two where the directory is long.

    Parameters
    ----------
    objects, path
        The place and the archive's name there.
    size : int
        The archive's bytes.
    limit : int
        The most bytes that the directory may take.

    Returns
    -------
    list of Member
        In the directory's order, folders included.

    Raises
    ------
    FormatError
        If this is no zip archive, or a damaged one.
    """
    try:
        with zipfile.ZipFile(_Ranged(objects, path, size, limit)) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except MSLError:
        raise
    except ZIP_ERRORS as error:
        raise FormatError(f"is no whole zip archive ({error}); fetch it again") from error
    offsets = _unwrapped([info.header_offset for info in infos])
    starts = sorted({*offsets, end})
    members = []
    for info, offset in zip(infos, offsets, strict=True):
        following = bisect_right(starts, offset)
        # A local header has at most 65,535 bytes of name and as many of extra fields; a data descriptor takes 24.
        longest = offset + _LOCAL.size + 2 * 65535 + info.compress_size + 24
        stop = min(starts[following], longest) if following < len(starts) else offset
        members.append(
            Member(
                info.orig_filename,
                offset,
                stop,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type,
                info.flag_bits,
            )
        )
    return members


def _unwrapped(offsets: list[int]) -> list[int]:
    """Return true offsets where macOS kept their low 32 bits only.

    In such an archive `zipfile` finds the directory some whole number of 4 GiB beyond where its record says, and takes
    so much to precede the archive: no offset is then below 4 GiB. The members lie in the directory's order.
    """
    surplus = min(offsets, default=0) // _WRAP * _WRAP
    if surplus == 0:
        return offsets
    true, turns, before = [], 0, 0
    for offset in offsets:
        low = offset - surplus
        turns += low < before
        before = low
        true.append(low + turns * _WRAP)
    return true


def unpack(member: Member, block: memoryview) -> bytes:
    """Return a member's bytes, checked.

    Parameters
    ----------
    member : Member
        One without a `Member.problem`.
    block : memoryview
        The archive's bytes from its offset to its stop.

    Raises
    ------
    FormatError
        If the member is not where the directory says, is cut short, yields more or less than it claims, or fails its
        CRC-32.
    """
    packed = _packed(member, block)
    if len(packed) < member.packed:
        raise FormatError(f"has {len(packed)} of its {member.packed} compressed bytes; {_DAMAGED}")
    if member.method == _STORED:
        data = bytes(packed)
    else:
        inflater = deflate.decompressobj(-15)
        try:
            data = inflater.decompress(packed, member.size + 1)
        except deflate.error as error:
            raise FormatError(f"cannot be inflated ({error}); {_DAMAGED}") from error
        if len(data) <= member.size and not inflater.eof:
            raise FormatError(f"ends within its compressed bytes; {_DAMAGED}")
    if len(data) != member.size:
        more = "more than" if len(data) > member.size else f"{len(data)} of"
        raise FormatError(f"yields {more} the {member.size} bytes that it claims; {_DAMAGED}")
    if deflate.crc32(data) != member.crc:
        raise FormatError(
            f"has the CRC-32 {deflate.crc32(data):08x}, the archive's directory says {member.crc:08x}; {_DAMAGED}"
        )
    return data


def unpack_head(member: Member, block: memoryview, limit: int) -> bytes:
    """Return what a member's first bytes yield, at most `limit`, unchecked; FormatError where they are no member."""
    packed = _packed(member, block)
    if member.method == _STORED:
        return bytes(packed[:limit])
    try:
        return zlib.decompressobj(-15).decompress(packed, limit)
    except zlib.error as error:
        raise FormatError(f"cannot be inflated ({error}); {_DAMAGED}") from error


def _packed(member: Member, block: memoryview) -> memoryview:
    """Return the compressed bytes, which follow a local header of its own length."""
    if len(block) < _LOCAL.size:
        raise FormatError(f"is cut short; {_DAMAGED}")
    mark, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(block)
    name = bytes(block[_LOCAL.size : _LOCAL.size + name_bytes])
    if mark != b"PK\3\4" or name != member.path.encode("utf-8" if member.flags & _UTF8 else "cp437"):
        raise FormatError(f"is not where the archive's directory says; {_DAMAGED}")
    start = _LOCAL.size + name_bytes + extra_bytes
    return block[start : start + member.packed]
