"""What a subset carries over besides chunks: its columns, findings, digests and attributes, true to what it holds.

Where nothing is left out, every column is the library's. Where something is, ``has_...`` and ``status`` speak of what
the subset holds, an instance of which it holds nothing is set aside with a finding, and digests count what is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from msl_store import schema
from msl_store.contents import NEEDED, PARTS
from msl_store.digest import joint_digest
from msl_store.version import software

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from msl_store.extract import Extract

OF_THE_SOURCE = ("plan_digest", "column_digests", "counts", "digest", "derived_from", "software")
"""Attributes of a library's root that are not those of its subsets."""


def columns_of(taken: Extract, url: str, digests: NDArray[np.uint8] | None) -> dict[str, NDArray[Any]]:
    """Return every column of a subset by path.

    Parameters
    ----------
    taken : Extract
        What the subset holds.
    url : str
        Of the library, for findings.
    digests : ndarray of uint8, shape (instance, 32), or None
        Of the instances, where something is left out.
    """
    store, layout = taken.store, taken.layout
    columns = {}
    for path, values in store.columns(taken.of_kind("column")).items():
        dims = store.array(path).dims
        columns[path] = taken.narrowed(values[taken.rows] if dims[0] == "instance" else values, dims)
    for path in taken.of_kind("ragged"):
        columns[f"mesh/{store.array(path).dims[0]}_start"] = layout.starts(path)[0]
    chosen = set(columns["instances/id"].tolist())
    found = [f for f in json.loads(columns["instances/findings"].tobytes() or b"[]") if f["instance"] in chosen]
    if digests is not None:
        columns["instances/digest"] = digests
        columns.update(_held(taken, columns))
        found += _nothing_held(taken, columns, url)
    columns["instances/findings"] = np.frombuffer(json.dumps(found).encode(), np.uint8)
    return columns


def _held(taken: Extract, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns that say what each instance has, of what the subset holds."""
    parts = {NEEDED.get(path, path.partition("/")[0]) for path in taken.of_kind("rows", "ragged", "block")}
    held: dict[str, NDArray[Any]] = {}
    for path, values in columns.items():
        part = path.removeprefix("instances/has_")
        if part != path:
            held[path] = values if part in parts else np.zeros_like(values)
    some: NDArray[np.bool_] = np.zeros(len(taken.rows), np.bool_)
    if "images" in parts:
        held["instances/has_images"] = np.asarray(columns["images/present"].all(axis=(1, 2)))
        some = np.asarray(columns["images/present"].any(axis=(1, 2)))
    good = [held[f"instances/has_{part}"] for part in PARTS if part in parts and f"instances/has_{part}" in held]
    every = np.stack(good).all(axis=0) if good else some
    some = np.asarray(np.stack([some, *good]).any(axis=0))
    status = np.where(every, "complete", np.where(some, "partial", "set_aside"))
    held["instances/status"] = np.array([schema.STATUS.index(one) for one in status.tolist()], np.uint8)
    return held


def _nothing_held(taken: Extract, columns: Mapping[str, NDArray[Any]], url: str) -> list[dict[str, Any]]:
    """Return a finding for every instance of which the subset holds nothing, though the library does."""
    groups = sorted({path.partition("/")[0] for path in taken.arrays} - {"instances"})
    aside = schema.STATUS.index("set_aside")
    before = taken.store.columns(["instances/status"])["instances/status"][taken.rows]
    lost = np.flatnonzero((columns["instances/status"] == aside) & (before != aside))
    reason = f"has none of what this subset holds: {', '.join(groups) or 'no shapes and no images'}"
    ids = columns["instances/id"][lost].tolist()
    return [{"instance": instance, "place": f"{public_url(url)}: {instance}", "reason": reason} for instance in ids]


def root_attributes(
    taken: Extract, url: str, columns: Mapping[str, NDArray[Any]], selection: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a subset's root attributes: the library's, the subset's digest, and ``derived_from``.

    ``derived_from`` lists the libraries that the subset was taken from, the nearest first: each with its url, digest,
    number of instances, the selection, and what was left out.
    """
    attributes = taken.store.attributes
    step = {
        "url": public_url(url),
        "digest": taken.store.digest,
        "instances": len(taken.store.ids),
        "selection": dict(selection),
        "left_out": list(taken.left_out),
        "software": software(),
    }
    digests = (digest.tobytes() for digest in columns["instances/digest"])
    return {
        **{name: value for name, value in attributes.items() if name not in OF_THE_SOURCE},
        "digest": joint_digest(columns["instances/id"].tolist(), digests),
        "derived_from": [step, *attributes.get("derived_from", [])],
        "software": software(),
    }


def group_attributes(taken: Extract, columns: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Return the attributes of a subset's groups."""
    groups = {group: dict(found) for group, found in taken.store.groups.items()}
    groups["instances"].update(
        schema.instance_attributes(columns["instances/id"], columns["instances/status"]),
    )
    for dim, positions in taken.positions.items():
        groups["images"][f"{dim}s"] = [groups["images"][f"{dim}s"][place] for place in positions.tolist()]
    return groups


def public_url(url: str) -> str:
    """Return a URL without user, password and query, which provenance must not hold.

    >>> public_url("https://me:secret@host/lib.zarr"), public_url("/data/lib.zarr")
    ('https://host/lib.zarr', '/data/lib.zarr')
    """
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
