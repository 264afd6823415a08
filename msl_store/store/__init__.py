"""The library on a disk, in a bucket or on a web server: the only package that knows zarr and object stores."""

from msl_store.store.objects import Objects, RangeFile, locate, locate_file
from msl_store.store.plain import read_array
from msl_store.store.publication import Publication, commit_block, joined, put_shards
from msl_store.store.reading import Cut, Store, StoredArray, Want, open_store
from msl_store.store.writing import BlockWriter

__all__ = [
    "BlockWriter",
    "Cut",
    "Objects",
    "Publication",
    "RangeFile",
    "Store",
    "StoredArray",
    "Want",
    "commit_block",
    "joined",
    "locate",
    "locate_file",
    "open_store",
    "put_shards",
    "read_array",
]
