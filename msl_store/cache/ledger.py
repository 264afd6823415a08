"""The numbers that all processes of a cache share: bytes in use, and how often pieces were found."""

from __future__ import annotations

import os
import struct
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = struct.Struct("<8s4Q")
CHECKSUM = struct.Struct("<I")
MARK = b"MSLledg1"


@dataclass(frozen=True)
class Ledger:
    """What a cache's ledger says.

    Attributes
    ----------
    used : int
        Bytes on the disk at most: whoever writes adds what it may take before, and corrects it afterwards. A writer
        that is killed in between leaves it too high until somebody counts.
    hits, misses, damaged : int
        Pieces that were found, that were not, and that were not what had been written, since the cache was made.
    """

    used: int = 0
    hits: int = 0
    misses: int = 0
    damaged: int = 0


def read_ledger(path: Path) -> Ledger | None:
    """Return a ledger, or None where there is none that its checksum proves."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) != FIELDS.size + CHECKSUM.size:
        return None
    if CHECKSUM.unpack_from(data, FIELDS.size)[0] != google_crc32c.value(data[: FIELDS.size]):
        return None
    mark, *numbers = FIELDS.unpack_from(data)
    return Ledger(*numbers) if mark == MARK else None


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger in place; a reader that comes between sees that its checksum fails."""
    fields = FIELDS.pack(MARK, *astuple(ledger))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.pwrite(fd, fields + CHECKSUM.pack(google_crc32c.value(fields)), 0)
    finally:
        os.close(fd)
