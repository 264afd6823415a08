"""What the benchmarks share: fresh processes, repetitions side by side, and a table with the goals under it."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Goal:
    """A claim, and what was found: reached where ``found <= limit``, or ``>=`` with `at_least`."""

    claim: str
    found: float
    limit: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the claim holds."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def __str__(self) -> str:
        """Return one line for people."""
        sign = ">=" if self.at_least else "<="
        verdict = "reached" if self.reached else "NOT REACHED"
        return f"{verdict:>11}: {self.claim}: {self.found:.4g} ({sign} {self.limit:.4g})"


def fresh(work: Callable[..., T], *arguments: Any) -> T:
    """Run a module's function in a new interpreter, so that nothing is cached, and return what it returns."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def side_by_side(
    actions: Mapping[str, Callable[[], Callable[[], object]]],
    repeat: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time some actions in turn, `repeat` rounds of all of them, every round in another order.

    Whatever slows the machine for a while so slows all of them. An action is a function that prepares, untimed, and
    returns the function to time. `clock` may be `time.process_time` to count what processors did.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    names = list(actions)
    for turn in range(repeat):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            action = actions[name]()
            began = clock()
            action()
            seconds[name].append(clock() - began)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    """Return how many times as long one action took as another: the median over the rounds of their quotients."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def show(title: str, rows: Sequence[Mapping[str, Any]], goals: Sequence[Goal], *, as_json: bool) -> None:
    """Print rows as a table, or everything as JSON; then end the process with 1 where a goal was not reached."""
    if as_json:
        verdicts = [{**asdict(goal), "reached": goal.reached} for goal in goals]
        json.dump({"title": title, "rows": list(rows), "goals": verdicts}, sys.stdout, indent=1)
        print()
    else:
        print(title)
        for line in table(rows):
            print(line)
        for goal in goals:
            print(goal)
    if not all(goal.reached for goal in goals):
        sys.exit(1)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows as lines of text, numbers to the right.

    >>> table([{"name": "a", "s": 0.25}, {"name": "long", "s": 12}])
    ['name     s', 'a     0.25', 'long    12']
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(names)]
    texts = [all(isinstance(row.get(name, ""), str) for row in rows) for name in names]

    def line(words: Sequence[str]) -> str:
        aligned = (
            word.ljust(width) if text else word.rjust(width)
            for word, width, text in zip(words, widths, texts, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return [line(names), *map(line, cells)]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
