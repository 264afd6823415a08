"""Objects by path at a URL: one small face over obstore, fsspec and zip files.

obstore carries the data wherever it can. fsspec carries it for protocols and ``storage_options`` that obstore does not
know, and in a forked child of a process that has used obstore, whose Rust runtime does not survive a fork.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from msl_store.errors import MissingError, NetworkError, UsageError
from msl_store.store.faults import refuse_if_short

Range = tuple[int, int]
"""First byte and the byte after the last."""

Parts = list[memoryview]
"""What a request brings, a part a range."""

Body = bytes | memoryview | list[bytes | memoryview]
"""What an object is to hold: bytes, or the parts of which they are made."""

Request = tuple[str, Sequence[Range] | None]
"""An object's path and the ranges wanted of it; None asks for the whole object, as one part."""


def or_whole(ranges: Sequence[Range] | None) -> Sequence[tuple[int, int | None]]:
    """Return the ranges of a request, the whole object as one that has no end."""
    return [(0, None)] if ranges is None else ranges


class Traffic:
    """What a process has fetched from one place so far: `requests` that were answered, and their `bytes`."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0
        self._turn = threading.Lock()

    def add(self, requests: int, nbytes: int) -> None:
        """Count some requests and the bytes of their answers' bodies."""
        with self._turn:
            self.requests += requests
            self.bytes += nbytes


class Backend(Protocol):
    """What a storage library must offer; every path is relative to the place's URL.

    Attributes
    ----------
    traffic : Traffic
        What went over the network, or came from the disk.
    """

    traffic: Traffic

    def get(self, path: str) -> bytes:
        """Return an object whole."""

    def get_many(self, requests: Sequence[Request], each: Callable[[int, Parts | None], None]) -> list[Parts | None]:
        """Return ranges of several objects, fetched at the same time, near ranges of one object in one request.

        None stands for an object that is not there. `each` is called with every request's place and parts, in any
        order and from any thread; what it raises is raised here.
        """

    def size(self, path: str) -> int:
        """Return an object's size in bytes."""

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder, sorted by path."""

    def put(self, path: str, data: Body, *, create: bool) -> None:
        """Write an object whole; with `create`, raise FileExistsError where there is one already."""

    def delete(self, path: str) -> None:
        """Delete an object."""

    def sweep(self) -> None:
        """Delete what writers that were killed have left behind and no reader sees."""


class Objects:
    """The objects below one URL: a folder, a bucket's prefix, a web server's path, or the members of a zip.

    An `Objects` pickles as its URL and options; the connection opens at first use, in each process anew.

    Parameters
    ----------
    url : str
        ``s3://``, ``http(s)://``, ``file://``, a path, or any fsspec protocol (``memory://`` for one).
    storage_options : mapping, optional
        As s3fs or fsspec take them: ``anon``, ``key``, ``secret``, ``token``, ``profile``, ``endpoint_url``,
        ``client_kwargs``; also ``role_arn``. ``client="fsspec"`` keeps obstore out of it.
    """

    offline = False
    """Whether nothing may be asked of the server, as of a library that is read from a cache alone."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        if not isinstance(storage_options, Mapping | None):
            raise UsageError(f"storage_options {storage_options!r}: allowed is a mapping, as in {{'anon': True}}")
        self.url = url.rstrip("/")
        self.storage_options = dict(storage_options or {})
        self._opened: tuple[int, Backend] | None = None

    def __reduce__(self) -> tuple[type[Objects], tuple[str, dict[str, Any]]]:
        return type(self), (self.url, self.storage_options)

    def __repr__(self) -> str:
        return f"Objects({self.url!r})"

    @property
    def _backend(self) -> Backend:
        if self._opened is None or self._opened[0] != os.getpid():
            from msl_store.store.backends import open_backend

            self._opened = (os.getpid(), open_backend(self.url, self.storage_options))
        return self._opened[1]

    @property
    def traffic(self) -> Traffic:
        """What this process has fetched so far."""
        return self._backend.traffic

    def before_fork(self) -> None:
        """Import what forked children will read with, once and not in each of them."""
        import fsspec

        with contextlib.suppress(ImportError, ValueError):  # a child says what it lacks
            fsspec.get_filesystem_class(urlsplit(self.url).scheme or "file")

    @property
    def path(self) -> Path | None:
        """The folder on this machine's disk, or None where the place is elsewhere."""
        return local_path(self.url)

    def get(self, path: str) -> bytes:
        """Return one object whole; `MissingError` where there is none."""
        return self._backend.get(path)

    def get_ranges(self, path: str, ranges: Sequence[Range]) -> list[memoryview]:
        """Return some byte ranges (start, stop) of one object, near ones fetched together."""
        return self.get_many([(path, ranges)])[0]

    def get_many(self, requests: Sequence[Request]) -> list[list[memoryview]]:
        """Return ranges of several objects, all under way at the same time; `MissingError` where one is not there."""
        whole = []
        for (path, _), parts in zip(requests, self.find_many(requests), strict=True):
            if parts is None:
                raise MissingError(f"{self.url}/{path}: there is no such object; check the URL")
            whole.append(parts)
        return whole

    def find_many(
        self, requests: Sequence[Request], each: Callable[[int, Parts | None], None] = lambda _place, _parts: None
    ) -> list[Parts | None]:
        """Return ranges of several objects as `get_many` does, with None for an object that is not there.

        `each` is called with every request's place and parts as it is answered, in threads while others are under way.
        """

        def checked(place: int, parts: Parts | None) -> None:
            path, ranges = requests[place]
            if parts is not None and ranges is not None:
                for wanted, part in zip(ranges, parts, strict=True):
                    refuse_if_short(f"{self.url}/{path}", wanted[0] + len(part), wanted)
            each(place, parts)

        return self._backend.get_many(requests, checked)

    def size(self, path: str) -> int:
        """Return one object's size in bytes; `MissingError` where there is none."""
        return self._backend.size(path)

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        try:
            self.size(path)
        except MissingError:
            return False
        return True

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """Return (path, bytes) of every object below a folder; `UsageError` where the server cannot list."""
        return self._backend.list(prefix)

    def listing(self) -> tuple[dict[str, int] | None, str]:
        """Return every object's size in bytes by path, or None and why the server does not tell."""
        if self.url.startswith(("http://", "https://")):
            return None, "a web server cannot list its files"
        try:
            return dict(self.list()), ""
        except (NetworkError, UsageError) as error:
            return None, str(error)

    def put(self, path: str, data: Body, *, create: bool = False) -> None:
        """Write one object whole, seen by readers wholly or not at all.

        With `create`, raise FileExistsError where there is one already; of several writers at once, one succeeds.
        """
        self._backend.put(path, data, create=create)

    def delete(self, path: str) -> None:
        """Delete one object; one that is not there is no error."""
        self._backend.delete(path)

    def sweep(self) -> None:
        """Delete what writers have left behind and no reader sees: half files of killed ones, empty folders."""
        self._backend.sweep()


def local_path(url: str) -> Path | None:
    """Return the path that a URL names on this machine's disk, or None for any other URL."""
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url)


def normalized_url(url: str | os.PathLike[str]) -> str:
    """Return a URL without its trailing slash, a path on this machine made absolute."""
    text = os.fspath(url)
    if text.endswith("://"):
        raise UsageError(f"{text}: names no place; allowed: a path, s3://bucket/path, https://host/path")
    path = local_path(text)
    return text.rstrip("/") if path is None else str(path.expanduser().absolute())


def locate(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Objects:
    """Return the objects below a URL; nothing is opened or asked for yet."""
    return Objects(normalized_url(url), storage_options)


def locate_file(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> tuple[Objects, str]:
    """Return the place that holds one object, and the object's name there.

    A web address may carry a query, as pre-signed links do; fsspec reads those, since obstore would escape it.
    """
    whole = normalized_url(url)
    if whole.startswith(("http://", "https://")) and "?" in whole:
        address, _, query = whole.partition("?")
        parent, _, name = address.rpartition("/")
        return Objects(parent, {**(storage_options or {}), "client": "fsspec"}), f"{name}?{query}"
    parent, _, name = whole.rpartition("/")
    return Objects(parent or "/", storage_options), name


class RangeFile(io.RawIOBase):
    """One object as a seekable read-only file, read by ranges; wrap it in `io.BufferedReader` for small reads."""

    def __init__(self, objects: Objects, path: str) -> None:
        self._objects = objects
        self._path = path
        self._size = objects.size(path)
        self._position = 0

    @property
    def traffic(self) -> Traffic:
        """What this process has fetched so far from where the object lies."""
        return self._objects.traffic

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in bytes and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position on; return how many bytes that took."""
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._size)
        if stop <= self._position:
            return 0
        part = self._objects.get_ranges(self._path, [(self._position, stop)])[0]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)
