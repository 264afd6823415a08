"""The storage library obstore behind `Objects`: disks, S3 buckets and web servers."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msl_store.errors import MissingError, NetworkError, UsageError
from msl_store.store.faults import refuse_if_short, translated
from msl_store.store.objects import Parts, Range, Request, Traffic
from msl_store.store.ranges import coalesced, parts_of
from msl_store.store.turns import Turns, together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from obstore.store import ObjectStore

    from msl_store.store.objects import Body

RUNS_A_CALL = 10
"""Ranges of one object that obstore fetches at the same time; more wait for these."""

PARTIAL_FILE = re.compile(r"^(\d+|\w+\.json)#\d+$")


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
        return together(self._get_ranges, requests, each)

    async def _get_ranges(self, request: Request, turns: Turns) -> Parts | None:
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

    async def _get_whole(self, path: str, turns: Turns) -> memoryview:
        """Return an object when it is this request's turn."""
        import obstore

        async with turns.taken(1):
            with translated(f"{self._url}/{path}"):
                answer = await obstore.get_async(self._reading(), path)
                body = memoryview(await answer.bytes_async())
        self.traffic.add(1, len(body))
        return body

    async def _get_runs(self, path: str, runs: Sequence[Range], turns: Turns) -> Parts:
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
