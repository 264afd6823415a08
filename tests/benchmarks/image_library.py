"""A library of camera images alone, noisy as the published ones are, written in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msl_store import schema
from msl_store.digest import instance_digest, joint_digest
from msl_store.layout import Layout
from msl_store.optics.microscope import PRESETS
from msl_store.optics.rotations import published_rotation
from msl_store.schema import MICROSCOPES, VIEWS
from msl_store.store import BlockWriter, Publication, commit_block, joined, locate

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from msl_store.store import Objects

GRID = (len(MICROSCOPES), len(VIEWS))


def write_image_library(folder: Path, instances: int, *, seed: int = 0) -> None:
    """Write a library whose instances 1, 2, ... have all 18 images and no shapes."""
    sizes = {"microscope": GRID[0], "view": GRID[1], "y": 128, "x": 128}
    layout = Layout(instances, sizes, arrays=schema.edition_arrays(planes=False, dtype="uint16"))
    target = locate(folder)
    publication = Publication(target, layout, {"instances": instances, "seed": seed}, f"images {instances} {seed}")
    with publication.claimed():
        for block in range(layout.blocks):
            _write_block(target, layout, block, seed)
        columns = {
            "instances/findings": np.frombuffer(b"[]", np.uint8),
            "images/rotation": np.array([[published_rotation(m, v) for v in VIEWS] for m in MICROSCOPES]),
        }
        records = publication.records()
        for spec in layout.arrays:
            if spec.kind == "column" and spec.path not in columns:
                columns[spec.path] = joined(records, spec.path, spec.dtype)
        digests = (digest.tobytes() for digest in columns["instances/digest"])
        attributes = {
            "msl_schema_version": schema.SCHEMA_VERSION,
            "title": "made-up images",
            "digest": joint_digest(columns["instances/id"].tolist(), digests),
        }
        groups = {
            "instances": schema.instance_attributes(columns["instances/id"], columns["instances/status"]),
            "images": {"microscopes": [PRESETS[name].to_dict() for name in MICROSCOPES], "views": list(VIEWS)},
        }
        publication.publish(columns, attributes, groups)


def add_options(parser: argparse.ArgumentParser, *, instances: int) -> None:
    """Let the command line choose the library, and how scattered images of it are read and timed."""
    parser.add_argument("--instances", type=int, default=instances)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--delay-ms", type=float, default=30.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="a library of images that an earlier run left here, or leaves now")


def chosen_library(options: argparse.Namespace, work: Path) -> Path:
    """Return the folder of the library that the command line chose, written now where it is not there."""
    folder: Path = options.folder or work / "images.zarr"
    if not (folder / "zarr.json").is_file():
        write_image_library(folder, options.instances)
    return folder


def made_up_images(rng: np.random.Generator) -> NDArray[np.uint16]:
    """Draw an instance's images, shape (microscope, view, y, x).

    A blurred rod brightens an offset of 20 to 70 to a peak of 200 to 240, with the Poisson noise of the published
    images; that noise is what their compressed size comes from.
    """
    y, x = np.mgrid[-64:64, -64:64] + 0.5
    angle, length, width = rng.uniform(0, np.pi), rng.uniform(5, 40), rng.uniform(3, 12)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    shape = np.exp(-((np.maximum(np.abs(along) - length, 0) ** 2 + across**2) / (2 * width**2)))
    offset, peak = rng.uniform(20, 70, GRID), rng.uniform(200, 240, GRID)
    expected = offset[..., None, None] + (peak - offset)[..., None, None] * shape
    counts: NDArray[np.uint16] = rng.poisson(np.round(expected)).astype(np.uint16)
    return counts


def _write_block(target: Objects, layout: Layout, block: int, seed: int) -> None:
    writer = BlockWriter(layout, block)
    present = np.ones(GRID, np.bool_)
    digests = []
    rows = layout.rows(block)
    for row in rows:
        images = made_up_images(np.random.default_rng([seed, row]))
        writer.put("images/counts", row, images)
        digests.append(list(instance_digest(images=images, present=present)))
    columns = {
        "instances/id": [row + 1 for row in rows],
        "instances/status": [0] * len(rows),
        "instances/has_images": [True] * len(rows),
        "instances/digest": digests,
        "images/present": [present.tolist()] * len(rows),
    }
    commit_block(target, block, writer, {"columns": columns})
