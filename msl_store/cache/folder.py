"""A cache's folder: made or joined, changed by one at a time, emptied, and checked."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msl_store.cache.change import SPARE_BYTES, Change
from msl_store.cache.finding import Finder
from msl_store.cache.inventory import LOCK, MARKER, TOP, Inventory, read_document, write_document
from msl_store.cache.lock import locked
from msl_store.cache.sizes import byte_count, size_text
from msl_store.cache.tally import Tally
from msl_store.errors import FormatError, MSLError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msl_store.cache.ledger import Ledger

log = logging.getLogger("msl_store.cache")

WHAT = "cache of msl-store libraries; delete it with `msl cache clear` or as a whole"

VERSION = 1
"""Of the folder's layout."""

SMALLEST_LIMIT = 10**6
"""What a cache's folders and documents need leaves nothing worth having of less."""

PATIENCE_S = 60.0
"""How long those wait for the lock who cannot do without."""


class CacheFolder:
    """The folder of a cache, which several processes share.

    Parameters
    ----------
    path : Path
        Where it lies.

    Attributes
    ----------
    finder : Finder
        Finds pieces in it, and remembers where they lie.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finder = Finder()
        self._tally = Tally()

    def __reduce__(self) -> tuple[Any, ...]:
        return _attached, (self.path, self.limit)

    def prepare(self, limit: int | str | None) -> None:
        """Make the cache, or join it; count what is there. A limit is set for everybody and evicted down to.

        Raises
        ------
        UsageError
            The folder holds something else; there is no cache yet and no limit is given; or the limit is too small, or
            smaller than what is pinned.
        FormatError
            A newer release made the cache, or its marker is damaged.
        """
        wanted = None if limit is None else byte_count(limit)
        if wanted is not None and wanted < SMALLEST_LIMIT:
            raise UsageError(f"{self.path}: a limit of {limit!r} is too small for a cache; allowed: 1 MB or more")
        if not self._exists() and wanted is None:
            raise UsageError(
                f"{self.path}: there is no cache here yet; give it a limit, as in limit='20 GB', or make it "
                "with `msl cache limit FOLDER '20 GB'`"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.path}: no folder can be made here ({error.strerror}); name one that you may write"
            ) from error
        with locked(self.path / LOCK, patience_s=PATIENCE_S):
            before = self.limit if self._exists() else None
            change = Change(self.path)
            inventory = change.count()
            if wanted is not None and wanted != before:
                if inventory.fixed_bytes + SPARE_BYTES > wanted:
                    raise UsageError(
                        f"{self.path}: a limit of {size_text(wanted)} is less than what is pinned, "
                        f"{size_text(inventory.fixed_bytes)}; unpin some of it, or allow more"
                    )
                change.limit = wanted
            change.evict(change.limit - SPARE_BYTES)
            if change.limit != before:
                write_document(self.path / MARKER, {"what": WHAT, "version": VERSION, "limit": change.limit})

    def _exists(self) -> bool:
        """Whether there is a cache; an error where there is something else."""
        try:
            names = sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise UsageError(f"{self.path}: is a file; a cache needs a folder of its own") from None
        if MARKER in names:
            version = read_document(self.path / MARKER).get("version")
            if version != VERSION:
                raise FormatError(
                    f"{self.path / MARKER}: names layout {version}, this release knows {VERSION}: it is damaged, or a "
                    "newer release made it; use another folder, or delete this one"
                )
            return True
        foreign = [name for name in names if name not in TOP]
        if foreign:
            raise UsageError(
                f"{self.path}: holds other files ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}); "
                "a cache needs a folder of its own: name a new or an empty one"
            )
        return False

    @contextmanager
    def changing(self, *, patience_s: float = PATIENCE_S) -> Iterator[Change]:
        """Hold the cache's lock; `BusyError` where somebody else has held it too long."""
        with locked(self.path / LOCK, patience_s=patience_s):
            change = Change(self.path)
            hits, misses = self._tally.take()
            if hits or misses:
                change.book(hits=hits, misses=misses)
            yield change

    def note(self, hits: int, misses: int) -> None:
        """Count pieces that were found or not; about once a second that is written into the ledger."""
        if self._tally.add(hits, misses):
            with suppress(MSLError, OSError), self.changing(patience_s=0):
                pass

    @property
    def limit(self) -> int:
        """The most bytes that the cache may have on the disk."""
        return int(read_document(self.path / MARKER).get("limit", 0))

    def report(self) -> tuple[Inventory, Ledger]:
        """Count what is there; return it with the ledger."""
        with self.changing() as change:
            return change.count(), change.ledger


def _attached(path: Path, limit: int) -> CacheFolder:
    """Return the folder that another process sent.

    On another machine, which has no such folder, it is made; where it cannot be, everything is read without it.
    """
    folder = _joined(path)
    if not (path / MARKER).exists():
        try:
            folder.prepare(limit)
        except (MSLError, OSError) as error:
            log.warning("%s: is no cache on this machine (%s); libraries are read without it", path, error)
    return folder


@lru_cache(maxsize=16)
def _joined(path: Path) -> CacheFolder:
    """Return the same folder each time, so that what this process counts is kept together."""
    return CacheFolder(path)
