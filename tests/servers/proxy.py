"""A network in a box: an HTTP proxy that delays every answer, writes down every request and can break some."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from servers.process import ServerError, ServerProcess
from servers.request_log import Request

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes
    ----------
    kind : {"error", "cut", "stall"}
        ``error``: 503, and the server never hears of the request. ``cut``: the server does what was asked, but the
        connection ends after half of the answer's body, or before the answer if that has no body. ``stall``: the
        same, but the connection stays open and silent until the client gives up.
    every : int
        Breaks the n-th, 2n-th, ... request; 1 breaks each.
    times : int or None
        Stops after this many faults.
    path : str
        Counts only requests with this text in their path.
    """

    kind: Literal["error", "cut", "stall"]
    every: int = 1
    times: int | None = None
    path: str = ""


class DelayProxy:
    """A reverse proxy in its own process that stands for the distance to a server.

    Methods, paths, header lines (``Host`` among them, so signatures stay valid) and bodies pass unchanged in both
    directions; only fields that speak of one connection (``Connection``, ``Keep-Alive``, ``Expect``) are the proxy's
    own. Any number of requests may be under way; connections are kept open on both sides.

    Parameters
    ----------
    upstream_url : str
        ``http://host:port`` of the server.
    delay_s : float
        Seconds added before each answer.

    Raises
    ------
    ServerError
        The URL is not of that form, or the process did not start.
    """

    def __init__(self, upstream_url: str, *, delay_s: float = 0.030) -> None:
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None or parts.path not in {"", "/"}:
            raise ServerError(f"{upstream_url!r} is no server to stand before; use http://host:port")
        self._upstream = (parts.hostname, str(parts.port))
        self.delay_s = delay_s
        self.url = ""

    def __enter__(self) -> Self:
        self._turn = threading.Lock()
        self.process = ServerProcess(
            [sys.executable, "-S", "-m", "servers.proxy_process", *self._upstream],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
            pipes=True,
        )
        try:
            self.url = f"http://127.0.0.1:{self._answer()}"
            self.set_delay(self.delay_s)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()

    def set_delay(self, delay_s: float) -> None:
        """Change the delay of all answers from now on, in seconds."""
        self._command({"do": "delay", "delay_s": delay_s})
        self.delay_s = delay_s

    def inject(self, fault: Fault | None) -> None:
        """Break requests from now on, counting from one; None ends it."""
        self._command({"do": "inject", "fault": None if fault is None else asdict(fault)})

    def reset(self) -> None:
        """Forget all requests, those still under way too."""
        self._command({"do": "reset"})

    def requests(self) -> list[Request]:
        """Return every request answered or given up since the last reset, in the order in which they began."""
        rows = self._command({"do": "requests"})
        return sorted((Request(*row) for row in rows), key=lambda request: request.start)

    def bytes(self) -> int:
        """Return how many bytes of answers' bodies went to clients since the last reset."""
        return sum(request.sent for request in self.requests())

    def _command(self, command: dict[str, Any]) -> Any:
        with self._turn:
            try:
                self.process.stdin.write(json.dumps(command) + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                raise ServerError(f"the proxy has ended: {self.process.output()}") from None
            return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise ServerError(f"the proxy has ended: {self.process.output()}")
        return json.loads(line)
