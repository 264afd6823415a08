"""Images made while training, in new poses and focal planes: the stream beside the loop that one would write.

``python tests/benchmarks/live_simulation.py [--json] [--instances 120] [--zips DIR] [--microscope conf2] [--epochs 6]``

Both label every mesh of a local sample library anew, turn it at random, draw one of eleven focal planes, image it and
add noise. The loop does so instance by instance in one thread, with the engine as it is. The stream uses threads, and
asks the engine for few ranges of positions, so that the optics that it computes are soon complete; both keep what they
computed. Figures are of every epoch: images a second, and processor milliseconds an image.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show
from benchmarks.sample_archives import add_options, sample

import msl_store as msl
from msl_store.optics.exposure import counts_of, emitters_of, expected_photons
from msl_store.optics.microscope import get_microscope
from msl_store.optics.plan import make_plan
from msl_store.stream import Batches, Simulated

if TYPE_CHECKING:
    from collections.abc import Callable

FOCUS_UM = (-0.5, 0.5)
LEAST_SHARE = 0.8
"""Of the cores, that the stream should use, against the loop's one."""


def looped(library: msl.Library, microscope: str, epoch: int) -> int:
    """Image every instance once, one after the other; return how many."""
    optics, count = get_microscope(microscope), 0
    for found in library.instances(parts=["mesh"]):
        if found.mesh is None:
            continue
        rng = np.random.default_rng([epoch, found.id])
        emitters = emitters_of(found.mesh.vertices_um(), found.mesh.faces, instance=found.id, seed=epoch)
        turn = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
        focus = float(rng.choice(np.linspace(*FOCUS_UM, 11)))
        photons = expected_photons(emitters, optics, turn[None], focus_um=focus)[0]
        counts_of(photons, optics, rng, seed=epoch)
        count += 1
    return count


def streamed(batches: Batches, _epoch: int) -> int:
    """Take an epoch of the stream; return how many images that is."""
    return sum(len(batch["image"]) for batch in batches)


def timed(work: Callable[[int], int], epochs: int) -> list[tuple[float, float]]:
    """Return seconds and processor seconds an image of some epochs, starting without any optics."""
    make_plan.cache_clear()
    taken = []
    for epoch in range(epochs):
        wall, processor = time.perf_counter(), time.process_time()
        count = work(epoch)
        taken.append(((time.perf_counter() - wall) / count, (time.process_time() - processor) / count))
    return taken


def measure(options: argparse.Namespace, library: msl.Library) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Time both."""
    form = Simulated(options.microscope, focus_um=FOCUS_UM)
    ways = {
        "loop": partial(looped, library, options.microscope),
        "stream": partial(streamed, Batches(library, {"image": form}, 16)),
    }
    table, last = [], {}
    for name, work in ways.items():
        work(0)  # compiles
        taken = timed(work, options.epochs)
        last[name] = taken[-1]
        table.append(
            {
                "way": name,
                "images/s, epoch 1": 1 / taken[0][0],
                f"images/s, epoch {options.epochs}": 1 / taken[-1][0],
                "ms of processor, epoch 1": 1e3 * taken[0][1],
                f"ms of processor, epoch {options.epochs}": 1e3 * taken[-1][1],
                "optics kept": make_plan.cache_info().currsize,
            }
        )
    cores = len(os.sched_getaffinity(0))
    goals = [
        Goal(
            f"times the loop's images a second in the last epoch, on {cores} cores",
            last["loop"][0] / last["stream"][0],
            LEAST_SHARE * cores,
            at_least=True,
        ),
        Goal("processor time an image over the loop's, last epoch", last["stream"][1] / last["loop"][1], 1.0),
    ]
    return table, goals


def main() -> None:
    """Make the sample library, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--microscope", default="conf2")
    parser.add_argument("--epochs", type=int, default=6)
    add_options(parser, instances=120, archives=2)
    options = parser.parse_args()
    with sample(options) as (zips, work):
        from ingest.archive import open_source
        from ingest.repack import ingest
        from msl_store.store import locate

        source = open_source([str(path) for path in zips])
        ingest(source, locate(work / "library.zarr"), limit=options.instances)
        library = msl.open(work / "library.zarr")
        rows, goals = measure(options, library)
        count = len(library)
    show(f"{count} shapes under {options.microscope}, {options.epochs} epochs", rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
