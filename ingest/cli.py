"""The command-line tool ``msl-ingest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingest.em.cli import em, sample_volume
from ingest.outcome import ReportOption, tell_outcome
from msl_store.cache.sizes import size_text
from msl_store.console import (
    First,
    Ids,
    JsonFlag,
    OverwriteFlag,
    SchedulerOption,
    StorageOption,
    ids_of,
    progress_bar,
    run,
    say,
    say_size,
    show,
    storage_options,
    tool,
)

app = tool("Make Zarr libraries of the 3D Mitochondria Shape Library. The published data is CC BY-NC 4.0.")

SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source-option", metavar="KEY=VALUE", help="Storage option of the source. Repeatable."),
]


@app.command()
def zips(
    sources: Annotated[list[str], typer.Argument(help="Zips, folders, globs, s3://, https:// or doi:10.18710/JX6JXF.")],
    library: Annotated[str, typer.Argument(help="Where the library goes: a path or s3://bucket/name.zarr.")],
    ids: Ids = None,
    limit: First = None,
    scheduler: SchedulerOption = None,
    title: Annotated[str | None, typer.Option(help="The library's title, where it is not 3DMSL.")] = None,
    license_name: Annotated[str | None, typer.Option("--license", help="The data's licence, as CC0-1.0.")] = None,
    report: ReportOption = None,
    overwrite: OverwriteFlag = False,
    option: StorageOption = None,
    source_option: SourceOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Repack published zip archives into a library; run it again to finish what was interrupted.

    Exit code 6 means: done, but something in the archives was missing or damaged; the findings say what.
    """
    from ingest.archive import open_source
    from ingest.repack import PUBLISHED, Progress, ingest
    from msl_store.store import locate

    attributes = dict(PUBLISHED)
    if title or license_name:
        attributes = {"title": title or "Untitled library", "license": license_name or "not stated"}
    source = open_source(sources, storage_options(source_option))
    with progress_bar("ingest", "instances") as update:

        def tell(state: Progress) -> None:
            if state.stored_bytes == 0:
                say_size(state.all_bytes, library)
            update(state.instances, state.all_instances, size_text(state.stored_bytes))

        found = ingest(
            source,
            locate(library, storage_options(option)),
            ids=ids_of(ids),
            limit=limit,
            attributes=attributes,
            scheduler=scheduler,
            overwrite=overwrite,
            progress=tell,
        )
    tell_outcome(found, library, licence=attributes["license"], report=report, as_json=as_json)


app.command()(em)


@app.command()
def verify(
    sources: Annotated[list[str], typer.Argument(help="What the library was made from.")],
    library: Annotated[str, typer.Argument(help="The library.")],
    ids: Ids = None,
    limit: First = None,
    scheduler: SchedulerOption = None,
    option: StorageOption = None,
    source_option: SourceOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a library with its source, bit for bit; exit code 5 where they differ."""
    from ingest.archive import open_source
    from ingest.verify import verify as compare
    from msl_store.errors import IntegrityError
    from msl_store.library import open_library

    with progress_bar("verify", "blocks") as update:
        found = compare(
            open_source(sources, storage_options(source_option)),
            open_library(library, storage_options(option), cache=False),
            ids=ids_of(ids),
            limit=limit,
            scheduler=scheduler,
            progress=update,
        )
    for difference in found.differences:
        say(f"difference: {difference}")
    text = f"{library}: {found.instances} instances compared, {len(found.differences)} differences"
    show(found.to_dict(), as_json=as_json, text=text)
    if found.differences:
        raise typer.Exit(IntegrityError.exit_code)


@app.command()
def catalog(
    libraries: Annotated[list[str], typer.Argument(help="Libraries, as URL or NAME=URL.")],
    output: Annotated[str, typer.Option("--output", "-O", help="The YAML file; one that is there is added to.")],
    option: StorageOption = None,
) -> None:
    """Write an intake (v2) catalog of libraries: an entry a group, one for the whole tree; no credentials."""
    from ingest.catalog import library_name, write_catalog

    options = storage_options(option)
    named = {}
    for text in libraries:
        name, equals, url = text.partition("=")
        if not equals or "/" in name:
            name, url = library_name(text), text
        named[name] = (url, options)
    written = write_catalog(named, output)
    if written.left_out:
        say(f"left out of the catalog, as they may be secret: {', '.join(written.left_out)}")
    print(f"{written.destination}: {len(written.entries)} entries written, {len(written.kept)} kept")


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where the zips go.")],
    instances: Annotated[int, typer.Option(min=1, help="How many instances.")] = 48,
    archives: Annotated[int, typer.Option(min=1, help="Over how many zips.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the shapes.")] = 0,
) -> None:
    """Write procedural mitochondria as zip archives in the published format."""
    from ingest.sample import write_sample

    with progress_bar("sample", "instances") as update:
        written = write_sample(
            folder,
            instances=instances,
            archives=archives,
            seed=seed,
            progress=update,
        )
    size = sum(path.stat().st_size for path in written)
    print(f"{folder}: {instances} instances in {len(written)} zips, {size_text(size)}")


app.command("sample-volume")(sample_volume)


def main() -> None:
    """Run the tool."""
    run(app)
