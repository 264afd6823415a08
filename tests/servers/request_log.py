"""What a `DelayProxy` saw, and how many round trips in sequence that was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Request:
    """One request and its answer.

    Attributes
    ----------
    method, path : str
        As the client sent them; the path with its query.
    range : str or None
        The ``Range`` header, as in ``bytes=0-99``.
    status : int
        Of the answer; 0 where none was sent.
    start, end : float
        When the request's head had come in and when the last byte of the answer went out, in seconds of
        ``time.monotonic()`` (one clock for all processes of a machine).
    sent, received : int
        Bytes of the answer's and the request's body, without chunk framing.
    fault : str or None
        The kind of fault that the proxy put in.
    """

    method: str
    path: str
    range: str | None
    status: int
    start: float
    end: float
    sent: int
    received: int
    fault: str | None = None


def round_trips(requests: Iterable[Request]) -> int:
    """Return the sequential depth of a log: the longest chain in which each request began after the one before ended.

    It is what latency multiplies. Taking the earliest end each time gives the largest set of disjoint intervals
    (interval scheduling; Kleinberg and Tardos, *Algorithm Design*, section 4.1).

    >>> a, b, c = (Request("GET", "/", None, 200, s, e, 0, 0) for s, e in [(0, 2), (1, 3), (2, 4)])
    >>> round_trips([a, b]), round_trips([a, b, c])
    (1, 2)
    """
    depth, last_end = 0, float("-inf")
    for request in sorted(requests, key=lambda r: r.end):
        if request.start >= last_end:
            depth, last_end = depth + 1, request.end
    return depth
