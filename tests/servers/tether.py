"""Become a command that the kernel ends together with its parent: ``python tether.py PARENT_PID COMMAND ...``.

``prctl(PR_SET_PDEATHSIG)`` (Linux, see prctl(2)) survives ``exec``, so the command needs no change. Elsewhere the
command runs untied and only an orderly exit of the parent stops it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; exit at once if the parent already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"tether: process {parent} ended before this one could be tied to it")


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
