"""The storage libraries behind `Objects`, and which of them serves a URL."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import zipfile
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from msl_store.errors import FormatError, MissingError, NetworkError, UsageError
from msl_store.store.objects import Range, RangeFile, Request, local_path, locate_file
from msl_store.store.s3 import s3_store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path

    from obstore.store import ObjectStore
    from typing_extensions import Buffer

    from msl_store.store.objects import Backend

S = TypeVar("S")
T = TypeVar("T")

COALESCE_BYTES = 128 * 1024
"""Ranges of one object that lie nearer than this are fetched in one request."""

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
    if _obstore_pid in (None, os.getpid()):
        backend = _obstore_backend(url, options)
        if backend is not None:
            _obstore_pid = os.getpid()
            return backend
    return FsspecBackend(url, options)


def _obstore_backend(url: str, options: Mapping[str, Any]) -> ObstoreBackend | None:
    """Return the obstore backend, or None where obstore does not know the protocol or an option."""
    from obstore.store import HTTPStore

    if (path := local_path(url)) is not None:
        return ObstoreBackend(url, folder=path)
    if url.startswith("s3://"):
        store = s3_store(url, options, client_options=CLIENT_OPTIONS, retry_config=RETRY)
        return None if store is None else ObstoreBackend(url, store)
    if url.startswith(("http://", "https://")) and set(options) <= {"headers"}:
        client = {**CLIENT_OPTIONS, "default_headers": dict(options.get("headers", {}))}
        return ObstoreBackend(url, HTTPStore.from_url(url, client_options=client, retry_config=RETRY))  # type: ignore[arg-type]
    return None


class ObstoreBackend:
    """A disk, an S3 bucket or a web server by obstore."""

    def __init__(self, url: str, store: ObjectStore | None = None, folder: Path | None = None) -> None:
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

        with _translated(f"{self._url}/{path}"):
            return bytes(obstore.get(self._reading(), path).bytes())

    def get_many(self, requests: Sequence[Request]) -> list[list[memoryview] | None]:
        """Return ranges of several objects, fetched at the same time."""
        import obstore

        store = self._reading()

        async def one(request: Request) -> list[memoryview] | None:
            path, ranges = request
            try:
                with _translated(f"{self._url}/{path}"):
                    if ranges is None:
                        answer = await obstore.get_async(store, path)
                        return [memoryview(await answer.bytes_async())]
                    parts = await obstore.get_ranges_async(
                        store,
                        path,
                        starts=[start for start, _ in ranges],
                        ends=[stop for _, stop in ranges],
                        coalesce=COALESCE_BYTES,
                    )
            except MissingError:
                return None
            return [memoryview(part) for part in parts]

        return _together(one, requests)

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        import obstore

        with _translated(f"{self._url}/{path}"):
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
        with _translated(f"{self._url}/{prefix}"):
            pages = obstore.list(self._reading(), prefix or None)
            return sorted((item["path"], item["size"]) for page in pages for item in page)

    def put(self, path: str, data: Buffer, *, create: bool) -> None:
        """Write an object whole."""
        import obstore

        with _translated(f"{self._url}/{path}"):
            obstore.put(
                self._opened(create=True),
                path,
                data,
                mode="create" if create else "overwrite",
                use_multipart=False,
            )

    def delete(self, path: str) -> None:
        """Delete an object."""
        import obstore

        try:
            with _translated(f"{self._url}/{path}"):
                obstore.delete(self._reading(), path)
        except MissingError:
            return

    def sweep(self) -> None:
        """Delete the partial files (``name#1``) that obstore writes to a disk before it renames them."""
        if self._folder is not None and self._folder.is_dir():
            for path in self._folder.rglob("*#*"):
                if PARTIAL_FILE.search(path.name):
                    path.unlink(missing_ok=True)


class FsspecBackend:
    """Any protocol that fsspec knows."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import fsspec

        self._url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"{url}: {error}; allowed: a path, s3://, https://, memory://, fsspec's protocols"
            ) from error

    def _full(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}" if path else str(self._root)

    def get(self, path: str) -> bytes:
        """Return an object whole."""
        with _translated(f"{self._url}/{path}"):
            return bytes(self._fs.cat_file(self._full(path)))

    def get_many(self, requests: Sequence[Request]) -> list[list[memoryview] | None]:
        """Return ranges of several objects, fetched at the same time where the file system can."""
        wanted = [(self._full(path), start, stop) for path, ranges in requests for start, stop in _or_whole(ranges)]
        if not wanted:
            return [[] for _ in requests]
        paths, starts, stops = zip(*wanted, strict=True)
        with _translated(self._url):
            found = iter(self._fs.cat_ranges(list(paths), list(starts), list(stops), on_error="return"))
        answers: list[list[memoryview] | None] = []
        for path, ranges in requests:
            parts = [self._part(path, next(found)) for _ in _or_whole(ranges)]
            there = [part for part in parts if part is not None]
            answers.append(there if len(there) == len(parts) else None)
        return answers

    def _part(self, path: str, found: bytes | Exception) -> memoryview | None:
        """Return what fsspec fetched, None where there is no such object, and raise what else went wrong."""
        if isinstance(found, bytes):
            return memoryview(found)
        try:
            with _translated(f"{self._url}/{path}"):
                raise found
        except MissingError:
            return None

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        with _translated(f"{self._url}/{path}"):
            return int(self._fs.info(self._full(path))["size"])

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder."""
        root = self._full("").rstrip("/") + "/"
        with _translated(f"{self._url}/{prefix}"):
            found = self._fs.find(self._full(prefix), detail=True)
        return sorted((name.removeprefix(root), int(info["size"])) for name, info in found.items())

    def put(self, path: str, data: Buffer, *, create: bool) -> None:
        """Write an object whole."""
        full = self._full(path)
        with _translated(f"{self._url}/{path}"):
            self._fs.makedirs(full.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(full, bytes(data), mode="create" if create else "overwrite")

    def delete(self, path: str) -> None:
        """Delete an object."""
        try:
            with _translated(f"{self._url}/{path}"):
                self._fs.rm_file(self._full(path))
        except MissingError:
            return

    def sweep(self) -> None:
        """Do nothing: fsspec leaves nothing behind that could be told from data."""


class ZipBackend:
    """The members of a zip file, which itself may lie anywhere; read-only.

    Members that are stored, as in a zipped library they should be, are read by ranges; deflated ones are read whole.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        objects, name = locate_file(url, options)
        self._file = RangeFile(objects, name)
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(self._file)
        except zipfile.BadZipFile as error:
            raise FormatError(f"{url}: {error}; a zipped library was expected: copy it again") from error
        self._names = frozenset(self._zip.namelist())
        roots = [name.removesuffix("zarr.json") for name in self._names if name.endswith("zarr.json")]
        self._root = min(roots, key=len, default="")

    def get(self, path: str) -> bytes:
        """Return an object whole."""
        with self._lock, _translated(f"{self._url}/{path}"):
            return self._zip.read(self._root + path)

    def get_many(self, requests: Sequence[Request]) -> list[list[memoryview] | None]:
        """Return ranges of several objects."""
        answers: list[list[memoryview] | None] = []
        for path, ranges in requests:
            if self._root + path not in self._names:
                answers.append(None)
                continue
            with self._lock, _translated(f"{self._url}/{path}"), self._zip.open(self._root + path) as member:
                parts = {}
                for start, stop in sorted(_or_whole(ranges)):
                    member.seek(start)
                    parts[start, stop] = memoryview(member.read(-1 if stop is None else stop - start))
            answers.append([parts[part] for part in _or_whole(ranges)])
        return answers

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        with _translated(f"{self._url}/{path}"):
            return self._zip.getinfo(self._root + path).file_size

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder."""
        root = self._root + prefix
        infos = (info for info in self._zip.infolist() if info.filename.startswith(root) and not info.is_dir())
        return sorted((info.filename.removeprefix(self._root), info.file_size) for info in infos)

    def put(self, path: str, data: Buffer, *, create: bool) -> None:
        """Refuse: a zipped library is read-only."""
        raise UsageError(f"{self._url}: a zipped library is read-only ({path}, {create=}, {len(bytes(data))} bytes)")

    def delete(self, path: str) -> None:
        """Refuse: a zipped library is read-only."""
        raise UsageError(f"{self._url}: a zipped library is read-only; {path} stays")

    def sweep(self) -> None:
        """Do nothing: nobody writes here."""


def _or_whole(ranges: Sequence[Range] | None) -> Sequence[tuple[int, int | None]]:
    return [(0, None)] if ranges is None else ranges


@contextmanager
def _translated(place: str) -> Iterator[None]:
    """Turn what storage libraries raise into this project's errors, naming the place."""
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError, KeyError) as error:
        raise MissingError(f"{place}: there is no such object; check the URL") from error
    except AlreadyExistsError as error:
        raise FileExistsError(place) from error
    except FileExistsError:
        raise
    except (BaseError, OSError, RuntimeError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise NetworkError(f"{place}: {first_line}; check the address, the credentials and the network") from error


@cache
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """Return this process's event loop, which runs in a thread of its own so that notebooks' loops are left alone."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=f"msl-store-io-{pid}", daemon=True).start()
    return loop


def _together(work: Callable[[S], Coroutine[Any, Any, T]], items: Sequence[S]) -> list[T]:
    """Run one coroutine an item, all at the same time, from synchronous code."""

    async def gathered() -> list[T]:
        return await asyncio.gather(*map(work, items))

    return asyncio.run_coroutine_threadsafe(gathered(), _loop(os.getpid())).result()
