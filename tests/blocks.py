"""Tasks of blocks, importable by the processes that run them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from msl_store.errors import IntegrityError, MissingError


def tenfold(block: int) -> int:
    """Ten times the block."""
    return 10 * block


def odd_ones_fail(block: int) -> int:
    """Ten times the block, where that is even; block 3 fails otherwise than the others."""
    if block == 3:
        raise MissingError(f"block {block} is not there")
    if block % 2:
        raise IntegrityError(f"block {block} is damaged")
    return 10 * block


def where_it_runs(_block: int) -> tuple[int, bool]:
    """Process id, and whether this is the main thread."""
    return os.getpid(), threading.current_thread() is threading.main_thread()


def a_mistake(_block: int) -> int:
    """Raise what is no error of this project."""
    raise ZeroDivisionError("a mistake")


def left_a_mark(folder: str, block: int) -> int:
    """Write a file named like the block."""
    Path(folder, str(block)).write_text("done")
    return block
