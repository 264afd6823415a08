from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ingest.procedural import instance
from ingest.sampling import occupancy, point_cloud
from msl_store.errors import UsageError
from msl_store.geometry.inside import inside
from msl_store.geometry.morphometrics import measure
from msl_store.shapes import Mesh, denormalize


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return instance("donut", 2, 0)


def test_a_point_cloud_lies_on_the_surface_in_the_normalized_frame(mesh):
    cloud = point_cloud(mesh, np.random.default_rng(0))
    assert (cloud.points.dtype, cloud.points.shape) == (np.float32, (100_000, 3))
    assert (cloud.normals.dtype, cloud.normals.shape) == (np.float32, (100_000, 3))
    assert np.linalg.norm(cloud.normals, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert np.ptp(cloud.points, axis=0).max() == pytest.approx(1.0, abs=0.01)
    # A step of a hundredth of a voxel along the normal goes out of the shape, one against it goes in.
    loc, scale = mesh.box()
    out, into = (denormalize(cloud.points + sign * 0.01 / scale * cloud.normals, loc, scale) for sign in (1, -1))
    assert inside(mesh.vertices, mesh.faces, out).mean() < 0.001
    assert inside(mesh.vertices, mesh.faces, into).mean() > 0.999


def test_occupancy_has_the_published_form_and_labels_of_the_points_as_stored(mesh):
    queries = occupancy(mesh, np.random.default_rng(1))
    loc, scale = mesh.box()
    assert (queries.points.dtype, queries.points.shape) == (np.float16, (100_000, 3))
    assert (queries.inside_bits.dtype, queries.inside_bits.shape) == (np.uint8, (12_500,))
    assert np.array_equal(queries.loc, loc)
    assert queries.scale == scale
    assert np.array_equal(queries.inside, inside(mesh.vertices, mesh.faces, denormalize(queries.points, loc, scale)))
    for axis in range(3):
        test = stats.kstest(queries.points[:, axis].astype(float), stats.uniform(-0.55, 1.1).cdf)
        assert test.pvalue > 0.001
    share = measure(mesh.vertices, mesh.faces, voxel_um=1.0).volume_um3 / (1.1 * scale) ** 3
    assert queries.inside.mean() == pytest.approx(share, abs=4 * np.sqrt(share / 100_000))


def test_counts_need_not_be_multiples_of_eight(mesh):
    queries = occupancy(mesh, np.random.default_rng(1), count=13)
    assert (len(queries.inside_bits), len(queries.inside)) == (2, 13)
    assert len(point_cloud(mesh, np.random.default_rng(1), count=13).points) == 13


def test_the_generator_alone_decides(mesh):
    first, again = (occupancy(mesh, np.random.default_rng(6), count=500) for _ in range(2))
    assert np.array_equal(first.points, again.points)
    assert np.array_equal(first.inside_bits, again.inside_bits)
    left, right = (point_cloud(mesh, np.random.default_rng(6), count=500) for _ in range(2))
    assert np.array_equal(left.points, right.points)


def test_open_and_pointlike_meshes_are_refused(mesh):
    with pytest.raises(UsageError, match=r"is open"):
        occupancy(Mesh(mesh.vertices, mesh.faces[1:]), np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"lie at one point"):
        occupancy(Mesh(np.ones((4, 3)), np.zeros((2, 3), np.uint32)), np.random.default_rng(0))
