"""Run a function in another process, forked or spawned, and hang no longer than a while."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 60.0


def forked(work: Callable[[], Any]) -> Any:
    """Return what a function returns in a forked child of this process; its error is raised here.

    Raises
    ------
    TimeoutError
        The child has not answered in `TIMEOUT_S`; it is killed.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: this process has threads
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _answer(work, writer)
    os.close(writer)
    try:
        answer = _all_of(reader)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    good, value = pickle.loads(answer)
    if not good:
        raise value
    return value


def _all_of(reader: int) -> bytes:
    answer = b""
    while select.select([reader], [], [], TIMEOUT_S)[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            return answer
        answer += part
    raise TimeoutError(f"the forked child has not answered in {TIMEOUT_S:.0f} s")


def _answer(work: Callable[[], Any], writer: int) -> None:
    try:
        answer = pickle.dumps((True, work()))
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        answer = pickle.dumps((False, RuntimeError(repr(error))))
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(answer)
    os._exit(0)


def spawned(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of an importable module returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result(TIMEOUT_S)
