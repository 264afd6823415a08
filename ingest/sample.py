"""Sample archives: procedural mitochondria as zips in exactly the published format, macOS leftovers included."""

from __future__ import annotations

import zipfile
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ingest.formats import write_npz, write_off, write_ply, write_tiff
from ingest.layout import MESH, OCCUPANCY, POINT_CLOUD, file_name
from ingest.procedural import KINDS, instance
from ingest.sampling import occupancy, point_cloud
from msl_store.blockwise import Outcome, run_blocks
from msl_store.errors import UsageError
from msl_store.optics.exposure import emitters_of, expose
from msl_store.optics.microscope import PRESETS
from msl_store.schema import MICROSCOPES, VIEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WRITTEN = (2024, 1, 1, 0, 0, 0)
"""Time stamp of every member, so that the same sample is the same bytes."""

APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(8)
"""Head of the resource forks that macOS puts beside every file of a zip."""


def write_sample(
    folder: Path,
    *,
    instances: int,
    archives: int = 2,
    seed: int = 0,
    scheduler: str = "processes",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Path]:
    """Write a sample of instances with the ids 1, 2, ..., the paper's six kinds in turn.

    Parameters
    ----------
    folder : Path
        Where the zips go; made where it is not there.
    instances, archives : int
        How many instances, over how many zips.
    seed : int
        Chooses the shapes and everything drawn from them; the same seed gives the same bytes.
    scheduler : str
        As `msl_store.blockwise.run_blocks` takes it; one task an archive.
    progress : callable
        Called with the instances done and their number after every archive.

    Returns
    -------
    list of Path
        The zips.

    Raises
    ------
    UsageError
        There are more archives than instances.
    """
    if not 1 <= archives <= instances:
        raise UsageError(f"{archives} archives for {instances} instances: allowed is 1 to {instances}")
    folder.mkdir(parents=True, exist_ok=True)
    shares = np.array_split(np.arange(1, instances + 1), archives)
    paths = [folder / f"sample_part{number + 1}.zip" for number in range(archives)]
    done = 0

    def tell(outcome: Outcome[int]) -> None:
        nonlocal done
        done += outcome.value or 0
        progress(done, instances)

    tasks = {
        number: partial(write_archive, path, share.tolist(), seed)
        for number, (path, share) in enumerate(zip(paths, shares, strict=True))
    }
    run_blocks(tasks, scheduler=scheduler, done=tell)
    return paths


def write_archive(path: Path, ids: Sequence[int], seed: int) -> int:
    """Write one zip with some instances; return how many."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in ids:
            for name, data in members(path.stem, number, seed):
                archive.writestr(_info(name), data)
    return len(ids)


def members(top: str, number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the members of one instance as (path in the zip, bytes), each followed by its macOS leftover."""
    mesh = instance(KINDS[(number - 1) % len(KINDS)], number, seed)
    rng = np.random.default_rng([seed, number])
    vertices_um = mesh.vertices_um()
    emitters = emitters_of(vertices_um, mesh.faces, instance=number, seed=seed)
    parts = {
        MESH: write_off(mesh),
        OCCUPANCY: write_npz(occupancy(mesh, rng)),
        POINT_CLOUD: write_ply(point_cloud(mesh, rng)),
    }
    for name in MICROSCOPES:
        images = expose(emitters, PRESETS[name], VIEWS, instance=number, mode="published", seed=seed)
        for view, image in zip(VIEWS, images, strict=True):
            parts[f"{name}/{view}"] = write_tiff(image, packbits=name == "conf1")
    for part, data in parts.items():
        inner = f"{number}/{file_name(part, number)}"
        yield f"{top}/{inner}", data
        before, _, last = inner.rpartition("/")
        yield f"__MACOSX/{top}/{before}/._{last}", APPLE_DOUBLE


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, WRITTEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
