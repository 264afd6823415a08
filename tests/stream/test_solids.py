"""Voxel grids and signed distances: what geometry says of the mesh, whether read or computed."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from small_library import build
from zarr.codecs import BloscCodec, Crc32cCodec

import msl_store as msl
from ingest.procedural import instance
from ingest.record import Record
from ingest.sampling import occupancy
from msl_store.errors import UsageError
from msl_store.geometry.sdf import signed_distance
from msl_store.geometry.voxels import voxel_grid
from msl_store.shapes import Mesh, denormalize
from msl_store.stream import Batches, Distances, Instances, Queries, Voxels

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 8


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
    """The same library with stored grids and distances, those of its second instance missing and all others 1 off."""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("stored") / "solids.zarr")
    library = msl.open(folder)
    grids, distances = np.zeros((3, SIZE**3 // 8), np.uint8), np.zeros((3, 100_000), np.float16)
    for row, number in enumerate(library.ids.tolist()):
        mesh, queries = library.mesh(number), library.occupancy(number)
        if row == 0:
            grids[row] = np.packbits(~voxel_grid(mesh.vertices, mesh.faces, SIZE).inside)
            raw = denormalize(queries.points, queries.loc, queries.scale)
            distances[row] = signed_distance(mesh.vertices, mesh.faces, raw) / queries.scale + 1
    shutil.rmtree(copy / "_unpublished", ignore_errors=True)  # empty folders, which zarr wonders about
    root = zarr.open_group(copy, mode="r+", use_consolidated=False)
    sharded = {"compressors": [BloscCodec(cname="zstd"), Crc32cCodec()]}
    for path, values, chunk in [
        (f"voxel_grid/inside_{SIZE}", grids, grids.shape[1]),
        ("sdf/distance", distances, 10_000),
        ("instances/has_voxel_grids", np.array([True, False, False]), None),
        ("instances/has_sdf", np.array([True, False, False]), None),
    ]:
        shape = {
            "chunks": (1, chunk) if chunk else values.shape,
            "shards": {"shape": (64, values.shape[1]), "index_location": "start"} if chunk else None,
        }
        dims = ("instance", "byte_8")[: values.ndim]
        root.create_array(
            path, data=values, dimension_names=dims, config={"write_empty_chunks": True}, **shape, **sharded
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(copy)
    return msl.open(copy)


@pytest.mark.parametrize("size", [5, 32])
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
