"""Lengths as files state them, in nm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.em.volume import Edges

NM = {
    "angstrom": 0.1,
    "å": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometers": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,  # the micro sign
    "μm": 1e3,  # the Greek letter
    "\\u00b5m": 1e3,  # as ImageJ escapes it
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "inch": 2.54e7,
}
"""Nanometres in a unit, by the names that OME-Zarr (UDUNITS-2), OME-TIFF and ImageJ use, in lower case."""


def in_nm(lengths: Sequence[Any], units: Sequence[Any]) -> Edges | None:
    """Return three lengths in nm, or None where one is missing, not positive, or of an unknown unit (a pixel)."""
    found = []
    for length, unit in zip(lengths, units, strict=True):
        factor = NM.get(str(unit).strip().lower())
        try:
            value = float(length)
        except (TypeError, ValueError):
            return None
        if factor is None or not (math.isfinite(value) and value > 0):
            return None
        found.append(value * factor)
    return (found[0], found[1], found[2]) if len(found) == 3 else None
