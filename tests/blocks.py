"""Tasks of blocks, importable by the processes that run them."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import numpy as np

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


def pages_faulted_by_arrays(_number: int) -> int:
    """Return how many memory pages the kernel had to provide for 50 arrays of 4 MB, made one after the other."""
    np.ones(2**19)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(2**19)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
