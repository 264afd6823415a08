"""The storage libraries behind `Objects`, and which of them serves a URL."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msl_store.errors import MissingError, NetworkError, UsageError
from msl_store.store.faults import refuse_if_short, translated
from msl_store.store.objects import Parts, Range, Request, Traffic, local_path, or_whole
from msl_store.store.ranges import cat_ranges, coalesced, parts_of
from msl_store.store.s3 import s3_store, s3fs_options
from msl_store.store.zipped import ZipBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence

    from obstore.store import HTTPStore, ObjectStore

    from msl_store.store.objects import Backend, Body

S = TypeVar("S")
T = TypeVar("T")

REQUESTS_AT_ONCE = 256
"""Requests under way at the same time for one read; each takes a connection, of which a process has about 1,000."""

RUNS_A_CALL = 10
"""Ranges of one object that obstore fetches at the same time; more wait for these."""

PARTIAL_FILE = re.compile(r"^(\d+|\w+\.json)#\d+$")

CLIENT_OPTIONS = {
    "timeout": timedelta(minutes=10),
    "connect_timeout": timedelta(seconds=10),
    "allow_http": True,
}
RETRY = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}

_obstore_pid: int | None = None


def open_backend(url: str, options: Mapping[str, Any]) -> Backend:
    """Return the backend that serves a URL in this process."""
    if url.endswith(".zip"):
        return ZipBackend(url, options)
    global _obstore_pid  # noqa: PLW0603 - one Rust runtime a process
    options = dict(options)
    if options.pop("client", None) != "fsspec" and _obstore_pid in (None, os.getpid()):
        backend = _obstore_backend(url, options)
        if backend is not None:
            _obstore_pid = os.getpid()
            return backend
    return FsspecBackend(url, options)


def _obstore_backend(url: str, options: Mapping[str, Any]) -> ObstoreBackend | None:
    """Return the obstore backend, or None where obstore does not know the protocol or an option."""
    if (path := local_path(url)) is not None:
        return ObstoreBackend(url, folder=path)
    if url.startswith("s3://"):
        with translated(url):
            store = s3_store(url, options, client_options=CLIENT_OPTIONS, retry_config=RETRY)
        return None if store is None else ObstoreBackend(url, store)
    if url.startswith(("http://", "https://")) and set(options) <= {"headers"}:
        return ObstoreBackend(url, _http_store(os.getpid(), url, tuple(sorted(options.get("headers", {}).items()))))
    return None


@lru_cache(maxsize=64)
def _http_store(_pid: int, url: str, headers: tuple[tuple[str, str], ...]) -> HTTPStore:
    """Return a web server's store, one a process: whoever opens it again finds its connections open."""
    from obstore.store import HTTPStore

    client = cast("Any", {**CLIENT_OPTIONS, "default_headers": dict(headers)})
    return HTTPStore.from_url(url, client_options=client, retry_config=cast("Any", RETRY))


class ObstoreBackend:
    """A disk, an S3 bucket or a web server by obstore."""

    def __init__(self, url: str, store: ObjectStore | None = None, folder: Path | None = None) -> None:
        self.traffic = Traffic()
        self._url = url
        self._store = store
        self._folder = folder

    def _reading(self) -> ObjectStore:
        return self._opened(create=False)

    def _opened(self, *, create: bool) -> ObjectStore:
        if self._store is None:
            from obstore.store import LocalStore

            assert self._folder is not None  # noqa: S101 - given where no store is
            if not (create or self._folder.is_dir()):
                raise MissingError(f"{self._url}: there is no such folder; check the path")
            self._store = LocalStore(self._folder, mkdir=create)
        return self._store

    def get(self, path: str) -> bytes:
        """Return an object whole."""
        import obstore

        with translated(f"{self._url}/{path}"):
            body = bytes(obstore.get(self._reading(), path).bytes())
        self.traffic.add(1, len(body))
        return body

    def get_many(self, requests: Sequence[Request], each: Callable[[int, Parts | None], None]) -> list[Parts | None]:
        """Return ranges of several objects, fetched at the same time."""
        return _together(self._get_ranges, requests, each)

    async def _get_ranges(self, request: Request, turns: _Turns) -> Parts | None:
        """Return ranges of one object, or None where there is no such object."""
        path, ranges = request
        runs = coalesced(ranges or [])
        groups = [runs[start : start + RUNS_A_CALL] for start in range(0, len(runs), RUNS_A_CALL)]
        try:
            if ranges is None:
                return [await self._get_whole(path, turns)]
            fetched = await asyncio.gather(*(self._get_runs(path, group, turns) for group in groups))
        except MissingError:
            return None
        return parts_of(ranges, runs, [body for group in fetched for body in group])

    async def _get_whole(self, path: str, turns: _Turns) -> memoryview:
        """Return an object when it is this request's turn."""
        import obstore

        async with turns.taken(1):
            with translated(f"{self._url}/{path}"):
                answer = await obstore.get_async(self._reading(), path)
                body = memoryview(await answer.bytes_async())
        self.traffic.add(1, len(body))
        return body

    async def _get_runs(self, path: str, runs: Sequence[Range], turns: _Turns) -> Parts:
        """Return some ranges of an object, a request each, when it is their turn.

        obstore could coalesce them itself, but then panics where the object is shorter than a range (0.12).
        """
        import obstore

        place = f"{self._url}/{path}"
        async with turns.taken(len(runs)):
            try:
                with translated(place):
                    starts, stops = zip(*runs, strict=True)
                    store = self._reading()
                    fetched = await obstore.get_ranges_async(store, path, starts=starts, ends=stops, coalesce=0)
            except NetworkError:
                with translated(place):
                    held = (await obstore.head_async(self._reading(), path))["size"]
                for run in runs:
                    refuse_if_short(place, held, run)
                raise
        bodies = [memoryview(body) for body in fetched]
        self.traffic.add(len(bodies), sum(map(len, bodies)))
        return bodies

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        import obstore

        with translated(f"{self._url}/{path}"):
            return obstore.head(self._reading(), path)["size"]

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder."""
        import obstore

        if self._url.startswith(("http://", "https://")):
            raise UsageError(
                f"{self._url}: a web server cannot list its files; name each file's URL, or use s3:// or a path"
            )
        if self._folder is not None and not self._folder.is_dir():
            return []
        with translated(f"{self._url}/{prefix}"):
            pages = obstore.list(self._reading(), prefix or None)
            return sorted((item["path"], item["size"]) for page in pages for item in page)

    def put(self, path: str, data: Body, *, create: bool) -> None:
        """Write an object whole."""
        import obstore

        with translated(f"{self._url}/{path}"):
            obstore.put(
                self._opened(create=True),
                path,
                iter(data) if isinstance(data, list) else data,
                mode="create" if create else "overwrite",
                use_multipart=False,
            )

    def delete(self, path: str) -> None:
        """Delete an object."""
        import obstore

        try:
            with translated(f"{self._url}/{path}"):
                obstore.delete(self._reading(), path)
        except MissingError:
            return

    def sweep(self) -> None:
        """Delete the partial files (``name#1``) that obstore writes to a disk before it renames them; empty folders."""
        if self._folder is not None and self._folder.is_dir():
            for path in self._folder.rglob("*#*"):
                if PARTIAL_FILE.search(path.name):
                    path.unlink(missing_ok=True)
            for folder, _, _ in os.walk(self._folder, topdown=False):
                if Path(folder) != self._folder:
                    with suppress(OSError):  # it holds something, or another process was faster
                        Path(folder).rmdir()


class FsspecBackend:
    """Any protocol that fsspec knows."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import fsspec

        self.traffic = Traffic()
        self._url = url
        self._options = ", ".join(options) or "none"
        if url.startswith("s3://"):
            with translated(url):
                options = s3fs_options(options)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"{url}: {error}; allowed: a path, s3://, https://, memory://, fsspec's protocols"
            ) from error

    def _full(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else str(self._root)

    @contextmanager
    def _asking(self, path: str) -> Iterator[None]:
        """Translate errors; options that a file system does not know come to light at its first request only."""
        try:
            with translated(f"{self._url}/{path}"):
                yield
        except TypeError as error:
            raise UsageError(
                f"{self._url}: {error} (storage_options given: {self._options}); "
                "allowed are the options of fsspec's file system for this protocol"
            ) from error

    def get(self, path: str) -> bytes:
        """Return an object whole."""
        with self._asking(path):
            body = bytes(self._fs.cat_file(self._full(path)))
        self.traffic.add(1, len(body))
        return body

    def get_many(self, requests: Sequence[Request], each: Callable[[int, Parts | None], None]) -> list[Parts | None]:
        """Return ranges of several objects, fetched at the same time where the file system can."""
        runs = [or_whole(None if ranges is None else coalesced(ranges)) for _, ranges in requests]
        asked = [(self._full(path), *run) for (path, _), own in zip(requests, runs, strict=True) for run in own]
        with self._asking(""):
            found = iter(cat_ranges(self._fs, asked))
        answers: list[Parts | None] = []
        for place, ((path, ranges), own) in enumerate(zip(requests, runs, strict=True)):
            bodies = [self._body(path, run, next(found)) for run in own]
            there = [body for body in bodies if body is not None]
            self.traffic.add(len(there), sum(map(len, there)))
            answers.append(None if len(there) < len(bodies) else parts_of(ranges, own, there) if ranges else there)
            each(place, answers[-1])
        return answers

    def _body(self, path: str, wanted: tuple[int, int | None], found: bytes | Exception) -> memoryview | None:
        """Return what fsspec fetched, None where there is no such object, and raise what else went wrong."""
        if isinstance(found, bytes):
            return memoryview(found)
        try:
            with self._asking(path):
                raise found
        except MissingError:
            return None
        except NetworkError:
            refuse_if_short(f"{self._url}/{path}", self.size(path), wanted)
            raise

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        self._fs.invalidate_cache()
        with self._asking(path):
            info = self._fs.info(self._full(path))
            if info["type"] == "directory":
                raise FileNotFoundError(path)
            return int(info["size"])

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder."""
        self._fs.invalidate_cache()  # other processes write here too
        root = self._full("").rstrip("/") + "/"
        with self._asking(prefix):
            found = self._fs.find(self._full(prefix), detail=True)
        return sorted((name.removeprefix(root), int(info["size"])) for name, info in found.items())

    def put(self, path: str, data: Body, *, create: bool) -> None:
        """Write an object whole."""
        full = self._full(path)
        body = b"".join(data) if isinstance(data, list) else bytes(data)
        with self._asking(path):
            self._fs.makedirs(full.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(full, body, mode="create" if create else "overwrite")

    def delete(self, path: str) -> None:
        """Delete an object."""
        try:
            with self._asking(path):
                self._fs.rm_file(self._full(path))
        except MissingError:
            return

    def sweep(self) -> None:
        """Do nothing: fsspec leaves nothing behind that could be told from data."""


@cache
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """Return this process's event loop, which runs in a thread of its own so that notebooks' loops are left alone."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=f"msl-store-io-{pid}", daemon=True).start()
    return loop


class _Turns:
    """At most `REQUESTS_AT_ONCE` requests of one read are under way at the same time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._queue = asyncio.Lock()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Take some turns, waiting in line for them."""
        async with self._queue:
            for _ in range(count):
                await self._free.acquire()
        try:
            yield
        finally:
            for _ in range(count):
                self._free.release()


def _together(
    work: Callable[[S, _Turns], Coroutine[Any, Any, T]], items: Sequence[S], each: Callable[[int, T], None]
) -> list[T]:
    """Run one coroutine an item, all at the same time, from synchronous code; hand each result on in a thread."""

    async def one(place: int, item: S, turns: _Turns) -> T:
        result = await work(item, turns)
        await asyncio.get_running_loop().run_in_executor(None, each, place, result)
        return result

    async def gathered() -> list[T]:
        turns = _Turns()
        return await asyncio.gather(*(one(place, item, turns) for place, item in enumerate(items)))

    return asyncio.run_coroutine_threadsafe(gathered(), _loop(os.getpid())).result()
