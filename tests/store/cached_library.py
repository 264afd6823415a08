"""What the tests of caches read, and what they do to caches."""

from __future__ import annotations

import small_library
from small_library import WHOLE, record_of

import msl_store as msl

IDS = [WHOLE, small_library.instance_of(0), small_library.instance_of(65)]


def offline(cache):
    return msl.Cache(cache.folder, offline=True)


def everything(library, ids=None):
    return {found.id: record_of(found) for found in library.instances(ids)}


def paths(proxy):
    return [request.path.rpartition("small.zarr/")[2] for request in proxy.requests()]


def flip_in_packs(cache, numbers=(700,)):
    packs = [pack for pack in cache.folder.rglob("*.pack") if pack.stat().st_size > max(numbers)]
    for pack in packs:
        data = bytearray(pack.read_bytes())
        for number in numbers:
            data[number] ^= 1
        pack.write_bytes(data)
    return len(packs)
