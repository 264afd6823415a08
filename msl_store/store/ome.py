"""OME-Zarr 0.5 as objects: the metadata of groups and arrays, and planes as chunks (https://ngff.openmicroscopy.org).

Images have the five axes t, c, z, y, x; a chunk is one plane.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import FormatError, MissingError, UsageError
from msl_store.store.sharding import encode_chunk
from msl_store.store.writing import compressors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.store.objects import Objects

AXES = ("t", "c", "z", "y", "x")

ROOT = "zarr.json"


def put_planes(target: Objects, path: str, first: int, values: NDArray[Any]) -> int:
    """Write frames of a five-axis array as chunks, one a plane; return the bytes written.

    Parameters
    ----------
    target : Objects
        Where the OME-Zarr group goes.
    path : str
        The array's.
    first : int
        Number of the first frame.
    values : ndarray, shape (t, c, z, y, x)
        The frames.
    """
    written = 0
    for t, c, z in np.ndindex(*values.shape[:3]):
        data = encode_chunk(values[t, c, z])
        target.put(f"{path}/c/{first + t}/{c}/{z}/0/0", data)
        written += len(data)
    return written


def clear_target(target: Objects, *, overwrite: bool) -> None:
    """Make sure that a target is free; an OME-Zarr group that is there goes where `overwrite` is set.

    Raises
    ------
    UsageError
        An OME-Zarr group is there and is not to be overwritten, or something else is.
    """
    try:
        held = target.get(ROOT)
    except MissingError:
        return
    try:
        attributes = json.loads(held).get("attributes", {})
    except ValueError as error:
        raise FormatError(f"{target.url}/{ROOT}: {error}; remove it or choose another target") from error
    if "multiscales" not in attributes.get("ome", {}):
        raise UsageError(f"{target.url}: holds another kind of Zarr group; choose another target")
    if not overwrite:
        raise UsageError(f"{target.url}: holds an OME-Zarr image; choose another target or pass overwrite=True")
    arrays = [dataset["path"] for scales in attributes["ome"]["multiscales"] for dataset in scales["datasets"]]
    target.delete(ROOT)
    for folder in (*arrays, "labels"):
        for path, _ in target.list(folder):
            target.delete(path)


def publish(
    target: Objects,
    groups: Mapping[str, Mapping[str, Any]],
    arrays: Mapping[str, tuple[Sequence[int], np.dtype[Any]]],
) -> None:
    """Write the metadata of an OME-Zarr group, the root's last: before, nothing opens.

    Parameters
    ----------
    target : Objects
        Where it goes.
    groups : mapping of str to mapping
        Attributes of every group by path; the root's is ``""``.
    arrays : mapping of str to (shape, dtype)
        Every array's path, shape (t, c, z, y, x) and dtype.
    """
    documents = _documents(groups, arrays)
    root = documents.pop(ROOT)
    for path, document in documents.items():
        target.put(path, document)
    target.put(ROOT, root)


def _documents(
    groups: Mapping[str, Mapping[str, Any]], arrays: Mapping[str, tuple[Sequence[int], np.dtype[Any]]]
) -> dict[str, bytes]:
    import zarr
    from zarr.storage import MemoryStore

    memory: dict[str, Any] = {}
    store = MemoryStore(memory)
    for path in sorted(groups):
        zarr.create_group(store, path=path, zarr_format=3, attributes=dict(groups[path]))
    for path, (shape, dtype) in arrays.items():
        zarr.create_array(
            store,
            name=path,
            shape=tuple(shape),
            dtype=dtype,
            chunks=(1, 1, 1, *(max(1, side) for side in shape[3:])),
            compressors=compressors(dtype),
            fill_value=0,
            dimension_names=AXES,
            zarr_format=3,
        )
    return {path: data.to_bytes() for path, data in memory.items()}
