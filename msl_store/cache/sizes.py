"""Sizes in bytes as people write them, and as disks count them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from msl_store.errors import UsageError

if TYPE_CHECKING:
    import os

UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip

SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*")

DISK_BLOCK = 4096
"""What a file's last part takes at least; the block of most file systems."""


def byte_count(size: int | str) -> int:
    """Return a size in bytes given as a number, or as text with a decimal or binary unit.

    Raises
    ------
    UsageError
        It is no such text, or negative.

    >>> byte_count("20 GB"), byte_count("1.5 MiB"), byte_count(4096)
    (20000000000, 1572864, 4096)
    """
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is not None and found[2].upper() in UNITS:
        return int(Decimal(found[1]) * UNITS[found[2].upper()])
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise UsageError(
        f"size {size!r}: allowed is a number of bytes, or text such as '20 GB' (10^9 bytes) or '500 MiB' (2^20); "
        "units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
    )


def size_text(size: float) -> str:
    """Return a number of bytes for people, in decimal units.

    >>> size_text(3_310_000)
    '3.3 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def rounded_up(size: int) -> int:
    """Return a size in whole disk blocks.

    >>> rounded_up(1), rounded_up(8192)
    (4096, 8192)
    """
    return -(-size // DISK_BLOCK) * DISK_BLOCK


def charge(status: os.stat_result) -> int:
    """Return what a file costs: the blocks that it has, as ``du`` counts them, or its whole blocks where that is more.

    The second counts where a file system allocates late or compresses.
    """
    return max(status.st_blocks * 512, rounded_up(status.st_size))
