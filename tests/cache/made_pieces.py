"""Pieces of objects that never were: their content follows from their place."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msl_store.cache import CacheFolder, Fetched, LibraryKey, Shelf, source_of

if TYPE_CHECKING:
    from pathlib import Path

    from msl_store.cache.packs import Extent


def body_of(path: str, extent: Extent) -> bytes:
    """The bytes of a piece; a whole object has 3,000."""
    length = 3000 if extent is None else extent[1] - extent[0]
    return hashlib.shake_128(f"{path} {extent}".encode()).digest(length)


def piece_of(path: str, extent: Extent) -> Fetched:
    """A piece as it is fetched."""
    return Fetched(path, extent, memoryview(body_of(path, extent)))


def chunk(number: int) -> tuple[str, Extent]:
    """Where one of many chunks of 13 kB lies: sixteen to an object, after its index."""
    start = 1000 + number % 16 * 13_000
    return f"images/c/{number // 16}", (start, start + 12_900)


def shelf_at(path: Path, limit: int | str | None = None, *, root: str = "a" * 64, url: str = "s3://made/up") -> Shelf:
    """The shelf of a made-up library in a cache, which is made or joined with a limit."""
    folder = CacheFolder(path)
    folder.prepare(limit)
    return Shelf(folder, LibraryKey(url, source_of(url), root))


def assert_sound(shelf: Shelf, places: list[tuple[str, Extent]]) -> int:
    """Fail where a shelf has anything wrong; return how many of some pieces it has."""
    there = 0
    for path, extent in places:
        found = shelf.find(path, [extent])
        assert not found.damaged, (path, extent)
        assert not found.broken, (path, extent)
        if found.bodies[0] is not None:
            assert bytes(found.bodies[0]) == body_of(path, extent)
            there += 1
    return there
