"""Tables of plain decimal numbers, as in the published OFF files: compiled, a third of pandas' time, as exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POWERS = 10 ** np.arange(18, dtype=np.int64)
_SPACE, _TAB, _LINE_FEED, _RETURN, _MINUS, _POINT, _ZERO, _NINE = (ord(c) for c in " \t\n\r-.09")


def read_decimals(text: bytes, columns: int, dtype: type[np.float64 | np.int64]) -> NDArray[Any] | None:
    """Read lines of plain decimals (no exponents, at most 18 digits), exactly as Python's ``float`` and ``int`` do.

    Parameters
    ----------
    text : bytes
        One row a line, numbers apart by blanks.
    columns : int
        Numbers in a line.
    dtype : float64 or int64
        Their type.

    Returns
    -------
    ndarray of `dtype`, shape (row, columns), or None
        None where the text is anything else: read it another way.
    """
    rows = text.count(b"\n") + (not text.endswith(b"\n"))
    if len(text) < 2 * columns * rows - 1:
        return None
    out = np.empty((rows, columns), dtype)
    plain = _parse(np.frombuffer(text, np.uint8), dtype is np.int64, out)
    return out if plain else None


@numba.njit(cache=True, nogil=True)
def _parse(text: Any, whole: Any, out: Any) -> Any:  # noqa: C901 - a scanner reads best in one piece
    at, size = 0, len(text)
    rows, columns = out.shape
    for row in range(rows):
        for column in range(columns):
            while at < size and (text[at] == _SPACE or text[at] == _TAB):
                at += 1
            negative = at < size and text[at] == _MINUS
            at += negative
            mantissa, digits, fraction, dotted = 0, 0, 0, False
            while at < size:
                if _ZERO <= text[at] <= _NINE:
                    mantissa = mantissa * 10 + (text[at] - _ZERO)
                    digits += 1
                    fraction += dotted
                elif text[at] == _POINT and not dotted and not whole:
                    dotted = True
                else:
                    break
                if digits > 18:  # what 63 bits hold
                    return False
                at += 1
            if digits == 0 or fraction >= len(_POWERS):
                return False
            if whole or fraction == 0 or mantissa == 0:
                value = float(mantissa)
            elif mantissa <= 1 << 53:
                value = mantissa / _POWERS[fraction]
            else:
                value = _quotient(mantissa, _POWERS[fraction])
            if whole:
                out[row, column] = -mantissa if negative else mantissa
            else:
                out[row, column] = -value if negative else value
            if at < size and text[at] != _SPACE and text[at] != _TAB and text[at] != _LINE_FEED and text[at] != _RETURN:
                return False
        while at < size and (text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN):
            at += 1
        if at < size:
            if text[at] != _LINE_FEED:
                return False
            at += 1
        elif row + 1 < rows:
            return False
    return at == size


@numba.njit(cache=True, nogil=True)
def _quotient(numerator: Any, power: Any) -> Any:
    # the quotient rounded to the nearest double, ties to even: numerator below 2^63, power below 2^57
    quotient, rest = numerator // power, numerator % power
    shift = 0
    while quotient < 1 << 54:  # 55 bits or more: 53, one to round by, and the rest
        rest <<= 6
        quotient = (quotient << 6) | (rest // power)
        rest %= power
        shift += 6
    extra = 0
    while (quotient >> extra) >= 1 << 53:
        extra += 1
    low = quotient & ((1 << extra) - 1)
    half = 1 << (extra - 1)
    top = quotient >> extra
    if low > half or (low == half and (rest != 0 or top & 1)):
        top += 1
    return float(top) * 2.0 ** (extra - shift)
