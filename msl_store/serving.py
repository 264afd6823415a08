"""Serve a folder of libraries over HTTP: range requests, no listing; for trying things out and for a laboratory.

A public library belongs on an object store or behind a web server such as nginx; a library needs nothing of either
but range requests.
"""

from __future__ import annotations

import multiprocessing
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msl_store.errors import MissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Traffic:
    """What a server has answered: requests, and bytes of bodies."""

    requests: int
    sent_bytes: int

    def since(self, before: Traffic) -> Traffic:
        """Return the difference to an earlier reading."""
        return Traffic(self.requests - before.requests, self.sent_bytes - before.sent_bytes)


class Server:
    """A web server in a process of its own; see `serving`."""

    def __init__(self, url: str, counts: Any) -> None:
        self.url = url
        self._counts = counts

    def traffic(self) -> Traffic:
        """Return what the server has answered so far."""
        return Traffic(self._counts[0], self._counts[1])


@contextmanager
def serving(folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """Serve a folder from another process while the context is open.

    Parameters
    ----------
    folder : Path
        What to serve; read-only, hidden files included.
    host, port
        Where to listen; port 0 takes a free one.

    Raises
    ------
    MissingError
        There is no such folder.
    UsageError
        The address cannot be listened at.
    """
    if not folder.is_dir():
        raise MissingError(f"{folder}: there is no such folder to serve")
    listener = socket.socket()
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(f"{host}:{port}: {error}; choose another address, or port 0 for a free one") from error
    listener.listen(128)
    context = multiprocessing.get_context("spawn")
    counts = context.Array("q", 2)
    process = context.Process(target=_serve, args=(str(folder), listener, counts), daemon=True)
    process.start()
    url = f"http://{host}:{listener.getsockname()[1]}"
    listener.close()
    try:
        yield Server(url, counts)
    finally:
        process.terminate()
        process.join()


def _serve(folder: str, listener: socket.socket, counts: Any) -> None:
    """Run the server; the body of its process."""
    from aiohttp import web

    async def count(_request: web.Request, response: web.StreamResponse) -> None:
        counts[0] += 1
        counts[1] += response.content_length or 0

    app = web.Application()
    app.router.add_static("/", folder)
    app.on_response_prepare.append(count)
    web.run_app(app, sock=listener, print=None, access_log=None, handle_signals=False)
