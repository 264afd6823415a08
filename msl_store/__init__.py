"""Open, narrow, stream and simulate the 3D Mitochondria Shape Library.

The names below load what they need at first use, so importing this package imports neither dask nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msl_store.errors import (
    BusyError,
    FormatError,
    IntegrityError,
    MissingError,
    MSLError,
    NetworkError,
    UsageError,
)
from msl_store.version import __version__

if TYPE_CHECKING:
    from msl_store import scenes, stream
    from msl_store.contents import Instance
    from msl_store.edition import write_edition as write
    from msl_store.library import Library
    from msl_store.library import open_library as open  # noqa: A004 - the public name is msl_store.open
    from msl_store.optics.labelling import Labelling
    from msl_store.optics.microscope import Microscope
    from msl_store.shapes import Mesh, Occupancy, PointCloud
    from msl_store.simulation import simulate
    from msl_store.store import Cache
    from msl_store.subsetting import subset
    from msl_store.verification import verify

_HOMES = {
    "Cache": "store:Cache",
    "Instance": "contents:Instance",
    "Labelling": "optics.labelling:Labelling",
    "Library": "library:Library",
    "Mesh": "shapes:Mesh",
    "Microscope": "optics.microscope:Microscope",
    "Occupancy": "shapes:Occupancy",
    "PointCloud": "shapes:PointCloud",
    "open": "library:open_library",
    "scenes": "scenes",
    "simulate": "simulation:simulate",
    "stream": "stream",
    "subset": "subsetting:subset",
    "verify": "verification:verify",
    "write": "edition:write_edition",
}

__all__ = [
    "BusyError",
    "Cache",
    "FormatError",
    "Instance",
    "IntegrityError",
    "Labelling",
    "Library",
    "MSLError",
    "Mesh",
    "Microscope",
    "MissingError",
    "NetworkError",
    "Occupancy",
    "PointCloud",
    "UsageError",
    "__version__",
    "open",
    "scenes",
    "simulate",
    "stream",
    "subset",
    "verify",
    "write",
]


def __getattr__(name: str) -> Any:
    """Load a public name at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'msl_store' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOMES[name].partition(":")
    found = import_module(f"msl_store.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return __all__
