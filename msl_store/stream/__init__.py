"""Batches for training from a library that is never downloaded: what is asked for is read, and nothing else."""

from msl_store.stream.batches import Batches, Position
from msl_store.stream.images import Images
from msl_store.stream.instances import Instances
from msl_store.stream.meshes import Meshes
from msl_store.stream.order import Mixing, Shuffle, epoch_order, mixing
from msl_store.stream.points import Cloud, Queries
from msl_store.stream.ranks import Rank
from msl_store.stream.throughput import Throughput

__all__ = [
    "Batches",
    "Cloud",
    "Images",
    "Instances",
    "Meshes",
    "Mixing",
    "Position",
    "Queries",
    "Rank",
    "Shuffle",
    "Throughput",
    "epoch_order",
    "mixing",
]
