"""The right of one run to write to a place, whichever machines the others are on.

Claims are numbered and lie below the place. Whoever creates the next number holds the place; creating is atomic on
every kind of storage, so of two runs that find a dead claim at the same time one succeeds.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from msl_store.errors import BusyError, MissingError, NetworkError
from msl_store.store.reading import UNPUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msl_store.store.objects import Objects

CLAIMS = f"{UNPUBLISHED}/claims"
CLAIM_NAME = re.compile(r"/(\d{6})\.json$")
BEAT_S = 10.0
"""A run says this often that it is alive."""
SILENCE_S = 60.0
"""A run on another machine that has been silent this long is taken for dead."""


@contextmanager
def held(objects: Objects) -> Iterator[None]:
    """Hold a place for this run, as a library's target is held while it is written.

    Raises
    ------
    BusyError
        Another run holds it.
    """
    claim = _Claim(objects)
    claim.take()
    try:
        with claim.beating():
            yield
    finally:
        claim.release()


class _Claim:
    """One run's claim of a place."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._path = ""
        self._mine = {"run": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._stop = threading.Event()

    def take(self) -> None:
        """Take the place, or raise `BusyError`."""
        taken = sorted(path for path, _ in self._objects.list(CLAIMS) if CLAIM_NAME.search(path))
        number = 0
        if taken:
            found = CLAIM_NAME.search(taken[-1])
            number = int(found[1]) if found else 0
            self._refuse_if_alive(taken[-1])
        self._path = f"{CLAIMS}/{number + 1:06d}.json"
        try:
            self._objects.put(self._path, self._document(), create=True)
        except FileExistsError:
            raise BusyError(f"{self._objects.url}: another run took this target just now; let it finish") from None

    def _refuse_if_alive(self, path: str) -> None:
        try:
            claim = json.loads(self._objects.get(path))
        except MissingError:
            return
        silent_s = time.time() - claim["beat"]
        dead = claim["host"] == self._mine["host"] and not _alive(claim["pid"])
        if claim["released"] or dead or silent_s > SILENCE_S:
            return
        raise BusyError(
            f"{self._objects.url}: process {claim['pid']} on {claim['host']} is writing here (last sign of life "
            f"{max(0, silent_s):.0f} s ago); let it finish, or stop it and run this again after {SILENCE_S:.0f} s"
        )

    def _document(self, *, released: bool = False) -> bytes:
        return json.dumps({**self._mine, "beat": time.time(), "released": released}).encode()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say now and then that this run is alive."""

        def beat() -> None:
            while not self._stop.wait(BEAT_S):
                with suppress(NetworkError):  # the next beat tries again
                    self._objects.put(self._path, self._document())

        thread = threading.Thread(target=beat, name="msl-store-claim", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def release(self) -> None:
        """Give the place up."""
        self._objects.put(self._path, self._document(released=True))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
