"""How the commands that make libraries say what came of it: findings, a line or JSON, a file, the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msl_store.cache.sizes import size_text
from msl_store.console import PARTIAL_EXIT, say, show

if TYPE_CHECKING:
    from ingest.repack import Report

ReportOption = Annotated[Path | None, typer.Option(help="Write the report, with all findings, to this JSON file.")]


def tell_outcome(found: Report, library: str, *, licence: str, report: Path | None, as_json: bool) -> None:
    """Say what an ingest did.

    Parameters
    ----------
    found : Report
        What it did.
    library : str
        Where the library is.
    licence : str
        Of the data.
    report : Path, optional
        Where the whole report goes, as JSON.
    as_json : bool
        Print the report on stdout, not a line.

    Raises
    ------
    typer.Exit
        With the code for work that is done, where there are findings.
    """
    if report is not None:
        report.write_text(json.dumps(found.to_dict(), indent=1))
    for finding in found.findings:
        say(f"finding: {finding}")
    if found.state == "published":
        text = f"{library}: nothing to do, this library is complete ({found.instances} instances)"
    else:
        text = (
            f"{library}: {found.instances} instances ({found.complete} complete, {found.partial} partial, "
            f"{found.set_aside} set aside), {size_text(found.stored_bytes)} written in {found.seconds:.1f} s, "
            f"{found.instances / found.seconds:.1f} instances/s; data licence {licence}"
        )
    show(found.to_dict(), as_json=as_json, text=text)
    if found.findings:
        raise typer.Exit(PARTIAL_EXIT)
