"""The program's version, for provenance."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("msl-store")


def software() -> str:
    """Return the name and version that libraries record, as in ``msl-store 0.1.0``."""
    return f"msl-store {__version__}"
