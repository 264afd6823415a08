"""What an image, a plane of a stack and a plan cost, by modality; on a GPU too, where there is one.

`python tests/benchmarks/planes.py [--json] [--planes 32] [--repeat 5]`

In CPU time of one thread, since neighbours on the machine lengthen wall time. *image* is an image focused on the middle
of the shape. A stack is taken in two ways, in turn: as one (`z_um`), and plane by plane (`focus_um`), as one would
without shared plans. *plan* is what the first image of a size of shape costs more, and *plane's plan* the same of a
plane. On a GPU times are wall times, and the largest difference from the CPU's images is given.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import ring
from benchmarks.measuring import Goal, show

from msl_store.errors import UsageError
from msl_store.optics.gpu import find_gpu
from msl_store.optics.imaging import expected_images
from msl_store.optics.microscope import PRESETS, Microscope, get_microscope
from msl_store.optics.plan import make_plan
from msl_store.optics.stack import make_shared_plan

if TYPE_CHECKING:
    from collections.abc import Callable

UPRIGHT = np.eye(3)[None]
MICROSCOPES = (
    *PRESETS.values(),
    get_microscope("confocal-60x-oil"),
    get_microscope("light-sheet-25x-water"),
    replace(PRESETS["epi1"], name="epi1, gaussian", psf="gaussian"),
)
SHAPES = {4141: 0.35, 50_000: 1.0}
"""Emitters of a shape, and its size relative to the torus of 3.4 um."""


def milliseconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return how long one call takes."""
    began = clock()
    work()
    return 1e3 * (clock() - began)


def measured(microscope: Microscope, count: int, planes: np.ndarray, repeat: int) -> dict[str, Any]:
    """Return the figures of one microscope and shape, in ms."""
    emitters = ring(count) * SHAPES[count]

    def taken(**focus: Any) -> np.ndarray:
        return expected_images(emitters, microscope, UPRIGHT, **focus)

    def singly() -> None:
        for plane in planes:
            taken(focus_um=plane)

    for cache in (make_plan, make_shared_plan):
        cache.cache_clear()
    cold_image, cold_stack = milliseconds(lambda: taken(focus_um=0.0)), milliseconds(lambda: taken(z_um=planes))
    singly()
    times: dict[str, list[float]] = {"image": [], "stack": [], "singly": []}
    for _ in range(repeat):
        times["image"].append(milliseconds(lambda: [taken(focus_um=0.0) for _ in range(8)]) / 8)
        times["stack"].append(milliseconds(lambda: taken(z_um=planes)))
        times["singly"].append(milliseconds(singly))
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "microscope": microscope.name,
        "emitters": count,
        "image": median["image"],
        "plane": median["stack"] / len(planes),
        "plane, singly": median["singly"] / len(planes),
        "plan": cold_image - median["image"],
        "plane's plan": (cold_stack - median["stack"]) / len(planes),
        **on_gpu(taken, planes, repeat),
    }


def on_gpu(taken: Callable[..., np.ndarray], planes: np.ndarray, repeat: int) -> dict[str, Any]:
    """Return the figures of the GPU; nothing where there is none."""
    try:
        find_gpu()
    except UsageError:
        return {}
    exact, found = taken(z_um=planes), taken(z_um=planes, device="gpu")
    stacks = [milliseconds(lambda: taken(z_um=planes, device="gpu"), time.perf_counter) for _ in range(repeat)]
    taken(focus_um=0.0, device="gpu")
    images = [milliseconds(lambda: taken(focus_um=0.0, device="gpu"), time.perf_counter) for _ in range(repeat)]
    return {
        "GPU image": statistics.median(images),
        "GPU plane": statistics.median(stacks) / len(planes),
        "GPU difference": float((np.abs(found - exact).max(axis=(2, 3)) / exact.max(axis=(2, 3))).max()),
    }


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--planes", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    planes = 0.1 * (np.arange(options.planes) - (options.planes - 1) / 2)
    for microscope in MICROSCOPES:
        expected_images(ring(100), microscope, UPRIGHT, z_um=planes[:1])  # compiles
    rows = [measured(microscope, count, planes, options.repeat) for microscope in MICROSCOPES for count in SHAPES]
    goals = [
        Goal(f"{row['microscope']}, {row['emitters']}: a plane by an image", row["plane"] / row["image"], 0.5)
        for row in rows
    ]
    goals += [
        Goal(
            f"{row['microscope']}, {row['emitters']}: a plane by the same one alone",
            row["plane"] / row["plane, singly"],
            0.5,
        )
        for row in rows
    ]
    goals += [
        Goal(f"{row['microscope']}, {row['emitters']}: difference of the GPU", row["GPU difference"], 2e-3)
        for row in rows
        if "GPU difference" in row
    ]
    show(f"CPU ms in one thread; stacks of {options.planes} planes", rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
