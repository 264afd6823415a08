"""The commands of ``msl`` that look at a whole library or copy one: info, subset, verify."""

from __future__ import annotations

from dataclasses import asdict
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msl_store.cache.sizes import size_text
from msl_store.cli_groups import grouped
from msl_store.cli_options import Selection, Storage, Url
from msl_store.console import (
    JsonFlag,
    OverwriteFlag,
    SchedulerOption,
    StorageOption,
    counted,
    names_of,
    progress_bar,
    say,
    show,
    storage_options,
)
from msl_store.contents import PARTS
from msl_store.errors import IntegrityError
from msl_store.schema import STATUS

STACKS = {"frames": "frames", "z_um": "planes"}
"""What an image may be several of, by the summary's name for it."""

if TYPE_CHECKING:
    from msl_store.subsetting import Progress


def info(
    url: Url,
    sizes: Annotated[bool, typer.Option("--sizes", help="Also how much is stored: lists, or reads indexes.")] = False,
    option: StorageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a library holds: instances, parts, splits, images, provenance, licence."""
    from msl_store.library import open_library
    from msl_store.summary import summary

    library = open_library(url, storage_options(option))
    found = summary(library, sizes=sizes)
    show(found, as_json=as_json, text="\n".join(_info_lines(found)))


def _info_lines(found: dict[str, Any]) -> list[str]:
    """Return a summary as lines for people."""
    counts, provenance = dict(found["counts"]), found["provenance"]
    findings = counts.pop("findings", 0)
    parts = {name: counts[f"has_{name}"] for name in (*PARTS, "normals") if f"has_{name}" in counts}
    holds = f"{counted(found['instances'], 'instance')} at {found['url']}"
    lines = [
        f"{found['title'] or 'library'}: {holds}; licence {found['license'] or 'not stated'}",
        "parts: " + ", ".join(f"{name} {count}" for name, count in parts.items()),
        "status: " + ", ".join(f"{name.replace('_', ' ')} {counts[name]}" for name in STATUS),
        f"findings: {findings}",
    ]
    if found["splits"]:
        lines.append("splits: " + ", ".join(f"{name} {count}" for name, count in found["splits"].items()))
    if found["microscopes"]:
        stacks = "".join(f" x {len(found[name])} {what}" for name, what in STACKS.items() if found[name])
        lines.append(f"images: {', '.join(found['microscopes'])} x {', '.join(found['views'])}{stacks}")
    lines.append(f"size: {size_text(found['uncompressed_bytes'])} uncompressed")
    if "stored" in found:
        stored = found["stored"]
        lines[-1] += f", {size_text(stored['bytes'])} stored ({stored['how']})"
        large = {path: size for path, size in stored["by_array"].items() if size > stored["bytes"] / 100}
        lines += [f"  {path}: {size_text(size)}" for path, size in sorted(large.items(), key=itemgetter(1))[::-1]]
    made = provenance.get("provenance")
    if made is not None:
        names = ", ".join(microscope["name"] for microscope in made.get("microscopes", []))
        lines.append(
            f"edition: simulated from {made.get('source')} with {names or '?'}, mode {made.get('mode')}, "
            f"seed {made.get('seed')}"
        )
    else:
        lines.append(f"edition: {provenance.get('edition', 'not stated')}; source: {provenance.get('source', '?')}")
    for step in provenance.get("derived_from", []):
        left_out = f", without {', '.join(step['left_out'])}" if step["left_out"] else ""
        how = "".join(f", {name.replace('_', ' ')} {value}" for name, value in step["selection"].items())
        lines.append(
            f"subset of {step['url']} ({counted(step['instances'], 'instance')}; digest {step['digest'][:12]})"
            f"{how}{left_out}"
        )
    lines.append(f"digest {provenance.get('digest', '')}; written by {provenance.get('software', '?')}")
    lines.append(f"cite: {found['citation'] or 'see the source'}")
    return lines


@grouped
def subset(
    *,
    url: Url,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="Where the subset goes: a path or s3://bucket/name.zarr.")
    ],
    selection: Selection,
    arrays: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What to take, with commas between: mesh, point_cloud, occupancy, images, sdf, voxel_grid; also "
            "point_cloud/points (no normals), images:conf2 (one microscope). Everything where left out.",
        ),
    ] = None,
    microscope: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only images of these, as in conf1,conf2.")
    ] = None,
    view: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these views, as in 0,x90.")] = None,
    scheduler: SchedulerOption = None,
    overwrite: OverwriteFlag = False,
    storage: Storage,
    as_json: JsonFlag = False,
) -> None:
    """Copy some instances into a library of their own, chunks as they are; run it again to finish what was stopped."""
    from msl_store.library import open_library
    from msl_store.subsetting import subset as copied

    library = open_library(url, storage.source)
    with progress_bar("subset", "instances") as update:

        def tell(state: Progress) -> None:
            if state.stored_bytes == 0:
                about = "" if state.size.exact else "about "
                text = f"{about}{size_text(state.size.stored_bytes)} of compressed chunks"
                there = f"; {state.instances} are there already" if state.instances else ""
                say(f"{destination}: {text}, {state.all_instances} of {counted(len(library), 'instance')}{there}")
            update(state.instances, state.all_instances, size_text(state.stored_bytes))

        done = copied(
            library,
            destination,
            storage.target,
            **selection.arguments,
            arrays=names_of(arrays),
            microscopes=names_of(microscope),
            views=names_of(view),
            scheduler=scheduler,
            overwrite=overwrite,
            progress=tell,
        )
    aside = f" ({done.set_aside} have nothing of what was taken)" if done.set_aside else ""
    text = (
        f"{destination}: nothing to do, this subset is complete ({counted(done.instances, 'instance')}{aside})"
        if done.state == "published"
        else f"{destination}: {counted(done.instances, 'instance')}{aside}, {size_text(done.stored_bytes)} "
        f"{'more ' if done.state == 'resumed' else ''}in {done.seconds:.1f} s, "
        f"{size_text(done.stored_bytes / done.seconds)}/s; data licence {library.license}"
    )
    show(asdict(done), as_json=as_json, text=text)


def verify(
    url: Url,
    quick: Annotated[bool, typer.Option("--quick", help="Only columns, indexes and sizes; read no chunks.")] = False,
    scheduler: SchedulerOption = None,
    option: StorageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a library by itself: checksums, digests, missing and extra objects; exit code 5 if wrong."""
    from msl_store.library import open_library
    from msl_store.verification import verify as check

    library = open_library(url, storage_options(option))
    with progress_bar("verify", "blocks") as update:
        found = check(library, quick=quick, scheduler=scheduler, progress=update)
    if found.unlisted:
        say(f"objects that do not belong to the library were not looked for: {found.unlisted}")
    looked = "looked for" if quick else "read"
    text = f"{url}: {found.instances} instances, {found.chunks} chunks {looked}, {len(found.damages)} damages"
    show(found.to_dict(), as_json=as_json, text="\n".join([text, *map(str, found.damages)]))
    if found.damages:
        raise typer.Exit(IntegrityError.exit_code)
