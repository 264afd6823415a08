"""Digests of content: what a library's `instances/digest` and its root attribute ``digest`` are made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from msl_store.shapes import Mesh, Occupancy, PointCloud


def instance_digest(
    *,
    mesh: Mesh | None = None,
    point_cloud: PointCloud | None = None,
    occupancy: Occupancy | None = None,
    images: NDArray[Any] | None = None,
    present: NDArray[np.bool_] | None = None,
) -> bytes:
    """Return the SHA-256 of an instance's arrays as a library holds them, 32 bytes.

    Every array counts with its dtype and shape; a part that is missing counts as such.
    """
    state = RunningDigest()
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
    ):
        state.add(array)
    return state.digest()


class RunningDigest:
    """The digest of an instance whose arrays come one after the other, in the order of `instance_digest`."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, array: NDArray[Any] | None) -> None:
        """Count the next array, or that there is none."""
        if array is None:
            self._state.update(b"-")
            return
        self._state.update(f"{array.dtype.str}{array.shape}".encode())
        self._state.update(np.ascontiguousarray(array).data)

    def digest(self) -> bytes:
        """Return the digest of what has come, 32 bytes."""
        return self._state.digest()


def column_digest(values: NDArray[Any]) -> str:
    """Return the SHA-256 of a column with its dtype and shape, in hexadecimal digits."""
    state = RunningDigest()
    state.add(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return state.digest().hex()


def joint_digest(ids: Iterable[int], digests: Iterable[bytes]) -> str:
    """Return the digest of a whole library: SHA-256 over every id and instance digest, in the library's order."""
    state = hashlib.sha256()
    for instance, digest in zip(ids, digests, strict=True):
        state.update(f"{instance}:".encode())
        state.update(digest)
    return state.hexdigest()
