"""The truth about a library's layout: groups, arrays, dims, dtypes, units, chunks, shards and the schema's version.

Four kinds of array make up a library:

- *columns* hold one value (or a few) an instance and are one stored object each;
- *block* arrays hold a few values an instance too, one stored object a block, for what is read with an instance only;
- *rows* arrays have the dimension ``instance`` first; one shard covers one block of instances (a half, a quarter, ...
  of it where that is large), a chunk one instance (or part of one);
- *ragged* arrays are CF contiguous ragged arrays: an instance's rows are ``start`` to ``start + count`` of the long
  dimension. Every instance starts on a chunk boundary and every block on a shard boundary, so reading an instance
  decodes nobody else's data and no two writers share an object. The gaps are never written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SCHEMA_VERSION = 1

BLOCK = 64
"""Instances in a block: the unit of writing, of retrying and of a dask task."""

SAMPLES = 100_000
"""Points of a point cloud, and query points of an occupancy, in the published library."""

MICROSCOPES = ("conf1", "conf2", "epi1")
VIEWS = ("0", "x90", "x180", "y90", "y180", "z90")
IMAGE_SHAPE = (128, 128)

Kind = Literal["column", "block", "rows", "ragged"]

Packing = Literal["zstd bits", "zstd bytes", "lz4 bits"]
"""How blosc packs a chunk: with zstd or LZ4, and whether it shuffles bits or bytes first.

Measured on the published instance 1: zstd with shuffled bits packs most arrays best. Images have counts below 256, so
that every second byte is 0: with shuffled bytes they take 0.33 of their size, with bits 0.40, in the same time. Random
points hardly pack at all (0.89): LZ4 is within 1 % of zstd's size, in a fifth of its time to pack and half to unpack.
"""

STATUS = ("complete", "partial", "set_aside")
"""What `instances/status` says by number: all parts good; some good; none, so that it is not shown as an instance."""

RAGGED_SHARD_CHUNKS = 64
"""Chunks in a shard of a ragged array."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of the schema.

    Attributes
    ----------
    path : str
        Group and name, as in ``images/counts``.
    kind : {"column", "block", "rows", "ragged"}
        How it is laid out.
    dims : tuple of str
        Its dimensions' names.
    dtype : str
        numpy's name of its type.
    chunk : tuple of int
        Extent of a chunk; 0 means all of that dimension.
    units : str
        Physical units, ``1`` where there are none.
    note : str
        What it holds.
    fill : float
        Zarr's fill value: what a row that was never written stands for in a column.
    packing : {"zstd bits", "zstd bytes", "lz4 bits"}
        How its chunks are packed.
    """

    path: str
    kind: Kind
    dims: tuple[str, ...]
    dtype: str
    chunk: tuple[int, ...]
    units: str
    note: str
    fill: float = 0
    packing: Packing = "zstd bits"

    @property
    def group(self) -> str:
        """The group that holds the array."""
        return self.path.partition("/")[0]

    @property
    def attributes(self) -> dict[str, Any]:
        """Zarr attributes."""
        return {"units": self.units, "long_name": self.note}


def _column(path: str, dtype: str, units: str, note: str, *dims: str, fill: float = 0) -> ArraySpec:
    dims = ("instance", *dims)
    return ArraySpec(path, "column", dims, dtype, (0,) * len(dims), units, note, fill)


def _points(path: str, dim: str, dtype: str, note: str) -> ArraySpec:
    dims = ("instance", dim, "axis")
    return ArraySpec(path, "rows", dims, dtype, (1, 10000, 3), "1", note, packing="lz4 bits")


NAN = float("nan")

ARRAYS = (
    _column("instances/id", "int64", "1", "3DMSL id"),
    _column("instances/origin", "uint16", "1", "archive that the instance came from: position in `origins`"),
    _column("instances/status", "uint8", "1", "0 complete, 1 partial, 2 set aside (no good part)"),
    _column("instances/split", "uint8", "1", "0 train, 1 val, 2 test, by a hash of the id: see `split_rule`"),
    _column("instances/has_mesh", "bool", "1", "the mesh is here"),
    _column("instances/has_point_cloud", "bool", "1", "the point cloud is here"),
    _column("instances/has_normals", "bool", "1", "the point cloud has normals"),
    _column("instances/has_occupancy", "bool", "1", "the occupancy is here"),
    _column("instances/has_images", "bool", "1", "every image is here"),
    _column("instances/volume_um3", "float64", "um^3", "volume enclosed by the mesh; NaN where it is open", fill=NAN),
    _column("instances/area_um2", "float64", "um^2", "area of the mesh", fill=NAN),
    _column("instances/sphericity", "float64", "1", "area of the sphere of equal volume over area (Wadell)", fill=NAN),
    _column("instances/elongation", "float64", "1", "longest over second principal radius of the surface", fill=NAN),
    _column("instances/extent_um", "float64", "um", "edges of the mesh's bounding box", "axis", fill=NAN),
    _column("instances/euler_number", "float64", "1", "vertices - edges + faces of the mesh", fill=NAN),
    _column("instances/genus", "float64", "1", "handles of the mesh; NaN where it is open", fill=NAN),
    _column("instances/component_count", "float64", "1", "connected components of the mesh", fill=NAN),
    _column("instances/watertight", "bool", "1", "every edge is shared by two faces that agree on its sides"),
    _column("instances/digest", "uint8", "1", "SHA-256 of the instance's arrays", "digest_byte"),
    ArraySpec(
        "instances/findings",
        "column",
        ("text_byte",),
        "uint8",
        (0,),
        "1",
        "what was wrong with the source: UTF-8 JSON, a list of {instance, place, reason}",
    ),
    _column("mesh/vertex_start", "int64", "1", "first row of the instance in mesh/vertices"),
    _column("mesh/vertex_count", "int64", "1", "rows of the instance in mesh/vertices"),
    _column("mesh/face_start", "int64", "1", "first row of the instance in mesh/faces"),
    _column("mesh/face_count", "int64", "1", "rows of the instance in mesh/faces"),
    ArraySpec(
        "mesh/vertices",
        "ragged",
        ("vertex", "axis"),
        "float32",
        (16384, 3),
        "voxel",
        "vertex positions in EM voxels; axes of the label array",
    ),
    ArraySpec(
        "mesh/faces",
        "ragged",
        ("face", "corner"),
        "uint32",
        (32768, 3),
        "1",
        "vertices of a face, counted from the instance's first",
    ),
    _points("point_cloud/points", "sample", "float32", "surface points in the normalized frame"),
    _points("point_cloud/normals", "sample", "float32", "outward unit normals of the points"),
    _points("occupancy/points", "query", "float16", "query points in the normalized frame, uniform in [-0.55, 0.55]^3"),
    ArraySpec(
        "occupancy/inside_bits",
        "rows",
        ("instance", "byte"),
        "uint8",
        (1, 1250),
        "1",
        "is the query point inside: eight a byte, first in the highest bit",
    ),
    ArraySpec(
        "occupancy/loc",
        "block",
        ("instance", "axis"),
        "float64",
        (BLOCK, 0),
        "voxel",
        "centre of the raw mesh's bounding box",
        NAN,
    ),
    ArraySpec(
        "occupancy/scale",
        "block",
        ("instance",),
        "float64",
        (BLOCK,),
        "voxel",
        "longest side of the raw mesh's bounding box",
        NAN,
    ),
    ArraySpec(
        "images/counts",
        "rows",
        ("instance", "microscope", "view", "y", "x"),
        "uint16",
        (1, 1, 1, 0, 0),
        "count",
        "camera counts",
        packing="zstd bytes",
    ),
    _column("images/present", "bool", "1", "the image is here", "microscope", "view"),
    ArraySpec(
        "images/rotation",
        "column",
        ("microscope", "view", "row", "col"),
        "float64",
        (0, 0, 0, 0),
        "1",
        "true rotation R of each image: rotated = (p - mean) @ R for row vectors p",
    ),
)
"""Every array of a library of shapes and published images."""

GRID_EDGES = (32, 64)
"""Voxels along the edge of the voxel grids that a library may have."""

FURTHER_ARRAYS = (
    _column("instances/has_sdf", "bool", "1", "the signed distances are here"),
    _column("instances/has_voxel_grid", "bool", "1", "the voxel grids are here"),
    _column("instances/label", "uint64", "1", "label of the object in the EM volume"),
    _column("instances/voxel_count", "int64", "1", "voxels of the object in the EM volume, after downsampling"),
    _column("instances/touches_border", "bool", "1", "the object reaches the border of the EM volume: it may be cut"),
    _column("instances/centroid_um", "float64", "um", "mean position of the object's voxels in the EM volume", "axis"),
    _column("instances/origin_um", "float64", "um", "position in the EM volume of the mesh's coordinates 0", "axis"),
    _column(
        "instances/principal_axes",
        "float64",
        "1",
        "unit vectors along the solid's principal axes, the longest first",
        "principal",
        "axis",
        fill=NAN,
    ),
    _column(
        "instances/principal_length_um",
        "float64",
        "um",
        "whole axes of the ellipsoid with the solid's second moments, the longest first",
        "principal",
        fill=NAN,
    ),
    _column("instances/skeleton_length_um", "float64", "um", "length of the object's centre lines", fill=NAN),
    _column("instances/branch_count", "float64", "1", "points at which three or more centre lines meet", fill=NAN),
    _column("instances/end_count", "float64", "1", "free ends of the centre lines", fill=NAN),
    _column("instances/mean_radius_um", "float64", "um", "mean distance of the centre lines to the surface", fill=NAN),
    ArraySpec(
        "sdf/distance",
        "rows",
        ("instance", "query"),
        "float16",
        (1, 10000),
        "1",
        "signed distance of occupancy/points to the mesh in the normalized frame, negative inside",
    ),
    *(
        ArraySpec(
            f"voxel_grid/inside_{edge}",
            "rows",
            ("instance", f"byte_{edge}"),
            "uint8",
            (1, edge**3 // 8),
            "1",
            f"is the voxel's centre inside: {edge}^3 voxels in C order, eight a byte, first in the highest bit",
        )
        for edge in GRID_EDGES
    ),
)
"""Arrays that a library made from an EM volume may have besides."""

SPECS: Mapping[str, ArraySpec] = {spec.path: spec for spec in (*ARRAYS, *FURTHER_ARRAYS)}

GROUPS: Mapping[str, str] = {
    "instances": "one row an instance: identity, provenance, morphometrics",
    "mesh": "triangle meshes in EM voxels, contiguous ragged arrays",
    "point_cloud": "points on the surface in the normalized frame (raw - loc) / scale",
    "occupancy": "random query points in the normalized frame with the answer to inside?",
    "images": "microscope images",
    "sdf": "signed distances of the occupancy's query points to the surface, in the normalized frame",
    "voxel_grid": "voxels of the cube [-0.55, 0.55]^3 of the normalized frame with the answer to inside?",
}


def edition_arrays(*, planes: bool, dtype: str, frames: bool = False) -> tuple[ArraySpec, ...]:
    """Return the arrays of a simulated edition: identities and images, no shapes. A chunk is one image or stack.

    Parameters
    ----------
    planes, frames : bool
        Whether images have the dimensions ``z`` and ``frame``.
    dtype : {"uint16", "float32"}
        Camera counts, or the noise-free expected image in photons.
    """
    lead = ("instance", "microscope", "view", *(("frame",) if frames else ()))
    dims = (*lead, *(("z",) if planes else ()), "y", "x")
    chunk = (*(1,) * len(lead), *(0,) * (len(dims) - len(lead)))
    image = {
        "uint16": replace(SPECS["images/counts"], dims=dims, chunk=chunk),
        "float32": ArraySpec("images/expected", "rows", dims, dtype, chunk, "photon", "noise-free expected image"),
    }[dtype]
    columns = ("instances/id", "instances/status", "instances/has_images", "instances/digest", "instances/findings")
    return (*(SPECS[path] for path in columns), image, SPECS["images/present"], SPECS["images/rotation"])


def check(url: str, attributes: Mapping[str, Any], arrays: Mapping[str, Sequence[str | None] | None]) -> None:
    """Check that a Zarr hierarchy is a library that this version can read.

    Parameters
    ----------
    url : str
        Where it lies, for messages.
    attributes : mapping
        The root group's attributes.
    arrays : mapping of str to sequence of str
        Every array's path with its dimensions' names.

    Raises
    ------
    FormatError
        It is no library, it is of a newer schema, or an array contradicts the schema.
    """
    version = attributes.get("msl_schema_version")
    if not isinstance(version, int):
        raise FormatError(
            f"{url}: this Zarr hierarchy is no 3DMSL library (its root has no attribute msl_schema_version); "
            "name the folder or prefix that msl-ingest wrote"
        )
    if version > SCHEMA_VERSION:
        raise FormatError(
            f"{url}: written with schema version {version}, this program reads up to {SCHEMA_VERSION}; "
            "upgrade with: pip install -U msl-store"
        )
    if "instances/id" not in arrays:
        raise FormatError(f"{url}: the array instances/id is missing; ingest the library again")
    for path, dims in arrays.items():
        spec = SPECS.get(path)
        if spec is None or spec.group == "images":
            continue
        if dims is None or tuple(dims) != spec.dims:
            raise FormatError(f"{url}: {path} has dims {dims}, schema version {version} has {spec.dims}")


def counts(columns: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Return how many instances a library has of every status, with every part, and how many findings.

    >>> counts({"instances/status": np.array([0, 0, 1]), "instances/has_mesh": np.array([True, True, False])})
    {'complete': 2, 'partial': 1, 'set_aside': 0, 'has_mesh': 2}
    """
    status = columns.get("instances/status", np.zeros(0, np.uint8))
    found = {name: int((status == number).sum()) for number, name in enumerate(STATUS)}
    for path, values in columns.items():
        if path.startswith("instances/") and values.dtype == np.bool_ and values.ndim == 1:
            found[path.partition("/")[2]] = int(values.sum())
    if "instances/findings" in columns:
        found["findings"] = len(json.loads(columns["instances/findings"].tobytes() or b"[]"))
    return found


def instance_attributes(ids: NDArray[np.int64], status: NDArray[np.uint8]) -> dict[str, Any]:
    """Return what the group ``instances`` says in its attributes, so that opening a library tells its ids.

    ``id_runs`` are the ids of all rows as runs [first, last]; ``set_aside`` are the rows without any good part.

    >>> instance_attributes(np.array([1, 2, 3, 7]), np.array([0, 2, 0, 1], np.uint8))["id_runs"]
    [[1, 3], [7, 7]]
    """
    edges = np.flatnonzero(np.diff(ids, prepend=ids[0] - 2, append=ids[-1] - 2) != 1) if len(ids) else ids
    return {
        "id_runs": [[int(ids[first]), int(ids[last - 1])] for first, last in pairwise(edges)],
        "set_aside": np.flatnonzero(status == STATUS.index("set_aside")).tolist(),
        "statuses": list(STATUS),
    }
