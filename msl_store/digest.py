"""Digests of content: what a library's `instances/digest` and its root attribute ``digest`` are made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from msl_store.shapes import Mesh, Occupancy, PointCloud


def instance_digest(
    *,
    mesh: Mesh | None = None,
    point_cloud: PointCloud | None = None,
    occupancy: Occupancy | None = None,
    images: NDArray[Any] | None = None,
    present: NDArray[np.bool_] | None = None,
    sdf: NDArray[np.float16] | None = None,
    voxel_grid: Mapping[int, NDArray[np.bool_]] | None = None,
) -> bytes:
    """Return the SHA-256 of an instance's arrays as a library holds them, 32 bytes.

    Every array counts with its dtype and shape; a part that is missing counts as such. The signed distances and voxel
    grids, which most libraries do not have, count where they are there.
    """
    grids = sorted((voxel_grid or {}).items())
    state = hashlib.sha256()
    for array in (
        None if mesh is None else np.asarray(mesh.vertices, "<f4"),
        None if mesh is None else np.asarray(mesh.faces, "<u4"),
        None if point_cloud is None else point_cloud.points,
        None if point_cloud is None else point_cloud.normals,
        None if occupancy is None else occupancy.points,
        None if occupancy is None else occupancy.inside_bits,
        None if occupancy is None else np.append(occupancy.loc, occupancy.scale),
        images,
        present,
        *(() if sdf is None else (sdf,)),
        *(grid for _, grid in grids),
    ):
        _count(state, array)
    return state.digest()


def column_digest(values: NDArray[Any]) -> str:
    """Return the SHA-256 of a column with its dtype and shape, in hexadecimal digits."""
    state = hashlib.sha256()
    _count(state, values.astype(values.dtype.newbyteorder("<"), copy=False))
    return state.hexdigest()


def _count(state: hashlib._Hash, array: NDArray[Any] | None) -> None:
    """Count an array with its dtype and shape, or that there is none."""
    if array is None:
        state.update(b"-")
        return
    state.update(f"{array.dtype.str}{array.shape}".encode())
    state.update(np.ascontiguousarray(array).data)


def joint_digest(ids: Iterable[int], digests: Iterable[bytes]) -> str:
    """Return the digest of a whole library: SHA-256 over every id and instance digest, in the library's order."""
    state = hashlib.sha256()
    for instance, digest in zip(ids, digests, strict=True):
        state.update(f"{instance}:".encode())
        state.update(digest)
    return state.hexdigest()
