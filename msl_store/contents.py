"""What each row of a store has, and rows read into instances: everything wanted of them in two round trips."""

from __future__ import annotations

from dataclasses import dataclass
from operator import ge
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.digest import instance_digest
from msl_store.errors import UsageError
from msl_store.schema import GRID_EDGES
from msl_store.shapes import Mesh, Occupancy, PointCloud
from msl_store.store import Want

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from msl_store.store import Store

PARTS = ("mesh", "point_cloud", "occupancy", "images", "sdf", "voxel_grid")

INDEX_COLUMNS = (
    "instances/has_mesh",
    "instances/has_point_cloud",
    "instances/has_normals",
    "instances/has_occupancy",
    "instances/has_sdf",
    "instances/has_voxel_grid",
    "mesh/vertex_start",
    "mesh/vertex_count",
    "mesh/face_start",
    "mesh/face_count",
    "images/present",
)
"""What finding an instance's data needs; read together, in one round trip."""

NEEDED = {
    "point_cloud/points": "point_cloud",
    "point_cloud/normals": "normals",
    "occupancy/points": "occupancy",
    "occupancy/inside_bits": "occupancy",
    "occupancy/loc": "occupancy",
    "occupancy/scale": "occupancy",
    "sdf/distance": "sdf",
    **{f"voxel_grid/inside_{edge}": "voxel_grid" for edge in GRID_EDGES},
}
"""The part that a row must have for an array to hold anything of it."""


def check_parts(parts: Sequence[str]) -> None:
    """Raise `UsageError` where a name is none of `PARTS`."""
    refuse_text(parts=parts)
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise UsageError(f"parts: {', '.join(sorted(unknown))} unknown; allowed: {', '.join(PARTS)}")


def instance_numbers(ids: ArrayLike) -> list[int]:
    """Return some ids, or one, as a list; `UsageError` where they are no integers.

    >>> instance_numbers([3, 1]), instance_numbers(7)
    ([3, 1], [7])
    """
    numbers = np.atleast_1d(np.asarray(ids))
    if numbers.size and not np.issubdtype(numbers.dtype, np.integer):
        raise UsageError(f"ids {ids!r}: allowed are integers, as in [1, 3]")
    return [int(number) for number in numbers.ravel()]


def refuse_text(**given: object) -> None:
    """Raise `UsageError` where a text is given for a list of names, whose letters would be taken for names."""
    for name, value in given.items():
        if isinstance(value, str):
            raise UsageError(f"{name}={value!r}: allowed is a list of names, as in [{value!r}]")


def id_range(ids: NDArray[np.int64]) -> str:
    """Return how many ids there are, and from which to which.

    >>> id_range(np.array([7, 3, 12]))
    '3 (3 to 12)'
    """
    return f"{len(ids)} ({ids.min()} to {ids.max()})" if len(ids) else "none"


def no_such(missing: Sequence[int], wanted: Sequence[int], there: NDArray[np.int64]) -> str:
    """Return which of the instances asked for are not there, and which are."""
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return (
        f"has no instance {shown} ({len(missing)} of {len(wanted)} asked for); it has {id_range(there)}; see "
        "Library.ids and, for what was set aside, Library.findings"
    )


def absence(
    instance: int, part: str, findings: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]
) -> str:
    """Return why an instance lacks a part: what was found wrong with it, or that a subset was made without it.

    Parameters
    ----------
    instance : int
        Its id.
    part : str
        One of `PARTS`.
    findings, sources : sequence of mapping
        The library's ``findings``, and its root attribute ``derived_from``.
    """
    why = [f"{found['place']}: {found['reason']}" for found in findings if found["instance"] == instance]
    without = [source["url"] for source in sources if part in source["left_out"]]
    if without:
        why.append(f"this subset of {without[0]} was made without; open that, or take another subset")
    return f"instance {instance} has no {part.replace('_', ' ')} ({'; '.join(why) or 'the source had none'})"


@dataclass(frozen=True, eq=False)
class Instance:
    """One mitochondrion in memory; parts that were not asked for, or that it does not have, are None.

    Attributes
    ----------
    id : int
        Its 3DMSL id.
    mesh, point_cloud, occupancy
        Its shape forms.
    images : ndarray, shape (microscope, view, [frame,] [z,] y, x), or None
        Camera counts (uint16), or photons (float32) in a noise-free edition.
    present : ndarray of bool, shape (microscope, view), or None
        Which of the images it has.
    sdf : ndarray of float16, shape (n_query,), or None
        Signed distances of the occupancy's query points, in the normalized frame, negative inside.
    voxel_grid : mapping of int to ndarray of bool, or None
        By their edge n, grids of shape (n, n, n): is the voxel's centre inside?
    """

    id: int
    mesh: Mesh | None = None
    point_cloud: PointCloud | None = None
    occupancy: Occupancy | None = None
    images: NDArray[Any] | None = None
    present: NDArray[np.bool_] | None = None
    sdf: NDArray[np.float16] | None = None
    voxel_grid: Mapping[int, NDArray[np.bool_]] | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the arrays, 32 bytes: what a library has in ``instances/digest`` where all parts were read."""
        return instance_digest(
            mesh=self.mesh,
            point_cloud=self.point_cloud,
            occupancy=self.occupancy,
            images=self.images,
            present=self.present,
            sdf=self.sdf,
            voxel_grid=self.voxel_grid,
        )


class Contents:
    """What each row of a store has; the columns that say so are read together at first need."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _index(self) -> dict[str, NDArray[Any]]:
        return self._store.columns(INDEX_COLUMNS)

    @property
    def image_path(self) -> str:
        """The array that holds images: camera counts, or the expected images of a noise-free edition."""
        return "images/expected" if "images/expected" in self._store.arrays else "images/counts"

    @property
    def images_present(self) -> NDArray[np.bool_]:
        """Which images there are, shape (row, microscope, view)."""
        found = self._index.get("images/present")
        return np.zeros((len(self._store.ids), 0, 0), np.bool_) if found is None else found

    def has(self, part: str) -> NDArray[np.bool_]:
        """Return which rows have one of `PARTS`, or ``normals``; of ``images``, any."""
        if part == "images" and "images/present" in self._index:
            return np.asarray(self.images_present.any(axis=(1, 2)))
        column = self._index.get(f"instances/has_{part}")
        return np.zeros(len(self._store.ids), np.bool_) if column is None else column

    def present(self, path: str) -> NDArray[np.bool_] | None:
        """Return which chunks of an array the store has, over its leading dimensions; None where it has all."""
        if path == self.image_path:
            return self.images_present
        array = self._store.array(path)
        if array.dims[0] in {"vertex", "face"}:
            first = self._index[f"mesh/{array.dims[0]}_start"]
            edges = np.zeros(array.shape[0] // array.chunk[0] + 1, np.int64)
            np.add.at(edges, first // array.chunk[0], 1)
            np.add.at(edges, -(-(first + self._index[f"mesh/{array.dims[0]}_count"]) // array.chunk[0]), -1)
            return np.asarray(edges.cumsum()[:-1] > 0)
        if path not in NEEDED:
            return None
        has = self.has(NEEDED[path])
        return np.logical_or.reduceat(has, np.arange(0, len(has), array.chunk[0]))

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of `PARTS` rows may have: those that the store has arrays for."""
        return tuple(part for part in PARTS if any(path.startswith(f"{part}/") for path in self._store.arrays))

    def batches(self, rows: Sequence[int], parts: Sequence[str], *, batch: int = 16) -> Iterator[list[Want]]:
        """Yield what reading all columns takes, and then, some rows at a time, what reading their parts does."""
        check_parts(parts)
        yield self.columns
        for start in range(0, len(rows) if parts else 0, batch):
            yield [want for row in rows[start : start + batch] for _, want in self.wants(row, parts)]

    def read(self, rows: Sequence[int], parts: Sequence[str]) -> Iterator[Instance]:
        """Yield some rows as instances, all read together."""
        wants = [dict(self.wants(row, parts)) for row in rows]
        values = iter(self._store.read([want for row_wants in wants for want in row_wants.values()]))
        for row, row_wants in zip(rows, wants, strict=True):
            yield self.assembled(row, {path: next(values) for path in row_wants})

    @property
    def columns(self) -> list[Want]:
        """What reading the table, the findings and the indexes takes: every array that is one object for all rows."""
        arrays = (array for array in self._store.arrays.values() if array.path not in NEEDED)
        return [Want(a.path) for a in arrays if a.shard is None and all(map(ge, a.chunk, a.shape))]

    def wants(self, row: int, parts: Sequence[str]) -> Iterator[tuple[str, Want]]:
        """Yield what to read of one row, of the parts that it has."""
        one = slice(row, row + 1)
        if "mesh" in parts and self.has("mesh")[row]:
            for path, name in (("mesh/vertices", "vertex"), ("mesh/faces", "face")):
                start = int(self._index[f"mesh/{name}_start"][row])
                yield path, Want(path, (slice(start, start + int(self._index[f"mesh/{name}_count"][row])),))
        for path, part in NEEDED.items():
            asked = "point_cloud" if part == "normals" else part
            if asked in parts and path in self._store.arrays and self.has(part)[row]:
                yield path, Want(path, (one,))
        if "images" in parts and self.images_present[row].any():
            yield self.image_path, Want(self.image_path, (one,), self.present(self.image_path))

    def assembled(self, row: int, values: Mapping[str, NDArray[Any]]) -> Instance:
        """Return a row as an instance, from what its `wants` brought by path."""
        mesh = cloud = occupancy = images = None
        if "mesh/vertices" in values:
            mesh = Mesh(values["mesh/vertices"], values["mesh/faces"])
        if "point_cloud/points" in values:
            normals = values.get("point_cloud/normals")
            cloud = PointCloud(values["point_cloud/points"][0], None if normals is None else normals[0])
        if "occupancy/points" in values:
            occupancy = Occupancy(
                values["occupancy/points"][0],
                values["occupancy/inside_bits"][0],
                values["occupancy/loc"][0],
                float(values["occupancy/scale"][0]),
            )
        if self.image_path in values:
            images = values[self.image_path][0]
        present = None if images is None else self.images_present[row]
        distances = values.get("sdf/distance")
        sdf = None if distances is None else distances[0]
        packed = {edge: values.get(f"voxel_grid/inside_{edge}") for edge in GRID_EDGES}
        grids = {
            edge: np.unpackbits(bits[0]).astype(np.bool_).reshape(edge, edge, edge)
            for edge, bits in packed.items()
            if bits is not None
        }
        return Instance(int(self._store.ids[row]), mesh, cloud, occupancy, images, present, sdf, grids or None)
