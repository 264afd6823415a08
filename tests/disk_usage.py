"""What a folder takes on the disk, counted without the code that is tested."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def used_bytes(folder: str | os.PathLike[str], *, but: Collection[Path] = ()) -> int:
    """Return the bytes of all blocks of a folder's files and folders, as ``du`` counts them, but for some files."""
    total = os.lstat(folder).st_blocks * 512
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if path not in but and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                total += status.st_blocks * 512
    return total


def tree_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder by its name there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
