"""The commands ``msl cache``: what a cache holds, its limit, pins, and its repair."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from msl_store.cache.sizes import size_text
from msl_store.cli_groups import grouped
from msl_store.cli_options import Selection, Url
from msl_store.console import (
    LARGE_BYTES,
    PARTIAL_EXIT,
    JsonFlag,
    StorageOption,
    counted,
    names_of,
    progress_bar,
    say,
    show,
    storage_options,
)

app = typer.Typer(help="Caches of libraries that are read from afar.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The cache's folder.")]


@app.command()
def info(folder: Folder, as_json: JsonFlag = False) -> None:
    """Say what a cache holds of which libraries, what is pinned, and how often it was of use."""
    from msl_store.store import Cache

    found = Cache(folder).info()
    asked = found.hits + found.misses
    lines = [
        f"{found.folder}: {size_text(found.bytes)} of {size_text(found.limit)}, {size_text(found.pinned_bytes)} pinned",
        f"{found.hits} of {asked} pieces were found ({found.hits / max(asked, 1):.0%}); {found.damaged} were damaged",
    ]
    for library in found.libraries:
        lines.append(f"{library.url}: {size_text(library.bytes)}, last read {library.used}")
        lines += [
            f"  pin {pin.id}: {counted(pin.instances, 'instance')} ({', '.join(pin.parts)}), {size_text(pin.bytes)}"
            f"{'' if pin.complete else ', not complete: pin it again'}"
            for pin in library.pins
        ]
    show(asdict(found), as_json=as_json, text="\n".join(lines))


@app.command()
def limit(
    folder: Folder, size: Annotated[str, typer.Argument(metavar="SIZE", help="As in '20 GB' or '500 MiB'.")]
) -> None:
    """Make a cache, or give one another limit; what is too much is evicted at once."""
    from msl_store.store import Cache

    print(f"{folder}: at most {size_text(Cache(folder, size).limit)}")


@app.command()
def clear(
    folder: Folder, pins: Annotated[bool, typer.Option("--pins", help="Delete what is pinned too.")] = False
) -> None:
    """Delete what a cache holds."""
    from msl_store.store import Cache

    cache = Cache(folder)
    cache.clear(pins=pins)
    print(f"{folder}: {size_text(cache.info().bytes)} left")


@app.command()
@grouped
def pin(
    *,
    folder: Folder,
    url: Url,
    size: Annotated[str | None, typer.Option("--limit", help="Of a new cache, as in '20 GB'.")] = None,
    parts: Annotated[str | None, typer.Option(help="Only these, as in mesh,images.")] = None,
    selection: Selection,
    option: StorageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Download a library, or part of one, and keep it until it is unpinned; run it again to go on."""
    from msl_store.library import open_library
    from msl_store.store import Cache

    cache = Cache(folder, size)
    library = open_library(url, storage_options(option), cache=cache).select(**selection.arguments)
    with progress_bar("pin", "%") as update:

        def tell(done: int, everything: int) -> None:
            if not done and everything > LARGE_BYTES:
                say(f"{url}: {size_text(everything)} to have in {folder}")
            update(100 * done // max(everything, 1), 100, f"of {size_text(everything)}")

        report = cache.pin(library, parts=names_of(parts), progress=tell)
    text = f"{report.id}: {counted(report.instances, 'instance')} of {url} stay in {folder}, {size_text(report.bytes)}"
    show(asdict(report), as_json=as_json, text=text)


@app.command()
def unpin(
    folder: Folder,
    pin_id: Annotated[
        str, typer.Argument(metavar="PIN", help="Its id, or the beginning of it, as msl cache info says.")
    ],
) -> None:
    """Undo a pin; what it held is evicted like everything else from now on."""
    from msl_store.store import Cache

    Cache(folder).unpin(pin_id)
    print(f"{folder}: {pin_id} is no longer pinned")


@app.command()
def verify(folder: Folder, as_json: JsonFlag = False) -> None:
    """Check every piece against its digest, and cut off what is damaged; it is fetched again when it is read."""
    from msl_store.store import Cache

    found = Cache(folder).verify()
    lines = [
        f"{damage.pack}: damaged after {damage.kept_bytes} bytes, {damage.lost_bytes} cut off"
        f"{'; pin it again to complete the pin' if damage.pinned else ''} ({damage.url})"
        for damage in found
    ]
    rows = [{**asdict(damage), "pack": str(damage.pack)} for damage in found]
    show(rows, as_json=as_json, text="\n".join(lines) or f"{folder}: every piece is as it was written")
    if found:
        raise typer.Exit(PARTIAL_EXIT)
