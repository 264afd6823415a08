"""One lock for all processes and threads, which dies with whoever holds it."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from msl_store.errors import BusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST_WAIT_S, LONGEST_WAIT_S = 0.0005, 0.02

_held: set[int] = set()


def _drop_inherited() -> None:
    """Close, in a forked child, what its parent's threads hold: else the child would hold it when the parent dies."""
    for fd in tuple(_held):
        with suppress(OSError):
            os.close(fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_inherited)


@contextmanager
def locked(path: Path, *, patience_s: float) -> Iterator[None]:
    """Hold a lock file.

    Raises
    ------
    BusyError
        Somebody else has held it for `patience_s` seconds.
    UsageError
        This system, or the file system, has no flock.
    """
    try:
        import fcntl
    except ImportError:
        raise UsageError(
            f"{path.parent}: a cache needs flock, which Linux and macOS have and Windows has not"
        ) from None

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(fd)
    try:
        deadline = time.monotonic() + patience_s
        wait_s = FIRST_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"{path}: another process has held this cache for {patience_s:g} s; let it finish, or end it "
                        "(its lock ends with it)"
                    ) from None
            except OSError as error:
                raise UsageError(
                    f"{path}: cannot be locked ({error}); put the cache on a file system that has locks"
                ) from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough where a child was forked with it
        _held.discard(fd)
        os.close(fd)
