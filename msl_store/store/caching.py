"""The cache as its users see it: made with a limit, given to `msl_store.open`, asked, pinned to and emptied."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msl_store.cache import CacheFolder, find_damage
from msl_store.errors import MissingError
from msl_store.store.cached import CachedObjects
from msl_store.store.objects import normalized_url
from msl_store.store.pinning import pin, pin_name, unpin
from msl_store.store.reading import CACHE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from msl_store.cache import Damage, PinReport
    from msl_store.store.pinning import Pinnable

LIMIT_VARIABLE = "MSL_CACHE_LIMIT"
"""Environment variable that gives the limit of the cache that `CACHE_VARIABLE` names."""


@dataclass(frozen=True)
class CachedLibrary:
    """What a cache holds of one library.

    Attributes
    ----------
    url : str
        Where it lies.
    root : str
        SHA-256 of its root document: a library that has changed since is another one.
    bytes, pinned_bytes : int
        What it costs on the disk, and how much of that is pinned.
    used : str
        When it was last read, ISO 8601 in UTC.
    pins : tuple of PinReport
        Its pins.
    """

    url: str
    root: str
    bytes: int
    pinned_bytes: int
    used: str
    pins: tuple[PinReport, ...]


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds, and how often it was of use.

    Attributes
    ----------
    folder : str
        Where it lies.
    bytes, limit, pinned_bytes : int
        What it costs on the disk now, at most, and how much is pinned. A file counts its blocks, as ``du`` does, or its
        length in whole blocks of 4,096 bytes where that is more; folders and the cache's own documents count too.
    entries : int
        Files of pieces.
    hits, misses, damaged : int
        Pieces that were found, not found, and found damaged, by all processes since the cache was made. A process
        writes down what it has counted at least once a second while it reads.
    libraries : tuple of CachedLibrary
        What is held of each library.
    """

    folder: str
    bytes: int
    limit: int
    pinned_bytes: int
    entries: int
    hits: int
    misses: int
    damaged: int
    libraries: tuple[CachedLibrary, ...]


class Cache:
    """A folder that keeps what was read of remote libraries, for all processes that use it, within one limit.

    What was used longest ago makes room for what is new; pins stay. The limit counts what is on the disk
    (`CacheInfo.bytes`) and holds at every moment: room is made before anything is written. Pieces longer than a quarter
    of the limit are read and not kept. What is read is checked by its digest; a damaged piece is fetched again and
    said so (logger ``msl_store.cache``). A cache only ever deletes what it wrote.

    A cache pickles as its folder, so workers share it. It needs flock, so no Windows and no file system without locks.

    Parameters
    ----------
    folder : path
        A folder of its own, made where there is none.
    limit : int or str, optional
        The most bytes on the disk, as in ``"20 GB"`` or ``"500 MiB"``; 1 MB or more. It holds for all processes, and
        for later ones that name none; a new limit replaces the old one, and what is too much is evicted at once.
    offline : bool
        Ask no server: what is not in the cache is a `NetworkError` that names it. Without this, too, a library opens
        from the cache where its server cannot be reached.

    Raises
    ------
    UsageError
        The folder holds other files, the limit is none or smaller than what is pinned, or a new cache has none.
    FormatError
        A newer release made the cache.
    """

    def __init__(
        self, folder: str | os.PathLike[str], limit: int | str | None = None, *, offline: bool = False
    ) -> None:
        self._folder = CacheFolder(Path(folder).expanduser().absolute())
        self._folder.prepare(limit)
        self.offline = offline

    @staticmethod
    def from_environment() -> Cache | None:
        """Return the cache that ``MSL_CACHE`` (a folder) and ``MSL_CACHE_LIMIT`` name, None where they name none."""
        folder = os.environ.get(CACHE_VARIABLE)
        return _named(folder, os.environ.get(LIMIT_VARIABLE) or None) if folder else None

    def __repr__(self) -> str:
        return f"Cache({str(self.folder)!r}, limit={self.limit}{', offline=True' if self.offline else ''})"

    @property
    def folder(self) -> Path:
        """Where the cache lies."""
        return self._folder.path

    @property
    def limit(self) -> int:
        """The most bytes that it may have on the disk."""
        return self._folder.limit

    def locate(self, url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> CachedObjects:
        """Return the objects below a URL, read by way of this cache."""
        return CachedObjects(normalized_url(url), storage_options, self._folder, offline=self.offline)

    def pin(
        self,
        library: Pinnable,
        *,
        parts: Sequence[str] | None = None,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> PinReport:
        """Download a library, or a subset of one, and keep it until it is unpinned.

        Parameters
        ----------
        library : Library
            Opened with this cache; with an edition joined, the edition's images are pinned too.
        parts : sequence of str
            Of `Library.parts`, all by default. Columns are pinned always, for all instances.
        progress : callable
            Called with the bytes brought and the bytes of all.

        Returns
        -------
        PinReport
            Pins are independent: where two overlap, both hold what they share.

        Raises
        ------
        UsageError
            It was opened without this cache, or does not fit beside the other pins; then nothing of it stays pinned.
        IntegrityError
            The library has changed, or something of it is damaged or missing; nothing of it stays pinned.
        NetworkError
            The server cannot be reached; pinning the same again goes on where this stopped.
        """
        name = pin(self._folder, library, library.parts if parts is None else parts, progress=progress)
        for held in self.info().libraries:
            for report in held.pins:
                if report.id == name:
                    return report
        raise MissingError(f"{self.folder}: the pin {name} was undone by another process; pin it again")

    def unpin(self, library: Pinnable | str, *, parts: Sequence[str] | None = None) -> None:
        """Undo a pin, given by what was pinned, or by its id or the beginning of it; what it held may be evicted then.

        Raises
        ------
        MissingError
            There is no such pin.
        UsageError
            The ids of several pins begin like this.
        """
        if not isinstance(library, str):
            library = pin_name(library, library.parts if parts is None else parts)
        unpin(self._folder, library)

    def info(self) -> CacheInfo:
        """Count what the cache holds."""
        inventory, ledger = self._folder.report()
        libraries = tuple(
            CachedLibrary(
                holding.url,
                holding.root,
                holding.bytes,
                sum(report.bytes for report in holding.pins),
                datetime.fromtimestamp(holding.used_ns / 1e9, UTC).isoformat(timespec="seconds"),
                holding.pins,
            )
            for holding in inventory.holdings
        )
        return CacheInfo(
            str(self.folder),
            inventory.bytes,
            self.limit,
            inventory.pinned_bytes,
            len(inventory.packs),
            ledger.hits,
            ledger.misses,
            ledger.damaged,
            libraries,
        )

    def clear(self, *, pins: bool = False) -> None:
        """Delete what the cache holds; what is pinned only with `pins`."""
        with self._folder.changing() as change:
            for holding in change.count().holdings:
                change.drop(holding, pins=pins)
            change.count()

    def verify(self) -> list[Damage]:
        """Check every piece against its digest, cut off what is damaged, and return what was found.

        What is cut off is fetched again when it is read. A pin that lost something is no longer complete: pin the same
        again to complete it.
        """
        return find_damage(self._folder)


CacheChoice = Cache | Literal[False] | None
"""A cache; none at all; or, where it is None, the one that the environment names, if any."""


@lru_cache(maxsize=4)
def _named(folder: str, limit: str | None) -> Cache:
    """Return the cache that the environment names, made or joined once a process."""
    return Cache(folder, limit)
