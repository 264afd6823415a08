"""What a shuffle costs and what it mixes: windows of several sizes and the full shuffle, over 30 ms a request.

``python tests/benchmarks/stream_order.py [--json] [--instances 2048] [--delay-ms 30] [--folder DIR]``

The library holds the images of 32 blocks on nginx behind a proxy that delays every answer and counts. For every
shuffle, from a freshly opened library: seconds to the first batch of 64, requests and bytes an instance over an epoch,
once for one view under one microscope (a partial sample: neighbours lie 230 kB apart) and once for all six views under
one (a run of 78 kB). Beside it how well that window mixes the published library's 27,272 instances: the entropy of the
blocks that a batch of 64 comes from, and the distance of neighbours relative to a uniformly random order.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.image_library import write_image_library
from benchmarks.measuring import Goal, show
from servers.proxy import DelayProxy
from servers.web import WebServer

import msl_store as msl
from msl_store.schema import VIEWS
from msl_store.stream import Batches, Images, Shuffle, epoch_order, mixing

WINDOWS = (64, 256, 1024, 4096, None)
PUBLISHED = 27_272
SIZE = 64
FIELDS = {"one view": Images("conf2"), "six views": Images("conf2", views=VIEWS)}

LEAST_BITS = 0.85
"""Of a uniform order's entropy, that the default shuffle should reach on the published library."""


def cost(url: str, proxy: DelayProxy, window: int | None, form: Images) -> dict[str, float]:
    """Return what an epoch costs from a freshly opened library."""
    began = time.perf_counter()
    batches = Batches(msl.open(url), {"image": form}, SIZE, shuffle=Shuffle(window))
    opened = time.perf_counter() - began
    proxy.reset()
    began = time.perf_counter()
    stream = iter(batches)
    next(stream)
    first = opened + time.perf_counter() - began
    taken = SIZE + sum(len(batch["id"]) for batch in stream)
    requests = proxy.requests()
    return {
        "s to first": first,
        "requests": len(requests) / taken,
        "kB": sum(request.sent for request in requests) / taken / 1e3,
    }


def measure(url: str, proxy: DelayProxy) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Measure every window."""
    rows, table = np.arange(PUBLISHED), []
    for window in WINDOWS:
        mixed = mixing(rows[epoch_order(rows, seed=0, epoch=0, shuffle=Shuffle(window))], batch=SIZE)
        row: dict[str, Any] = {
            "window": "all" if window is None else str(window),
            "block bits": mixed.block_bits,
            "of uniform": mixed.block_bits / mixed.uniform_bits,
            "distance": mixed.distance,
        }
        for name, form in FIELDS.items():
            row |= {f"{name}: {what}": value for what, value in cost(url, proxy, window, form).items()}
        table.append(row)
    default = next(row for row in table if row["window"] == str(Shuffle().window))
    return table, [
        Goal("entropy of the default shuffle, of a uniform one's", default["of uniform"], LEAST_BITS, at_least=True)
    ]


def main() -> None:
    """Build the library, serve it, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--instances", type=int, default=2048)
    parser.add_argument("--delay-ms", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, help="a library of images that an earlier run left here, or leaves now")
    options = parser.parse_args()
    with ExitStack() as held:
        folder = options.folder or Path(held.enter_context(tempfile.TemporaryDirectory())) / "images.zarr"
        if not (folder / "zarr.json").is_file():
            write_image_library(folder, options.instances)
        web = held.enter_context(WebServer(folder.parent))
        proxy = held.enter_context(DelayProxy(web.url, delay_s=options.delay_ms / 1e3))
        rows, goals = measure(f"{proxy.url}/{folder.name}", proxy)
    title = f"batches of {SIZE} images of {options.instances} instances, {options.delay_ms:g} ms a request"
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
