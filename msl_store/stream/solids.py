"""Shapes as solids: voxel grids, and signed distances, read where a library has them and computed where it has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.sdf import signed_distance
from msl_store.geometry.voxels import voxel_grid
from msl_store.shapes import normalize
from msl_store.store import Cut
from msl_store.stream.form import Reader, Sample, refuse_no_integer
from msl_store.stream.meshes import MeshCuts
from msl_store.stream.points import QueryPoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library


STORED = "sdf/distance"


@dataclass(frozen=True)
class Voxels:
    """Voxel grids of the cube [-0.55, 0.55]^3 of the normalized frame, which the queries fill too.

    Makes ``name`` (batch, size, size, size), bool: whether a voxel's centre is inside; voxel (i, j, k) is centred on
    ``-0.55 + (index + 0.5) * 1.1 / size`` along the axes 0, 1, 2. Read where the library stores grids of this size;
    else computed from the meshes that are closed, by `msl_store.geometry.voxels.voxel_grid`.

    Attributes
    ----------
    size : int
        Voxels along each axis, 1 to 512.
    """

    size: int = 64

    def __post_init__(self) -> None:
        refuse_no_integer(self, "size")
        if not 1 <= self.size <= 512:
            raise UsageError(f"Voxels({self.size}): allowed is 1 to 512 voxels along each axis")

    def of(self, library: Library) -> Reader:
        """Return what reads or computes them."""
        stored = f"voxel_grid/inside_{self.size}"
        return _StoredGrids(library, stored, self.size) if stored in library.store.arrays else _Voxeliser(library, self)


class _StoredGrids(Reader):
    def __init__(self, library: Library, path: str, size: int) -> None:
        self._rows = library.rows_of(library.ids)
        self._path, self._size = path, size
        super().__init__(library.store, library.has_part("voxel_grid"))

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:  # noqa: ARG002 - nothing is drawn
        return [Cut(self._path, (int(self._rows[place]), 0), (0,))], None

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:  # noqa: ARG002 - nothing was
        size = self._size
        return {"": np.unpackbits(values[0], count=size**3).astype(np.bool_).reshape(size, size, size)}

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * 2 * self._size**3


class _Voxeliser(Reader):
    computes = True

    def __init__(self, library: Library, form: Voxels) -> None:
        self._cuts = MeshCuts(library)
        self._size = form.size
        super().__init__(library.store, self._cuts.has & _closed(library))

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:  # noqa: ARG002 - nothing is drawn
        return self._cuts.of(place), place

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        mesh = self._cuts.joined(chosen, values)
        return {"": voxel_grid(mesh.vertices, mesh.faces, self._size).inside}

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return 2 * self._cuts.nbytes(places) + len(places) * 2 * self._size**3


@dataclass(frozen=True)
class Distances:
    """Signed distances of occupancy queries to the surface, in the normalized frame.

    Makes ``name`` (batch, n, 3), the queries as float32, and ``name.distance`` (batch, n), float32, negative inside, in
    units of the longest side of the shape's box. Read where the library stores them; else computed from the meshes, by
    `msl_store.geometry.sdf.signed_distance`.

    Attributes
    ----------
    n, spread : int
        Queries of every instance, and how many chunks to draw them from; as of `Queries`.
    """

    n: int = 2048
    spread: int = 1

    def __post_init__(self) -> None:
        refuse_no_integer(self, "n", "spread")

    def of(self, library: Library) -> Reader:
        """Return what reads or computes them."""
        return (_StoredDistances if STORED in library.store.arrays else _Measurer)(library, self)


class _StoredDistances(Reader):
    def __init__(self, library: Library, form: Distances) -> None:
        self._points = QueryPoints(library, form.n, form.spread)
        self._nbytes = 8 * self._points.chunk_points + 32 * form.n
        super().__init__(library.store, self._points.has & library.has_part("sdf"))

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        row, chosen = self._points.chosen(place, rng)
        return [cut for path in ("occupancy/points", STORED) for cut in self._points.cuts(path, row, chosen)], None

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:  # noqa: ARG002 - the values say it all
        half = len(values) // 2
        points, distances = np.concatenate(values[:half]), np.concatenate(values[half:])
        return {"": points.astype(np.float32), ".distance": distances.astype(np.float32)}

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * self._nbytes


class _Measurer(Reader):
    computes = True

    def __init__(self, library: Library, form: Distances) -> None:
        self._points = QueryPoints(library, form.n, form.spread)
        self._meshes = MeshCuts(library)
        self._nbytes = 6 * self._points.chunk_points + 64 * form.n
        super().__init__(library.store, self._points.has & self._meshes.has)

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        row, chosen = self._points.chosen(place, rng)
        cuts = self._points.cuts("occupancy/points", row, chosen)
        return cuts + self._meshes.of(place), (place, len(cuts))

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        place, parts = chosen
        mesh = self._meshes.joined(place, values[parts:])
        points = np.concatenate(values[:parts]).astype(np.float32)
        distances = signed_distance(normalize(mesh.vertices, *mesh.box()), mesh.faces, points)
        return {"": points, ".distance": distances.astype(np.float32)}

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * self._nbytes + 3 * self._meshes.nbytes(places)


def _closed(library: Library) -> NDArray[np.bool_]:
    """Return which instances' meshes are closed, shape (instance,)."""
    path = "instances/watertight"
    return library.store.columns([path])[path][library.rows_of(library.ids)]
