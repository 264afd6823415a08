"""A library's objects by way of a cache: what is there is not asked for, and what is fetched is kept."""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from msl_store.cache import Fetched, LibraryKey, Shelf, shown_root, source_of
from msl_store.errors import IntegrityError, MSLError, NetworkError, UsageError
from msl_store.store.objects import Objects, Traffic
from msl_store.store.reading import ROOT
from msl_store.store.sharding import verified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from msl_store.cache import CacheFolder
    from msl_store.store.objects import Backend, Parts, Range, Request

log = logging.getLogger("msl_store.cache")

IN_TURN = 4
"""So few objects are read one after the other; of more, several at the same time."""

LIBRARY_MARK = b'"msl_schema_version"'


def _ignore(_place: int, _parts: Parts | None) -> None:
    """Do nothing with an answer."""


class CachedObjects(Objects):
    """The objects of a library, by way of a cache.

    Every chunk, shard index and column of a library ends with its CRC-32C. A piece that fails it is handed on, so that
    the reader says what is wrong with it, and not kept.

    Parameters
    ----------
    url, storage_options
        As `Objects` takes them.
    folder : CacheFolder
        The cache.
    offline : bool
        Ask the server nothing.
    root : str, optional
        SHA-256 of the root document, where another process has opened the library before.
    """

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None,
        folder: CacheFolder,
        *,
        offline: bool = False,
        root: str | None = None,
    ) -> None:
        super().__init__(url, storage_options)
        self.folder = folder
        self.offline = offline
        self._no_traffic = Traffic()
        self.shelf = None if root is None else Shelf(folder, self._key(root))

    def __reduce__(self) -> tuple[Any, ...]:
        root = None if self.shelf is None else self.shelf.key.root
        return partial(CachedObjects, offline=self.offline, root=root), (self.url, self.storage_options, self.folder)

    @property
    def _backend(self) -> Backend:
        if self.offline:
            raise NetworkError(
                f"{self.url}: only the server can tell this, and the cache in {self.folder.path} is offline; open the "
                "library without offline=True"
            )
        return super()._backend

    @property
    def traffic(self) -> Traffic:
        """What this process has fetched so far from the server: nothing, where that is not asked."""
        return self._no_traffic if self.offline else super().traffic

    def __repr__(self) -> str:
        return f"CachedObjects({self.url!r}, {str(self.folder.path)!r})"

    def _key(self, root: str) -> LibraryKey:
        client = self.storage_options.get("client_kwargs") or {}
        server = self.storage_options.get("endpoint_url") or client.get("endpoint_url") or ""
        return LibraryKey(self.url, source_of(self.url, str(server)), root)

    def get(self, path: str) -> bytes:
        """Return one object whole; the root document is the server's where that answers, else the cache's.

        Raises
        ------
        MissingError
            The server has no such object.
        NetworkError
            It is not in the cache, and the server cannot be reached or shall not be asked.
        """
        if path != ROOT:
            return bytes(self.get_many([(path, None)])[0][0])
        if self.shelf is not None and (known := self.shelf.find(ROOT, [None]).bodies[0]) is not None:
            return bytes(known)  # another process has asked the server
        if self.offline:
            return self._root_without_server("the cache is offline")
        try:
            raw = self.server_root()
        except NetworkError as error:
            raw = self._root_without_server(f"the server was asked in vain ({error})")
            log.warning("%s: cannot be reached (%s); %s has it, and is used", self.url, error, self.folder.path)
            return raw
        if LIBRARY_MARK in raw:
            self._enter(raw)
        return raw

    def server_root(self) -> bytes:
        """Return the root document that the server shows now."""
        return super().get(ROOT)

    def _root_without_server(self, why: str) -> bytes:
        root = shown_root(self.folder.path, self._key("").source)
        shelf = Shelf(self.folder, self._key(root or ""))
        raw = shelf.find(ROOT, [None]).bodies[0]
        if raw is None:
            raise NetworkError(
                f"{self.url}: {why}, and {self.folder.path} does not hold this library; open it once while the server "
                "can be reached, and pin what you need"
            )
        self.shelf = shelf
        return bytes(raw)

    def _enter(self, raw: bytes) -> None:
        """Use what is cached of the library that the server has shown."""
        shelf = Shelf(self.folder, self._key(hashlib.sha256(raw).hexdigest()))
        try:
            shelf.enter()
        except (MSLError, OSError) as error:
            log.warning("%s: %s; %s is read without a cache", self.folder.path, error, self.url)
            return
        self.shelf = shelf
        found = shelf.find(ROOT, [None])
        if found.bodies[0] is None or found.damaged:
            shelf.keep([Fetched(ROOT, None, memoryview(raw))], found.damaged)

    def find_many(
        self, requests: Sequence[Request], each: Callable[[int, Parts | None], None] = _ignore
    ) -> list[Parts | None]:
        """Return ranges of several objects, as `Objects.find_many` does; only what the cache lacks is fetched.

        Raises
        ------
        NetworkError
            The cache lacks something, and the server cannot be reached or shall not be asked.
        """
        if self.shelf is None:
            return super().find_many(requests, each)
        return self._find(self.shelf, requests, each, keep=True)[0]

    def find_without_keeping(self, requests: Sequence[Request]) -> tuple[list[Parts | None], int]:
        """Return ranges of several objects, and how many of them were not in the cache; they are not put there."""
        if self.shelf is None:
            raise UsageError(f"{self.url}: is not open; open a library by msl_store.open")
        return self._find(self.shelf, requests, _ignore, keep=False)

    def _find(
        self, shelf: Shelf, requests: Sequence[Request], each: Callable[[int, Parts | None], None], *, keep: bool
    ) -> tuple[list[Parts | None], int]:
        places = shelf.places()
        answers = [_Answer(path, ranges) for path, ranges in requests]

        def look(place: int) -> None:
            answer = answers[place]
            answer.look_up(shelf, places)
            if answer.parts is not None:
                each(place, answer.parts)

        if len(answers) <= IN_TURN:
            for place in range(len(answers)):
                look(place)
        else:
            list(_readers(os.getpid()).map(look, range(len(answers))))
        missing = [place for place, answer in enumerate(answers) if answer.parts is None]
        lacking = sum(len(answers[place].lacking) for place in missing)
        self.folder.note(sum(len(answer.bodies) for answer in answers) - lacking, lacking)
        fetched: list[Fetched] = []
        try:
            if missing:
                self._fetch(answers, missing, each, fetched)
        finally:
            damaged = {key: pack for answer in answers for key, pack in answer.damaged.items()}
            good = [piece for piece in tuple(fetched) if proves_itself(piece.body)]
            if damaged:
                good += [piece for answer in answers for piece in answer.found_elsewhere()]
            if good and keep:
                shelf.keep(good, damaged)
        return [answer.parts for answer in answers], lacking

    def _fetch(
        self,
        answers: list[_Answer],
        missing: list[int],
        each: Callable[[int, Parts | None], None],
        fetched: list[Fetched],
    ) -> None:
        """Ask the server for what is missing, and add to `fetched` what comes, also where an error ends it."""
        if self.offline:
            raise NetworkError(self._not_cached(answers, missing, "the cache is offline"))

        def answered(number: int, parts: Parts | None) -> None:
            answer = answers[missing[number]]
            if parts is not None:
                fetched.extend(answer.complete(parts))
            each(missing[number], answer.parts)

        try:
            super().find_many([answers[place].request for place in missing], answered)
        except NetworkError as error:
            raise NetworkError(self._not_cached(answers, missing, str(error))) from error

    def _not_cached(self, answers: list[_Answer], missing: list[int], why: str) -> str:
        first = answers[missing[0]]
        pieces = sum(len(answers[place].lacking) for place in missing)
        return (
            f"{self.url}/{first.path}{first.extent_text()}: is not in {self.folder.path}, as {pieces} of the pieces "
            f"asked for, and {why}; pin what you need (Cache.pin, msl cache pin) while the server can be reached"
        )


class _Answer:
    """The answer to one request, on its way: first from the cache, then from the server."""

    def __init__(self, path: str, ranges: Sequence[Range] | None) -> None:
        self.path = path
        self.extents: list[Range | None] = [None] if ranges is None else list(ranges)
        self.bodies: list[memoryview | None] = [None] * len(self.extents)
        self.damaged: dict[bytes, Path] = {}
        self.parts: Parts | None = None

    def look_up(self, shelf: Shelf, places: Sequence[Path]) -> None:
        found = shelf.find(self.path, self.extents, places)
        self.bodies, self.damaged = found.bodies, found.damaged
        self._finish()

    @property
    def lacking(self) -> list[int]:
        return [number for number, body in enumerate(self.bodies) if body is None]

    @property
    def request(self) -> Request:
        """What to ask the server for."""
        ranges = [extent for extent in (self.extents[number] for number in self.lacking) if extent is not None]
        return self.path, ranges or None

    def complete(self, parts: Parts) -> list[Fetched]:
        """Take what the server has sent, and return it as pieces."""
        lacking = self.lacking
        for number, part in zip(lacking, parts, strict=True):
            self.bodies[number] = part
        self._finish()
        return [Fetched(self.path, self.extents[number], part) for number, part in zip(lacking, parts, strict=True)]

    def found_elsewhere(self) -> list[Fetched]:
        """Return the pieces that were found in one pack after another had them damaged."""
        found = zip(self.extents, self.bodies, strict=True)
        pieces = (Fetched(self.path, extent, body) for extent, body in found if body is not None)
        return [piece for piece in pieces if piece.key in self.damaged]

    def _finish(self) -> None:
        there = [body for body in self.bodies if body is not None]
        if len(there) == len(self.bodies):
            self.parts = there

    def extent_text(self) -> str:
        extent = self.extents[self.lacking[0]]
        return "" if extent is None else f" bytes {extent[0]} to {extent[1]}"


def proves_itself(body: memoryview) -> bool:
    """Whether a piece ends with the CRC-32C of what comes before."""
    try:
        verified(body, "")
    except IntegrityError:
        return False
    return True


@cache
def _readers(_pid: int) -> ThreadPoolExecutor:
    """Return this process's threads for reading and decoding."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="msl-store-cache")
