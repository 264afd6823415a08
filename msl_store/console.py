"""What the command-line tools share: options, progress on stderr, results on stdout, errors as exit codes."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from msl_store.cache.sizes import size_text
from msl_store.errors import MissingError, MSLError, NetworkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGE_BYTES = 10**9
"""Anything larger says its size first."""

PARTIAL_EXIT = 6
"""Done, but something was set aside."""

STOPPED_EXIT = 130
"""Stopped by Ctrl-C, as shells say it."""

MOST_IDS = 10**7
"""Ids that ranges on a command line may name: more is a slip of the finger that would fill the memory."""

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
    typer.Option(
        metavar="WHERE",
        help="Where it runs: threads (where left out), processes, synchronous, or the address of a dask cluster "
        "(tcp://host:8786).",
    ),
]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite", help="Replace another library at the target.")]
Ids = Annotated[str | None, typer.Option(metavar="IDS", help="Only these instances, as in 1,5,10-20.")]
First = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Only the first N of the instances that the others leave.")
]
Split = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only instances of this frozen split: train, val or test.")
]
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


def names_of(text: str | None) -> list[str] | None:
    """Return names given as ``0, x90``; None where nothing is given.

    >>> names_of("0, x90")
    ['0', 'x90']
    """
    return None if text is None else [name.strip() for name in text.split(",")]


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
            named = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise UsageError(f"ids {text!r}: {part!r} is no id; allowed is 1,5,10-20") from None
        if not 0 < named.stop - named.start <= MOST_IDS - len(ids):
            raise UsageError(
                f"ids {text!r}: {part!r} names {max(named.stop - named.start, 0)} ids; "
                f"allowed are ranges with the lower end first, of {MOST_IDS} ids together"
            )
        ids += named
    return ids


def counted(number: int, what: str) -> str:
    """Return a number of things for people.

    >>> counted(1, "instance"), counted(0, "instance"), counted(12, "instance")
    ('1 instance', '0 instances', '12 instances')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    """Show progress on stderr, from the first time that there is some; give what moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TextColumn("{task.fields[remark]}"),
        TimeRemainingColumn(),
    )
    with ExitStack() as shown:
        bar = Progress(*columns, console=Console(stderr=True), disable=bool(_state["quiet"]))
        task = bar.add_task(label, total=1, start=False, remark="")

        def update(done: int, everything: int, remark: str = "") -> None:
            if not bar.tasks[0].started:
                shown.enter_context(bar)
                bar.start_task(task)
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
    """Run a tool; what the user or the disk is the cause of is one line on stderr and its kind's exit code."""
    try:
        app()
    except MSLError as error:
        _fail(str(error), error.exit_code)
    except FileNotFoundError as error:
        _fail(f"{_place(error)}: there is no such file or folder; check the path", MissingError.exit_code)
    except OSError as error:
        _fail(
            f"{_place(error)}: {error.strerror or error}; check the path, who may write there and the room on the disk",
            NetworkError.exit_code,
        )
    except SystemExit as error:
        if error.code == STOPPED_EXIT:
            print("stopped; what was written is kept, and the same command goes on from there", file=sys.stderr)
        raise


def _fail(message: str, code: int) -> NoReturn:
    if _state["verbose"] > 1:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _place(error: OSError) -> str:
    """Return the path that an error of the system is about."""
    return str(error.filename2 or error.filename or "this machine")
