"""Which storage library serves a URL in this process, and with what options."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from msl_store.store.faults import translated
from msl_store.store.filesystems import FsspecBackend
from msl_store.store.object_stores import ObstoreBackend
from msl_store.store.objects import local_path
from msl_store.store.s3 import s3_store
from msl_store.store.zipped import ZipBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import HTTPStore

    from msl_store.store.objects import Backend

CLIENT_OPTIONS = {
    "timeout": timedelta(minutes=10),
    "connect_timeout": timedelta(seconds=10),
    "allow_http": True,
}
RETRY = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}

_obstore_pid: int | None = None

_opening = threading.RLock()
"""One place is opened at a time: storage libraries are loaded then, and two threads doing that may block each other."""


def _renew() -> None:
    """Free a forked child of the turn that a thread of its parent had."""
    global _opening  # noqa: PLW0603 - one a process
    _opening = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def open_backend(url: str, options: Mapping[str, Any]) -> Backend:
    """Return the backend that serves a URL in this process."""
    with _opening:
        import obstore  # noqa: F401 - whole, before anything imports a part of it

        return _backend(url, options)


def _backend(url: str, options: Mapping[str, Any]) -> Backend:
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
