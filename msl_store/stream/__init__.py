"""Batches for training from a library that is never downloaded: what is asked for is read, and nothing else.

`Loader` imports torch, and `Simulated`, `Voxels` and `Distances` import numba, at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msl_store.stream.batches import Batches, Position
from msl_store.stream.images import Images
from msl_store.stream.instances import Instances
from msl_store.stream.meshes import Meshes
from msl_store.stream.order import Mixing, Shuffle, epoch_order, mixing
from msl_store.stream.points import Cloud, Queries
from msl_store.stream.ranks import Rank
from msl_store.stream.throughput import Throughput

if TYPE_CHECKING:
    from msl_store.stream.pytorch import Loader
    from msl_store.stream.simulated import Simulated
    from msl_store.stream.solids import Distances, Voxels

_AT_FIRST_USE = {"Distances": "solids", "Loader": "pytorch", "Simulated": "simulated", "Voxels": "solids"}

__all__ = [
    "Batches",
    "Cloud",
    "Distances",
    "Images",
    "Instances",
    "Loader",
    "Meshes",
    "Mixing",
    "Position",
    "Queries",
    "Rank",
    "Shuffle",
    "Simulated",
    "Throughput",
    "Voxels",
    "epoch_order",
    "mixing",
]


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Any:
    """Load what needs a heavy library."""
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'msl_store.stream' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"msl_store.stream.{_AT_FIRST_USE[name]}"), name)
