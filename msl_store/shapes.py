"""The shape forms of one instance as frozen values, and the two frames they live in.

The *raw* frame counts EM voxels (24 nm in the published library); its axes (0, 1, 2) are those of the label array.
The *normalized* frame centres the raw mesh's bounding box and divides by its longest side:
``normalized = (raw - loc) / scale``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOXEL_UM = 0.024
"""Edge of one EM voxel of the published library in um (8 nm FIB-SEM voxels binned by three)."""

QUERY_EXTENT = 0.55
"""Half the edge of the cube, in normalized units, that occupancy queries fill uniformly."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh in the raw frame.

    Attributes
    ----------
    vertices : ndarray, shape (n_vertex, 3)
        Positions in EM voxels, axes in the label array's order.
    faces : ndarray of uint32, shape (n_face, 3)
        Vertex indices, counter-clockwise seen from outside.
    """

    vertices: NDArray[Any]
    faces: NDArray[np.uint32]

    def box(self) -> tuple[NDArray[np.float64], float]:
        """Return the bounding box's centre ``loc`` (3,) and longest side ``scale``, in voxels."""
        low = self.vertices.min(axis=0).astype(np.float64)
        high = self.vertices.max(axis=0).astype(np.float64)
        return (low + high) / 2, float((high - low).max())

    def vertices_um(self, voxel_um: float = VOXEL_UM) -> NDArray[np.float64]:
        """Return vertex positions in um, shape (n_vertex, 3)."""
        return self.vertices.astype(np.float64) * voxel_um

    def to_trimesh(self) -> Any:
        """Return a ``trimesh.Trimesh`` of the same vertices and faces, unprocessed (needs the extra ``mesh``)."""
        import trimesh

        return trimesh.Trimesh(self.vertices, self.faces.astype(np.int64), process=False)

    def to_pyvista(self) -> Any:
        """Return a ``pyvista.PolyData`` (pyvista must be installed)."""
        import pyvista

        return pyvista.PolyData.from_regular_faces(self.vertices, self.faces.astype(np.int64))


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points on the surface, in the normalized frame.

    Attributes
    ----------
    points : ndarray of float32, shape (n_sample, 3)
        Positions, dimensionless.
    normals : ndarray of float32, shape (n_sample, 3), or None
        Outward unit normals, where the source had any.
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Random query points with the answer to "inside?", in the normalized frame.

    Attributes
    ----------
    points : ndarray of float16, shape (n_query, 3)
        Positions, independent and uniform in [-0.55, 0.55]^3.
    inside_bits : ndarray of uint8, shape (ceil(n_query / 8),)
        The answers packed as by ``numpy.packbits`` (big bit order).
    loc : ndarray of float64, shape (3,)
        Centre of the raw mesh's bounding box, in voxels.
    scale : float
        Longest side of that box, in voxels.
    """

    points: NDArray[np.float16]
    inside_bits: NDArray[np.uint8]
    loc: NDArray[np.float64]
    scale: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The answers unpacked, shape (n_query,)."""
        return np.unpackbits(self.inside_bits, count=len(self.points)).astype(np.bool_)


def normalize(raw: NDArray[Any], loc: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Take positions (n, 3) in voxels to the normalized frame.

    >>> normalize(np.array([[2.0, 4.0, 6.0]]), np.array([2.0, 2.0, 2.0]), 8.0)
    array([[0.  , 0.25, 0.5 ]])
    """
    return (np.asarray(raw, np.float64) - loc) / scale


def denormalize(normalized: NDArray[Any], loc: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Take positions (n, 3) in the normalized frame to voxels; the inverse of `normalize`."""
    return np.asarray(normalized, np.float64) * scale + loc
