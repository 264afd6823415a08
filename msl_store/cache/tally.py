"""Hits and misses that a process has counted and not yet written down."""

from __future__ import annotations

import os
import time
from collections import deque

FLUSH_S = 1.0
"""What a process has counted is in the ledger after this long, if it reads on."""


class Tally:
    """Counts that any thread adds to without waiting; a forked child starts with none."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._counts: deque[tuple[int, int]] = deque()
        self._flushed = time.monotonic()

    def add(self, hits: int, misses: int) -> bool:
        """Count; return whether it is time to write the counts down."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._counts.clear()
        self._counts.append((hits, misses))
        return time.monotonic() - self._flushed > FLUSH_S

    def take(self) -> tuple[int, int]:
        """Return the hits and misses counted since this was called last."""
        self._flushed = time.monotonic()
        hits = misses = 0
        while self._counts:
            try:
                more = self._counts.popleft()
            except IndexError:
                break
            hits, misses = hits + more[0], misses + more[1]
        return hits, misses
