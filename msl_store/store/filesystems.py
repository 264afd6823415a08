"""The storage library fsspec behind `Objects`: protocols that obstore does not know, and forked processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from msl_store.errors import MissingError, NetworkError, UsageError
from msl_store.store.faults import refuse_if_short, translated
from msl_store.store.objects import Parts, Request, Traffic, or_whole
from msl_store.store.ranges import cat_ranges, coalesced, parts_of
from msl_store.store.s3 import s3fs_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from msl_store.store.objects import Body


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
