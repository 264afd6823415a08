"""Storage as a process sees it that dies at its n-th change, and what its death leaves."""

from __future__ import annotations

import json
import subprocess
import sys

from msl_store.store import Objects
from msl_store.store.claims import CLAIMS


def claims(objects):
    return {path: json.loads(objects.get(path)) for path, _ in objects.list(CLAIMS)}


def dead_pid():
    """Process id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class Death(BaseException):
    """The end of a process: nothing that it does afterwards reaches the storage."""


class Mortal(Objects):
    """Storage as a process sees it that dies at its n-th change."""

    def __init__(self, url, options=None, *, changes):
        super().__init__(url, options)
        self.left = changes

    def _change(self):
        self.left -= 1
        if self.left < 0:
            raise Death

    def put(self, path, data, *, create=False):
        """Write unless dead."""
        self._change()
        super().put(path, data, create=create)

    def delete(self, path):
        """Delete unless dead."""
        self._change()
        super().delete(path)


def bury(objects):
    """Make the claims say what they say of a process that died: its id belongs to nobody."""
    pid = dead_pid()
    for path, document in claims(objects).items():
        objects.put(path, json.dumps({**document, "pid": pid}).encode())


def changes_of(work, url):
    mortal = Mortal(url, changes=10**6)
    work(mortal)
    return 10**6 - mortal.left
