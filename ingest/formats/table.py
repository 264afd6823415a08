"""Lines of numbers, as OFF and ASCII PLY hold them: finding the lines, and reading them into an array."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ingest.formats.decimals import read_decimals
from msl_store.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_MOST_COLUMNS = 32
"""A table whose first line has more numbers is read line by line, so that its width cannot cost memory."""

_FIRST_LINE = 1024
"""Bytes within which the first line is expected to end."""

_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
# Since 3.1 pandas reads every float64 exactly and warns about the option that asked for it before.
_EXACT: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}


def split_lines(body: bytes, counts: Sequence[int], *, whole: bool) -> list[bytes] | None:
    """Cut text into runs of so many lines each.

    Parameters
    ----------
    body : bytes
        Text whose every line counts, blank ones too.
    counts : sequence of int
        How many lines each run has.
    whole : bool
        Whether the runs must use up all lines.

    Returns
    -------
    list of bytes or None
        None where there are too few lines or, with `whole`, too many.
    """
    ends = np.flatnonzero(np.frombuffer(body, np.uint8) == ord("\n")) + 1
    if len(body) and (not len(ends) or ends[-1] != len(body)):
        ends = np.append(ends, len(body))
    if sum(counts) > len(ends) or (whole and sum(counts) != len(ends)):
        return None
    runs, line, start = [], 0, 0
    for count in counts:
        line += count
        stop = int(ends[line - 1]) if line else 0
        runs.append(body[start:stop])
        start = stop
    return runs


def without_comments(body: bytes) -> bytes:
    r"""Return text without comments (from ``#`` to the line's end) and blank lines, its line ends LF.

    >>> without_comments(b"1 2 # first\r\n\r\n  3 4")
    b'1 2 \n3 4'
    """
    text = re.sub(rb"#[^\n]*", b"", body.replace(b"\r", b"\n"))
    return re.sub(rb"\n\s+", b"\n", text).lstrip()


def read_table(text: bytes, columns: int, dtype: type[np.float64 | np.int64], *, what: str) -> NDArray[Any]:
    """Read the first numbers of every line.

    Parameters
    ----------
    text : bytes
        One row a line, numbers apart by blanks; what follows the wanted ones is ignored.
    columns : int
        How many numbers are wanted.
    dtype : float64 or int64
        Their type.
    what : str
        What a row is, for messages: ``vertex``, ``face``.

    Returns
    -------
    ndarray of `dtype`, shape (row, columns)

    Raises
    ------
    FormatError
        If a line has fewer numbers, or something that is no number.
    """
    plain = read_decimals(text, columns, dtype)
    if plain is not None:
        return plain
    width = len(text[:_FIRST_LINE].partition(b"\n")[0].split())
    if columns <= width <= _MOST_COLUMNS:
        try:
            table: NDArray[Any] = pd.read_csv(
                io.BytesIO(text),
                sep=r"\s+",
                header=None,
                names=range(width),
                usecols=range(columns),
                index_col=False,
                dtype=dtype,
                engine="c",
                na_filter=False,
                quoting=3,
                low_memory=False,
                **_EXACT,
            ).to_numpy()
        except (ValueError, OverflowError):
            pass  # uneven rows are allowed, and damaged ones deserve their own message: both need a closer look
        else:
            if len(table) == text.count(b"\n") + (not text.endswith(b"\n")):
                return np.ascontiguousarray(table)
    numbers = np.fromiter(_numbers(text, columns, dtype, what), dtype)
    return numbers.reshape(-1, columns)


def _numbers(text: bytes, columns: int, dtype: type[np.float64 | np.int64], what: str) -> Iterator[float]:
    """Yield the wanted numbers of every line, one line at a time."""
    kind = float if dtype is np.float64 else int
    largest = np.inf if kind is float else np.iinfo(np.int64).max
    for row, line in enumerate(io.BytesIO(text)):
        try:
            numbers = [kind(word) for word in line.split(None, columns)[:columns]]
        except ValueError:
            numbers = []
        if len(numbers) < columns or any(abs(number) > largest for number in numbers):
            seen = line[:60].decode("ascii", "replace").strip()
            noun = "numbers" if kind is float else "whole numbers"
            raise FormatError(f"{what} {row} reads {seen!r}; a line of {columns} {noun} was expected")
        yield from numbers
