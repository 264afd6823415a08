"""The library on a disk, in a bucket or on a web server: the only package that knows zarr and object stores."""

from msl_store.store.caching import Cache
from msl_store.store.claims import held
from msl_store.store.copying import BlockCopy, Taken
from msl_store.store.objects import Objects, RangeFile, locate, locate_file
from msl_store.store.packing import pack, unpack
from msl_store.store.pieces import Cut, Piece, StoredArray, StoredShard, Want
from msl_store.store.publication import Publication, commit_block, joined, make_way, put_shards
from msl_store.store.reading import ROOT, Store, open_store
from msl_store.store.sharding import MISSING
from msl_store.store.volumes import BlockArray, ZarrArray, zarr_node
from msl_store.store.writing import BlockWriter

__all__ = [
    "MISSING",
    "ROOT",
    "BlockArray",
    "BlockCopy",
    "BlockWriter",
    "Cache",
    "Cut",
    "Objects",
    "Piece",
    "Publication",
    "RangeFile",
    "Store",
    "StoredArray",
    "StoredShard",
    "Taken",
    "Want",
    "ZarrArray",
    "commit_block",
    "held",
    "joined",
    "locate",
    "locate_file",
    "make_way",
    "open_store",
    "pack",
    "put_shards",
    "unpack",
    "zarr_node",
]
