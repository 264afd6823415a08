"""Voxel grids and signed distances: what geometry says of the mesh, whether read or computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_library import HeldSource, build

import msl_store as msl
from ingest.kind import PUBLISHED_KIND
from ingest.procedural import instance
from ingest.record import Record
from ingest.repack import ingest
from ingest.sampling import occupancy
from msl_store import schema
from msl_store.errors import UsageError
from msl_store.geometry.sdf import signed_distance
from msl_store.geometry.voxels import voxel_grid
from msl_store.shapes import Mesh, denormalize
from msl_store.store import locate
from msl_store.stream import Batches, Distances, Instances, Queries, Voxels

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 32


def record(number: int, *, closed: bool = True) -> Record:
    mesh = instance("rod", number, 0)
    queries = occupancy(mesh, np.random.default_rng(number))
    return Record(number, mesh if closed else Mesh(mesh.vertices, mesh.faces[1:]), occupancy=queries)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("solids") / "solids.zarr"
    build([record(3), record(9), record(15, closed=False)], folder)
    return folder


@pytest.fixture(scope="module")
def with_solids(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> msl.Library:
    """The same instances with grids and distances of the first only: the grid inverted, the distances 1 too large."""
    library, records = msl.open(folder), []
    for found in library.instances():
        mesh, queries = found.mesh, found.occupancy
        whole = Record(found.id, mesh, occupancy=queries)
        if found.id == 3:
            raw = denormalize(queries.points, queries.loc, queries.scale)
            distance = signed_distance(mesh.vertices, mesh.faces, raw) / queries.scale + 1
            grid = ~voxel_grid(mesh.vertices, mesh.faces, SIZE).inside
            whole = replace(whole, sdf=distance.astype(np.float16), voxel_grid={SIZE: grid})
        records.append(whole)
    kept = ("instances/has_sdf", "instances/has_voxel_grid", "sdf/distance", f"voxel_grid/inside_{SIZE}")
    arrays = tuple(spec for spec in schema.FURTHER_ARRAYS if spec.path in kept)
    target = tmp_path_factory.mktemp("stored") / "solids.zarr"
    kind = replace(PUBLISHED_KIND, arrays=(*PUBLISHED_KIND.arrays, *arrays))
    ingest(HeldSource(tuple(records)), locate(target), kind=kind, scheduler="synchronous")
    return msl.open(target)


@pytest.mark.parametrize("size", [5, 64])
def test_grids_are_computed_of_closed_meshes(folder, size):
    library = msl.open(folder)
    batch = next(iter(Batches(library, {"grid": Voxels(size)}, 4, shuffle=None)))
    assert batch["id"].tolist() == [3, 9]
    for number, grid in zip(batch["id"].tolist(), batch["grid"], strict=True):
        mesh = library.mesh(number)
        np.testing.assert_array_equal(grid, voxel_grid(mesh.vertices, mesh.faces, size).inside, strict=True)
        assert grid.any()
        assert not grid.all()


def test_grids_are_read_where_they_are_stored(folder, with_solids):
    data = Instances(with_solids, {"grid": Voxels(SIZE)})
    assert data.ids.tolist() == [3]
    mesh = with_solids.mesh(3)
    np.testing.assert_array_equal(data[0]["grid"], ~voxel_grid(mesh.vertices, mesh.faces, SIZE).inside, strict=True)
    assert Instances(with_solids, {"grid": Voxels(SIZE + 1)}).ids.tolist() == [3, 9]


@pytest.mark.parametrize("spread", [1, 10])
def test_distances_are_those_of_the_queries(folder, spread):
    library = msl.open(folder)
    fields = {"d": Distances(500, spread=spread), "q": Queries(500, spread=spread)}
    data = Instances(library, fields, seed=2)
    assert data.ids.tolist() == [3, 9, 15]
    found = data.by_id(9)
    mesh = library.mesh(9)
    loc, scale = mesh.box()
    expected = signed_distance(mesh.vertices, mesh.faces, denormalize(found["d"], loc, scale)) / scale
    np.testing.assert_allclose(found["d.distance"], expected, atol=1e-6)
    alone = Instances(library, {"d": Queries(500, spread=spread)}, seed=2).by_id(9)
    np.testing.assert_array_equal(found["d"], alone["d"], strict=True)
    near = np.abs(expected) < 1e-3
    np.testing.assert_array_equal(found["d.distance"][~near] < 0, alone["d.inside"][~near])


@pytest.mark.parametrize("spread", [1, 3])
def test_distances_are_read_where_they_are_stored(folder, with_solids, spread):
    stored, computed = (
        Instances(library, {"d": Distances(400, spread=spread)}, seed=4).by_id(3)
        for library in (with_solids, msl.open(folder))
    )
    np.testing.assert_array_equal(stored["d"], computed["d"], strict=True)
    np.testing.assert_allclose(stored["d.distance"] - 1, computed["d.distance"], atol=2e-3)
    assert stored["d.distance"].dtype == computed["d.distance"].dtype == np.float32
    assert Instances(with_solids, {"d": Distances(400)}).ids.tolist() == [3]


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(UsageError, match=r"Voxels\(0\): allowed is 1 to 512"):
        Voxels(0)
