"""Just enough HTTP/1.1 (RFC 9112) to pass messages on byte by byte."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BLOCK = 1 << 18
"""Bytes read at a time, and the longest head."""

# Fields that speak of one connection, not of the message (RFC 9110, section 7.6.1); a proxy settles them itself.
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"expect"}


@dataclass(frozen=True)
class Head:
    """The start line and the header lines, as they came.

    Attributes
    ----------
    start_line : bytes
        Without its line end.
    fields : tuple of (bytes, bytes)
        Name in lower case and whole line, in order.
    """

    start_line: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a field, its name in lower case."""
        for field, line in self.fields:
            if field == name:
                return line.partition(b":")[2].strip()
        return None

    def encode(self, *extra: bytes) -> bytes:
        """Return the bytes to pass on: every line as it came but those of one connection, then the extra lines."""
        kept = [line for field, line in self.fields if field not in HOP_BY_HOP]
        return b"\r\n".join([self.start_line, *kept, *extra, b"", b""])

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return b"chunked" in (self.get(b"transfer-encoding") or b"").lower()

    @property
    def length(self) -> int | None:
        """Bytes of the body where the head says so."""
        value = None if self.chunked else self.get(b"content-length")
        return None if value is None else int(value)

    @property
    def persistent(self) -> bool:
        """Whether the sender keeps the connection open after this message."""
        option = (self.get(b"connection") or b"").lower()
        return b"close" not in option and (b"HTTP/1.0" not in self.start_line or b"keep-alive" in option)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read up to the empty line; None where the connection ended before the first byte."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as short:
        if short.partial:
            raise
        return None
    start_line, *lines = raw[:-4].split(b"\r\n")
    return Head(start_line, tuple((line.partition(b":")[0].strip().lower(), line) for line in lines))


async def read_body(
    reader: asyncio.StreamReader, head: Head, *, until_close: bool = False
) -> AsyncIterator[tuple[bytes, int]]:
    """Yield the body in pieces: the bytes on the wire, and how many of them are not framing.

    Parameters
    ----------
    until_close : bool
        What to do where the head says nothing about a body: read to the end of the connection, or nothing.

    Raises
    ------
    asyncio.IncompleteReadError
        The connection ended before the body did.
    """
    if head.chunked:
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            yield line, 0
            async for piece in _exactly(reader, size):
                yield piece, len(piece)
            if size:
                yield await reader.readexactly(2), 0
        while line != b"\r\n":  # trailers
            line = await reader.readuntil(b"\r\n")
            yield line, 0
    elif head.length is not None:
        async for piece in _exactly(reader, head.length):
            yield piece, len(piece)
    elif until_close:
        while piece := await reader.read(BLOCK):
            yield piece, len(piece)


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, BLOCK))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
        yield piece
