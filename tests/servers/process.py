"""One server process: started, awaited, stopped by its process id, and never left behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
PORT_ATTEMPTS = 5


class ServerError(RuntimeError):
    """A server that a test needs is not installed, did not start, or ended by itself."""


class ServerProcess:
    """A command running in its own process group, tied to the life of the process that started it.

    An interrupt at the terminal does not reach it (the tests stop it in their own order), an orderly exit of the
    parent stops it, and on Linux the kernel kills it when the parent is killed. That tie belongs to the thread that
    started the command, so only the main thread may start one.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    env : mapping, optional
        Environment variables to add.
    pipes : bool
        Open ``stdin`` and ``stdout`` as text pipes; otherwise there is no input, and output goes to the log.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, pipes: bool = False) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ServerError(f"{command[0]} was started from a thread; start servers from the main thread")
        tether = Path(__file__).with_name("tether.py")
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(tether), str(os.getpid()), *command],
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else self.log,
            stderr=self.log,
            env={**os.environ, **(env or {})},
            text=True,
            start_new_session=True,
        )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """Process id, which is the id of the process group as well."""
        return self.process.pid

    @property
    def stdin(self) -> IO[str]:
        """The pipe that the process reads."""
        return _opened(self.process.stdin)

    @property
    def stdout(self) -> IO[str]:
        """The pipe that the process writes."""
        return _opened(self.process.stdout)

    def output(self) -> str:
        """Return the last 2,000 characters that the process wrote to its log."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def wait_until_listening(self, port: int) -> None:
        """Wait until this very process, not some other one, listens on a TCP port.

        Raises
        ------
        ServerError
            The process ended (another one may hold the port) or took longer than `START_TIMEOUT_S`.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens(port):
            if self.process.poll() is not None:
                raise ServerError(f"server ended with exit code {self.process.returncode}: {self.output()}")
            if time.monotonic() > deadline:
                raise ServerError(f"no answer on port {port} within {START_TIMEOUT_S:.0f} s: {self.output()}")
            time.sleep(0.01)

    def _listens(self, port: int) -> bool:
        with contextlib.suppress(psutil.Error):
            return any(
                c.status == psutil.CONN_LISTEN and c.laddr.port == port
                for c in psutil.Process(self.pid).net_connections("tcp")
            )
        return False

    def stop(self) -> None:
        """Terminate the process, kill it if it does not end in time, and close what belongs to it; idempotent."""
        atexit.unregister(self.stop)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what a dead process never read is lost
                    stream.close()


def start_on_free_port(start: Callable[[int], ServerProcess]) -> tuple[ServerProcess, int]:
    """Start a server that has to be told its port; try another port if someone else took the first one.

    Parameters
    ----------
    start : callable
        Gets a port that was free a moment ago, returns the process that shall listen on it.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        port = free_port()
        process = start(port)
        try:
            process.wait_until_listening(port)
        except BaseException as failure:
            ended = process.process.poll() is not None
            process.stop()
            if not (isinstance(failure, ServerError) and ended and attempt < PORT_ATTEMPTS):
                raise
        else:
            return process, port
    raise AssertionError  # the last attempt returns or raises


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _opened(stream: IO[Any] | None) -> IO[str]:
    if stream is None:
        raise ServerError("this process was started without pipes")
    return stream
