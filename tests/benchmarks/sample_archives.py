"""Sample archives for a benchmark: made for it, or taken from a folder where an earlier run left them."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def add_options(parser: argparse.ArgumentParser, *, instances: int, archives: int) -> None:
    """Add the options that choose the sample."""
    parser.add_argument("--instances", type=int, default=instances)
    parser.add_argument("--archives", type=int, default=archives)
    parser.add_argument("--zips", type=Path, help="archives that an earlier run left in this folder, or leaves now")
    parser.add_argument("--work", type=Path, help="folder for everything else, on the disk to measure")


@contextmanager
def sample(options: argparse.Namespace) -> Iterator[tuple[list[Path], Path]]:
    """Give the archives and an empty folder to work in, which goes afterwards."""
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        work = Path(scratch)
        folder = options.zips or work / "zips"
        found = sorted(folder.glob("*.zip")) if folder.is_dir() else []
        if not found:
            from ingest.sample import write_sample

            found = write_sample(folder, instances=options.instances, archives=options.archives)
        yield found, work
