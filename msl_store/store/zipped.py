"""A library in a zip file, read in place."""

from __future__ import annotations

import threading
import zipfile
from typing import TYPE_CHECKING, Any

from msl_store.errors import FormatError, MissingError, UsageError
from msl_store.store.faults import translated
from msl_store.store.objects import Parts, RangeFile, Request, locate_file, or_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from msl_store.store.objects import Body


class ZipBackend:
    """The members of a zip file, which itself may lie anywhere; read-only.

    Members that are stored, as in a zipped library they should be, are read by ranges; deflated ones are read whole.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        objects, name = locate_file(url, options)
        try:
            self._file = RangeFile(objects, name)
        except MissingError as error:
            raise MissingError(
                f"{url}: there is no such zip file; check the URL (to make one, zip a library in a folder)"
            ) from error
        self.traffic = self._file.traffic
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(self._file)
        except zipfile.BadZipFile as error:
            raise FormatError(f"{url}: {error}; a zipped library was expected: copy it again") from error
        self._names = frozenset(self._zip.namelist())
        roots = [name.removesuffix("zarr.json") for name in self._names if f"/{name}".endswith("/zarr.json")]
        self._root = min(roots, key=len, default="")

    def get(self, path: str) -> bytes:
        """Return an object whole."""
        with self._lock, translated(f"{self._url}/{path}"):
            return self._zip.read(self._root + path)

    def get_many(self, requests: Sequence[Request], each: Callable[[int, Parts | None], None]) -> list[Parts | None]:
        """Return ranges of several objects."""
        answers: list[Parts | None] = []
        for place, (path, ranges) in enumerate(requests):
            if self._root + path not in self._names:
                answers.append(None)
                each(place, None)
                continue
            with self._lock, translated(f"{self._url}/{path}"), self._zip.open(self._root + path) as member:
                parts = {}
                for start, stop in sorted(or_whole(ranges)):
                    member.seek(start)
                    parts[start, stop] = memoryview(member.read(-1 if stop is None else stop - start))
            answers.append([parts[part] for part in or_whole(ranges)])
            each(place, answers[-1])
        return answers

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""
        with translated(f"{self._url}/{path}"):
            return self._zip.getinfo(self._root + path).file_size

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder."""
        root = self._root + prefix
        infos = (info for info in self._zip.infolist() if info.filename.startswith(root) and not info.is_dir())
        return sorted((info.filename.removeprefix(self._root), info.file_size) for info in infos)

    def put(self, path: str, data: Body, *, create: bool) -> None:
        """Refuse: a zipped library is read-only."""
        raise UsageError(f"{self._url}: a zipped library is read-only ({path}, {create=}, {type(data).__name__})")

    def delete(self, path: str) -> None:
        """Refuse: a zipped library is read-only."""
        raise UsageError(f"{self._url}: a zipped library is read-only; {path} stays")

    def sweep(self) -> None:
        """Do nothing: nobody writes here."""
