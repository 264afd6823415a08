"""What the command-line tools share: options, progress on stderr, results on stdout, errors as exit codes."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from msl_store.errors import MSLError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGE_BYTES = 10**9
"""Anything larger says its size first."""

PARTIAL_EXIT = 6
"""Done, but something was set aside."""

StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="Storage option of the library, e.g. anon=true, endpoint_url=http://..., profile=lab. Repeatable.",
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SchedulerOption = Annotated[
    str | None,
    typer.Option(help="threads, processes, synchronous, or the address of a dask cluster (tcp://host:8786)."),
]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite", help="Replace another library at the target.")]
Ids = Annotated[str | None, typer.Option(help="Only these instances, as in 1,5,10-20.")]
First = Annotated[int | None, typer.Option(min=1, help="Only the first instances.")]
Verbosity = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; tracebacks with -vv.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

_state = {"verbose": 0, "quiet": False}


def storage_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return ``key=value`` pairs as a mapping; values are JSON where they parse as such, else text.

    >>> storage_options(["anon=true", "endpoint_url=http://localhost:9000"])
    {'anon': True, 'endpoint_url': 'http://localhost:9000'}
    """
    options: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--option {pair!r}: allowed is KEY=VALUE, as in anon=true")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def ids_of(text: str | None) -> list[int] | None:
    """Return ids given as ``1,5,10-20``; None where nothing is given.

    >>> ids_of("1,5,10-12")
    [1, 5, 10, 11, 12]
    """
    if text is None:
        return None
    ids: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            ids += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise UsageError(f"ids {text!r}: {part!r} is no id; allowed is 1,5,10-20") from None
    return ids


def size_text(size: float) -> str:
    """Return a number of bytes for people, in decimal units.

    >>> size_text(3_310_000)
    '3.3 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def show(result: Any, *, as_json: bool, text: str) -> None:
    """Print a result on stdout."""
    print(json.dumps(result, indent=1) if as_json else text)


def say(text: str) -> None:
    """Print a remark on stderr, unless quiet."""
    if not _state["quiet"]:
        print(text, file=sys.stderr)


def say_size(size: int, what: str) -> None:
    """Say on stderr how large something is, where it is large."""
    if size > LARGE_BYTES:
        say(f"{what}: {size_text(size)} before compression")


class Advance(Protocol):
    """What moves a progress bar."""

    def __call__(self, done: int, everything: int, remark: str = "") -> None:
        """Show how much is done of everything."""


@contextmanager
def progress_bar(label: str, unit: str) -> Iterator[Advance]:
    """Show progress on stderr; give a function to call with (done, all, remark)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TextColumn("{task.fields[remark]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=bool(_state["quiet"])) as bar:
        task = bar.add_task(label, total=1, remark="")

        def update(done: int, everything: int, remark: str = "") -> None:
            bar.update(task, completed=done, total=max(everything, 1), remark=remark)

        yield update


def tool(purpose: str) -> typer.Typer:
    """Return a tool without commands, with the options that say how much it says."""
    app = typer.Typer(help=purpose, no_args_is_help=True, pretty_exceptions_enable=False)

    @app.callback()
    def options(*, verbose: Verbosity = 0, quiet: Quiet = False) -> None:
        """Choose how much is said."""
        _state.update(verbose=verbose, quiet=quiet)
        level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")

    return app


def run(app: typer.Typer) -> None:
    """Run a tool; an error that it raises on purpose is one line on stderr and its kind's exit code."""
    try:
        app()
    except MSLError as error:
        if _state["verbose"] > 1:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
