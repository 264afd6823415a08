"""How long it takes to list an archive as large as the published ones, and to read instances from one.

Run as ``python tests/benchmarks/published_zips.py [--json]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ingest"))

from published_zip import instance_files, write_zip

from ingest.archive import ZipSource
from ingest.layout import PARTS, file_name

INSTANCES = 2728
"""Instances in each of the ten published archives."""

READ = 32


def renumbered(files: dict[str, bytes], number: int) -> dict[str, bytes]:
    """The files of instance 2 under another id."""
    return {file_name(part, number): files[file_name(part, 2)] for part in PARTS}


def measure(folder: Path) -> dict[str, float]:
    """Return seconds and rates of one listing and one reading."""
    files = instance_files(2)
    heads = {path: data if path.endswith(".off") else b"." for path, data in files.items()}
    large = write_zip(folder / "large.zip", {n: renumbered(heads, n) for n in range(INSTANCES)}, top="3dmsl/")
    real = write_zip(folder / "real.zip", {n: renumbered(files, n) for n in range(READ)}, top="3dmsl/")
    start = time.perf_counter()
    listing = ZipSource(str(large)).listing()
    listed = time.perf_counter() - start
    source = ZipSource(str(real))
    entries = source.listing().entries
    start = time.perf_counter()
    for record in source.records(entries):
        if record.findings:
            raise SystemExit(str(record.findings[0]))
    read = time.perf_counter() - start
    return {
        "instances listed": len(listing.entries),
        "listing, s": round(listed, 2),
        "instances read": READ,
        "reading, ms an instance": round(read / READ * 1e3, 1),
        "archive, MB/s": round(real.stat().st_size / 1e6 / read, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    print(json.dumps(figures) if as_json else "\n".join(f"{name:28}{value:>10}" for name, value in figures.items()))
