"""How long scenes take: composing, imaging, truth, motion, films and OME-Zarr; `--json` prints figures for programs."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from shapes_source import ShapesSource

import msl_store as msl
from ingest.repack import ingest
from msl_store import scenes
from msl_store.ome import write_ome
from msl_store.store import locate

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT, FRAMES = 24, 20
KINDS = ("dot", "donut", "rod", "network")


def milliseconds(work: Callable[[], Any], *, warm: bool = True) -> float:
    """Return how long a call takes; `warm` makes one before, for compiled code and plans."""
    if warm:
        work()
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measured(Path(name))
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    for step, value in figures.items():
        print(f"{step:<44} {value:>12,.1f}")


def measured(folder: Path) -> dict[str, float]:
    """Return the figures, in ms where the name does not say otherwise."""
    attributes = {"title": "shapes", "license": "CC0-1.0"}
    ingest(ShapesSource(COUNT, kinds=KINDS), locate(folder / "library.zarr"), attributes=attributes)
    library = msl.open(folder / "library.zarr")
    rules: dict[str, Any] = {"field_um": 16, "depth_um": 5, "seed": 1}
    scene = scenes.compose(library, library.ids, overlap="forbid", **rules)
    motion = scenes.Motion(drift_um=(0.05, 0, 0), spin_deg=2, wander_um=0.3, deformation_um=0.1)
    lapse = scenes.timelapse(scene, "conf2", motion, FRAMES)
    truth = scenes.timelapse_truth(scene, "conf2", motion, FRAMES)
    labels = {"cells": truth.labels.sel(rule="silhouette")}
    figures = {
        "instances": len(scene.ids),
        "emitters": len(scene.emitters_um),
        "faces": sum(len(item.faces) for item in scene.placed),
        "compose, overlap allowed": milliseconds(lambda: scenes.compose(library, library.ids, **rules)),
        "compose, overlap forbidden": milliseconds(
            lambda: scenes.compose(library, library.ids, overlap="forbid", **rules)
        ),
        "image, conf2, 328 x 328": milliseconds(lambda: scenes.render(scene, "conf2")),
        "stack of 5 planes": milliseconds(lambda: scenes.render(scene, "conf2", z=[-1, -0.5, 0, 0.5, 1])),
        "masks of both rules": milliseconds(lambda: scenes.masks(scene, "conf2")),
        "label volume, voxels of 50 nm": milliseconds(lambda: scenes.label_volume(scene, 0.05)),
        "moving meshes and emitters to a frame": milliseconds(lambda: scenes.moved(scene, motion, 5)),
        f"time-lapse of {FRAMES} frames": milliseconds(lapse.compute, warm=False),
    }
    images = lapse.compute()
    figures["its GIF"] = milliseconds(lambda: scenes.write_movie(images, folder / "a.gif"), warm=False)
    figures["its MP4"] = milliseconds(lambda: scenes.write_movie(images, folder / "a.mp4"), warm=False)
    figures["its OME-Zarr, 2 levels, with labels"] = milliseconds(
        lambda: write_ome(images, folder / "a.ome.zarr", labels=labels, levels=2), warm=False
    )
    return figures


if __name__ == "__main__":
    main()
