"""A cache on the disk: pieces of remote objects, under one limit for all processes that use the folder.

A cache is a folder::

    msl-cache.json                      what this folder is, the layout's version, the limit
    lock                                flock: whoever changes anything holds it; it dies with its process
    ledger                              bytes in use (never less than there are), hits, misses, damaged pieces
    urls/<hash of a URL>.json           which root document the URL's server showed last
    libraries/<hash>/library.json       one folder a library: a URL and the SHA-256 of its root document
    libraries/<hash>/*.pack             pieces, each with a header that names and proves it
    libraries/<hash>/pins/<pin>/*.pack  pieces that are pinned, and pin.json

Pieces are appended to packs, some hundred to a file, so that those of 13 kB waste neither disk blocks nor inodes.
Measured on 12,000 pieces of a chunk each (ext4, 2 cores): packs take 1.006 of the pieces' bytes, a file a piece 1.18
and 50 times the inodes, sparse copies of the objects 1.26, SQLite 1.26 to 1.37; reading one takes 9 to 12 us, where a
file a piece takes 33, SQLite 6 and a sparse copy 5. Decoding it takes more than any of them.

Readers take no lock: they find a piece by its key and believe it by its digest. Writers hold the lock, so nothing is
ever half reserved or half evicted by somebody else.
"""

from msl_store.cache.folder import CacheFolder
from msl_store.cache.inventory import Holding, PinReport
from msl_store.cache.place import LibraryKey, shown_root, source_of
from msl_store.cache.shelf import Fetched, Shelf, portions
from msl_store.cache.upkeep import Damage, begin_pin, complete_pin, find_damage, remove_pin

__all__ = [
    "CacheFolder",
    "Damage",
    "Fetched",
    "Holding",
    "LibraryKey",
    "PinReport",
    "Shelf",
    "begin_pin",
    "complete_pin",
    "find_damage",
    "portions",
    "remove_pin",
    "shown_root",
    "source_of",
]
