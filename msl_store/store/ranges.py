"""Byte ranges: which to fetch for those that are wanted, and fetched again where the network failed."""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from msl_store.store.faults import is_passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msl_store.store.objects import Parts, Range

NEAR_BYTES = 16 * 1024
"""Ranges of one object that lie nearer than this are fetched in one request: about what a request costs of 1 Gbit/s."""

COALESCE_BYTES = 128 * 1024
"""The same for ranges that lie no farther apart than they are long; so no request carries mostly what nobody wants."""

PAUSES_S = (0.1, 0.3, 1.0, 3.0)
"""How long to wait before a request is made again, where the storage library does not repeat it by itself."""


def coalesced(ranges: Sequence[Range]) -> list[Range]:
    """Return the ranges to fetch for some ranges of one object, in order: those that lie near each other as one.

    Two neighbours make one range where the gap between them is at most `NEAR_BYTES`, or at most `COALESCE_BYTES` and
    the length of both.

    >>> coalesced([(500_000, 500_010), (0, 10), (20, 30), (470_000, 470_010)])
    [(0, 30), (470000, 470010), (500000, 500010)]
    >>> coalesced([(0, 90_000), (120_000, 130_000)])
    [(0, 130000)]
    """
    runs: list[Range] = []
    before = 0
    for start, stop in sorted(ranges):
        length = stop - start
        if runs and start - runs[-1][1] <= max(NEAR_BYTES, min(COALESCE_BYTES, before + length)):
            runs[-1] = runs[-1][0], max(stop, runs[-1][1])
        else:
            runs.append((start, stop))
        before = length
    return runs


def parts_of(ranges: Sequence[Range], runs: Sequence[tuple[int, int | None]], bodies: Parts) -> Parts:
    """Cut some ranges out of the runs that `coalesced` made of them."""
    firsts = [first for first, _ in runs]
    places = [(bisect_right(firsts, start) - 1, start, stop) for start, stop in ranges]
    return [bodies[run][start - firsts[run] : stop - firsts[run]] for run, start, stop in places]


def cat_ranges(fs: Any, asked: Sequence[tuple[str, int, int | None]]) -> list[Any]:
    """Return (path, start, stop) of an fsspec file system: bytes, or the exception where there are none.

    What failed for a reason that may pass is asked for again, after the waits of `PAUSES_S`; fsspec's S3 does so
    itself.
    """
    found: list[Any] = [None] * len(asked)
    todo = list(range(len(asked)))
    for pause in (*PAUSES_S, None):
        if not todo:
            break
        paths, starts, stops = zip(*(asked[place] for place in todo), strict=True)
        answers = fs.cat_ranges(list(paths), list(starts), list(stops), on_error="return")
        for place, answer in zip(todo, answers, strict=True):
            found[place] = answer
        todo = [place for place in todo if is_passing(found[place])]
        if todo and pause is not None:
            time.sleep(pause)
    return found
