"""Write a subset of a library as a library of its own, anywhere, its chunks moved as they are stored."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.blockwise import run_blocks
from msl_store.carried import columns_of, group_attributes, root_attributes
from msl_store.contents import Instance
from msl_store.errors import UsageError
from msl_store.extract import extract, stored_size
from msl_store.library import refuse_no_library
from msl_store.store import ROOT, BlockCopy, Publication, Taken, Want, commit_block, joined, locate

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from msl_store.blockwise import Outcome, Scheduler
    from msl_store.extract import Extract, Size
    from msl_store.library import Library
    from msl_store.store import Objects

BLOCKS_AT_ONCE = 4
"""Blocks that are copied at the same time on this machine: copying waits more than it computes, but each takes some
200 MB of memory, and what is under way when a run is stopped is copied again."""


@dataclass(frozen=True)
class Progress:
    """How far a subset is: blocks and instances done out of how many, bytes written, and what is to be copied."""

    blocks: int
    all_blocks: int
    instances: int
    all_instances: int
    stored_bytes: int
    size: Size


@dataclass(frozen=True)
class Copied:
    """What a subset's making did.

    Attributes
    ----------
    state : str
        ``new``, ``resumed``, or ``published`` where there was nothing to do.
    instances : int
        Rows of the subset.
    set_aside : int
        Those of which the subset holds nothing, so that it does not show them.
    stored_bytes : int
        Bytes that this run wrote into blocks.
    seconds : float
        Wall time of this run.
    digest : str
        Of the subset's content.
    """

    state: str
    instances: int
    set_aside: int
    stored_bytes: int
    seconds: float
    digest: str


def subset(
    library: Library,
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    ids: ArrayLike | None = None,
    first: int | None = None,
    where: str | None = None,
    split: str | None = None,
    arrays: Sequence[str] | None = None,
    microscopes: Sequence[str] | None = None,
    views: Sequence[str] | None = None,
    scheduler: Scheduler = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Copied:
    """Write some instances of a library as a library of its own, or go on where an earlier run stopped.

    Compressed chunks are moved as they are stored, each checksum tested on the way; columns, and what is stored for a
    whole block, are written anew. The subset names its source in the root attribute ``derived_from``, and editions of
    the source join it.

    Parameters
    ----------
    library : Library
        A library, a selection of one, or an edition, wherever it lies.
    url, storage_options
        Where the subset goes, as `msl_store.open` takes them; not a web server or a zip, which take no writes.
    ids, first, where, split
        Narrow the library first, as `Library.select` does; ``derived_from`` tells how.
    arrays : sequence of str, optional
        What to take: groups of the library (``mesh``, ``point_cloud``, ``occupancy``, ``images``),
        ``point_cloud/points`` (without normals), ``images:conf2`` (one microscope's). Everything by default. Columns
        of ``instances`` are always there. What is left out is not there in the subset: ``has_...`` and ``status`` say
        so, and the digests are those of what is there (chunks are decompressed for that, still not compressed again).
    microscopes, views : sequence of str, optional
        Take these images only.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it. Workers read the source and write the subset themselves.
    overwrite : bool
        Replace another library at the target.
    progress : callable
        Called with a `Progress` when the plan is made and after every block.

    Returns
    -------
    Copied

    Raises
    ------
    UsageError
        The selection is empty, a name is unknown, or the target holds something else or the library itself.
    MissingError
        An id is not in the library.
    IntegrityError
        A chunk of the library is damaged or missing; the blocks without such are done, and the next run goes on.
    BusyError
        Another run is writing to the target.
    """
    refuse_no_library(library)
    conditions = {"first": first, "where": where, "split": split}
    selection = {name: value for name, value in conditions.items() if value is not None}
    if ids is not None:
        selection["ids_given"] = np.size(np.asarray(ids))
    elif len(library) != len(library.store.ids) - len(library.store.groups["instances"].get("set_aside", [])):
        selection["ids_given"] = len(library)
    chosen = library.select(ids=ids, first=first, where=where, split=split)
    if not len(chosen):
        asked = ", ".join(f"{name} {value}" for name, value in selection.items())
        raise UsageError(f"{library.url}: none of its {len(library)} instances is left by {asked}; allow one or more")
    taken = extract(chosen, arrays=arrays, microscopes=microscopes, views=views)
    target = locate(url, storage_options)
    _refuse(library, target)
    return write_extract(
        taken, target, library.url, selection, scheduler=scheduler, overwrite=overwrite, progress=progress
    )


def write_extract(
    taken: Extract,
    target: Objects,
    url: str,
    selection: Mapping[str, Any],
    *,
    scheduler: Scheduler,
    overwrite: bool,
    progress: Callable[[Progress], None],
) -> Copied:
    """Write what an `Extract` takes to a target; see `subset`."""
    began = time.perf_counter()
    layout = taken.layout
    plan = _plan(taken)
    publication = Publication(target, layout, plan, plan["subset"])
    with publication.claimed(overwrite=overwrite) as state:
        if state == "published":
            attributes = json.loads(target.get(ROOT))["attributes"]
            aside = attributes["counts"]["set_aside"]
            return Copied(state, layout.instances, aside, 0, time.perf_counter() - began, attributes["digest"])
        finished = publication.finished_blocks()
        size = stored_size(taken)
        blocks, rows, written = len(finished), sum(len(layout.rows(block)) for block in finished), 0

        def tell(outcome: Outcome[int] | None) -> None:
            nonlocal blocks, rows, written
            if outcome is not None and outcome.value is not None:
                blocks += 1
                rows += len(layout.rows(outcome.block))
                written += outcome.value
            progress(Progress(blocks, layout.blocks, rows, layout.instances, written, size))

        tell(None)
        tasks = {
            block: partial(copy_block, taken, target, block) for block in range(layout.blocks) if block not in finished
        }
        run_blocks(tasks, scheduler=scheduler, done=tell, at_once=BLOCKS_AT_ONCE)
        digests = joined(publication.records(), "instances/digest", "uint8") if taken.left_out else None
        columns = columns_of(taken, url, digests)
        attributes = root_attributes(taken, url, columns, selection)
        publication.publish(columns, attributes, group_attributes(taken, columns))
    aside = int((columns["instances/status"] == schema.STATUS.index("set_aside")).sum())
    return Copied(state, layout.instances, aside, written, time.perf_counter() - began, attributes["digest"])


def _refuse(library: Library, target: Objects) -> None:
    """Raise `UsageError` for a target that takes no subset: a zip, or the library that it is taken from."""
    if target.url.endswith(".zip"):
        raise UsageError(f"{target.url}: a zipped library is read-only; allowed is a folder or a bucket: zip it there")
    if target.url.startswith(("http://", "https://")):
        raise UsageError(f"{target.url}: a web server takes no writes; allowed is a folder or a bucket (s3://...)")
    source = library.store.objects
    here, there = (objects.path for objects in (source, target))
    if here is None or there is None:
        clash = source.url == target.url and _endpoint(source) == _endpoint(target)
    else:
        here, there = here.resolve(), there.resolve()
        clash = here == there or here in there.parents or there in here.parents
    if clash:
        raise UsageError(f"{target.url}: is, holds or lies in the library {source.url} itself; choose another target")


def _endpoint(objects: Objects) -> str | None:
    """Return the server that an S3 URL is on, where the options say so."""
    options = objects.storage_options
    found: str | None = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url")
    return found


def _plan(taken: Extract) -> dict[str, Any]:
    """Return what a subset depends on: the library's content, and what is taken of it."""
    text = json.dumps(
        [
            schema.SCHEMA_VERSION,
            taken.store.digest,
            taken.store.ids[taken.rows].tolist(),
            list(taken.arrays),
            {dim: positions.tolist() for dim, positions in taken.positions.items()},
        ]
    )
    return {
        "subset": hashlib.sha256(text.encode()).hexdigest(),
        "source_digest": taken.store.digest,
        "instances": len(taken.rows),
        "left_out": list(taken.left_out),
    }


def copy_block(taken: Extract, target: Objects, block: int) -> int:
    """Copy one block of a subset to its target; return the bytes written."""
    layout = taken.layout
    rows = layout.rows(block)
    has = {path: taken.has(path) for path in taken.of_kind("rows", "ragged", "block")}
    there = {path: [row for row in rows if held[row]] for path, held in has.items()}
    moved = {
        path: [Taken(row, taken.want(path, row)) for row in there[path]] for path in taken.of_kind("rows", "ragged")
    }
    encoded = [path for path in taken.of_kind("block") if there[path]]
    values = taken.store.read([Want(path, (taken.rows[there[path]],)) for path in encoded])
    of_block = {
        (row, path): found[place : place + 1]
        for path, found in zip(encoded, values, strict=True)
        for place, row in enumerate(there[path])
    }
    digests = {row: Instance(0).digest for row in rows}

    def count(row: int, found: Mapping[str, NDArray[Any]]) -> None:
        mine = {path: of_block[row, path] for path in encoded if (row, path) in of_block}
        digests[row] = taken.assembled(row, {**found, **mine}).digest

    copied = BlockCopy(taken.store, layout, block, moved, seen=count if taken.left_out else None)
    for (row, path), value in of_block.items():
        copied.encoded.put(path, row, np.asarray(value[0]))
    if not taken.left_out:
        return commit_block(target, block, copied, {})
    return commit_block(
        target, block, copied, lambda: {"columns": {"instances/digest": [list(digests[row]) for row in rows]}}
    )
