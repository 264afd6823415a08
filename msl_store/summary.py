"""What a library says of itself: a summary from the metadata alone, or with the sizes of what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.extract import extract, stored_size
from msl_store.schema import counts
from msl_store.splits import SPLITS
from msl_store.table import split_numbers

if TYPE_CHECKING:
    from msl_store.library import Library

PROVENANCE = ("edition", "source", "source_digest", "provenance", "derived_from", "software", "digest")
"""Attributes of the root that say where a library comes from."""


def summary(library: Library, *, sizes: bool = False) -> dict[str, Any]:
    """Return what is in a library and where it comes from, as JSON types.

    It takes no request but that which opened the library, and one more where it stores its splits; a library that was
    written before libraries counted their parts takes one round trip for its columns.

    Parameters
    ----------
    library : Library
        A whole library.
    sizes : bool
        Also find out the bytes that every array takes: from the server's listing, or, where it does not list, from
        the shards' indexes.

    Returns
    -------
    dict
        ``url``, ``title``, ``license``, ``citation``, ``instances`` (those shown), ``counts`` (by status and part),
        ``splits`` (instances by split), ``microscopes``, ``views``, ``frames``, ``z_um``, ``arrays`` (shapes by path),
        ``uncompressed_bytes``, ``provenance``, and with `sizes` ``stored``.
    """
    attributes, store = library.attributes, library.store
    images = store.groups.get("images", {})
    found = {
        "url": library.url,
        **{name: attributes.get(name, "") for name in ("title", "license", "citation", "doi", "msl_schema_version")},
        "instances": len(library),
        "counts": attributes.get("counts") or _counted(library),
        "splits": _splits(library),
        "microscopes": [microscope["name"] for microscope in library.microscopes],
        "views": library.views,
        "frames": images.get("frames", []),
        "z_um": images.get("z_um", []),
        "arrays": {path: list(array.shape) for path, array in sorted(store.arrays.items())},
        "uncompressed_bytes": store.uncompressed_bytes,
        "provenance": {name: attributes[name] for name in PROVENANCE if name in attributes},
    }
    return {**found, "stored": _stored(library)} if sizes else found


def _counted(library: Library) -> dict[str, int]:
    """Count from the columns, for a library whose root has no counts."""
    paths = [path for path in library.store.column_paths if path.startswith("instances/") and "digest" not in path]
    return counts(library.store.columns(paths))


def _splits(library: Library) -> dict[str, int]:
    """Return how many of the instances shown are in each frozen split, by the rule where the library has no column."""
    names = library.store.groups["instances"].get("splits", SPLITS)
    numbers, found = np.unique(split_numbers(library.store, library.rows_of(library.ids)), return_counts=True)
    called = [str(names[number]) if number < len(names) else str(number) for number in numbers.tolist()]
    return dict(zip(called, found.tolist(), strict=True))


def _stored(library: Library) -> dict[str, Any]:
    """Return the bytes that are stored, by array, and how they were found out."""
    listing, _ = library.store.objects.listing()
    if listing is None:
        size = stored_size(extract(library.with_set_aside()))
        how = "from the shards' indexes" if size.exact else "estimated from some shards' indexes"
        return {"bytes": size.stored_bytes, "by_array": dict(size.by_array), "how": f"{how}; columns apart"}
    by_array = {
        path: sum(size for name, size in listing.items() if name.startswith(f"{path}/"))
        for path in sorted(library.store.arrays)
    }
    return {"bytes": sum(listing.values()), "by_array": by_array, "how": "listed"}
