"""Groups of options: a command with a group is the command with the group's options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from msl_store.cli_groups import grouped

Where = Annotated[str | None, typer.Option(help="A condition.")]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    first: Annotated[int, typer.Option("--first", "-n", min=1, help="Only the first.")] = 3
    where: Where = None


def together(*, url: str, chosen: Chosen, loud: bool = False) -> None:
    """Say what was given."""
    print(url, chosen.first, chosen.where, loud)


def apart(
    url: str,
    first: Annotated[int, typer.Option("--first", "-n", min=1, help="Only the first.")] = 3,
    where: Where = None,
    loud: bool = False,
) -> None:
    """Say what was given."""
    print(url, first, where, loud)


def said(command: object, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command(name="said")(command)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("arguments", ["--help", "a", "a -n 2 --loud", "--where x>2 a", "a --first 0", "", "a --no"])
def test_a_group_is_its_options(arguments: str) -> None:
    given = arguments.split()
    assert said(grouped(together), *given) == said(apart, *given)


def test_a_command_keeps_its_name_and_its_words() -> None:
    assert (grouped(together).__name__, grouped(together).__doc__) == ("together", "Say what was given.")
