from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from solids import box, sphere, staircase, together, torus

from msl_store.errors import UsageError
from msl_store.geometry.inside import inside
from msl_store.geometry.voxels import inside_at, voxel_centres, voxel_grid, voxelise
from msl_store.shapes import normalize


def centres_of(low, edge, shape):
    return np.stack(np.meshgrid(*voxel_centres(low, edge, shape), indexing="ij"), -1).reshape(-1, 3)


@given(
    arrays.arrays(float, st.tuples(st.integers(1, 3), st.just(4), st.just(3)), elements=st.integers(-4, 4)),
    st.sampled_from([0.5, 1.0, 2.0]),
    arrays.arrays(float, 3, elements=st.sampled_from([-5.0, -4.75, -4.5])),
)
@settings(max_examples=200, deadline=None)
def test_every_centre_is_answered_as_by_the_inside_test_also_on_edges_and_on_the_surface(corners, edge, low):
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    solid = together(*((tetrahedron, faces) for tetrahedron in corners))
    shape = (round(10 / edge), round(9 / edge), round(11 / edge))
    found = voxelise(*solid, low=low, edge=edge, shape=shape)
    assert found.shape == shape
    assert np.array_equal(found.ravel(), inside(*solid, centres_of(low, edge, shape)))


@given(
    arrays.arrays(float, (4, 3), elements=st.floats(-4, 4)),
    arrays.arrays(float, 3, elements=st.floats(-5, -3)),
    arrays.arrays(float, 3, elements=st.floats(0.3, 2)),
)
@settings(max_examples=200, deadline=None)
def test_any_coordinates_and_edges_give_the_answers_of_the_inside_test(corners, low, edge):
    solid = corners, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    shape = tuple(np.ceil((4 - low) / edge).astype(int))
    found = voxelise(*solid, low=low, edge=edge, shape=shape)
    assert np.array_equal(found.ravel(), inside(*solid, centres_of(low, edge, shape)))


@given(
    arrays.arrays(float, (4, 3), elements=st.floats(-4, 4)),
    st.tuples(*[st.lists(st.floats(-5, 5), max_size=6).map(sorted).map(np.array)] * 3),
)
@settings(max_examples=100, deadline=None)
def test_uneven_grids_give_the_answers_of_the_inside_test(corners, axes):
    solid = corners, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    assert np.array_equal(inside_at(*solid, axes).ravel(), inside(*solid, points.reshape(-1, 3)))


@given(arrays.arrays(bool, st.tuples(*[st.integers(1, 5)] * 3)))
@settings(max_examples=50, deadline=None)
def test_the_staircase_of_a_mask_gives_the_mask_back(mask):
    assume(mask.any())
    vertices, faces = staircase(mask, sides=0.25, corner=(7.0, -3.0, 0.5))
    assert np.array_equal(voxelise(vertices, faces, low=(7.0, -3.0, 0.5), edge=0.25, shape=mask.shape), mask)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_turned_torus_is_filled_whichever_way_the_rays_run(order):
    vertices, faces = torus(3.0, 1.0, 60, 30)
    vertices = vertices[:, order]
    counts = []
    for edge in (0.4, 0.1):
        low = vertices.min(axis=0) - 0.5
        shape = tuple(np.ceil((vertices.max(axis=0) - low) / edge).astype(int) + 1)
        found = voxelise(vertices, faces, low=low, edge=edge, shape=shape)
        assert np.array_equal(found.ravel(), inside(vertices, faces, centres_of(low, edge, shape)))
        counts.append(found.sum() * edge**3)
    assert counts[1] == pytest.approx(2 * math.pi**2 * 3, rel=0.02)


def test_a_part_of_the_mesh_and_a_box_beside_it_are_voxelised_alike():
    vertices, faces = sphere(10.0, 4)
    whole = voxelise(vertices, faces, low=(-12, -12, -12), edge=0.5, shape=(48, 48, 48))
    part = voxelise(vertices, faces, low=(-2, 0, 3), edge=0.5, shape=(10, 20, 12))
    assert np.array_equal(part, whole[20:30, 24:44, 30:42])
    assert not voxelise(vertices, faces, low=(20, 0, 0), edge=1.0, shape=(3, 4, 5)).any()
    assert voxelise(vertices, faces, low=(0, 0, 0), edge=1.0, shape=(3, 0, 5)).shape == (3, 0, 5)
    assert not voxelise(vertices * [1, 1, 0], faces, low=(-5, -5, -5), edge=1.0, shape=(9, 9, 9)).any()


def test_a_grid_fills_the_cube_of_the_queries_in_the_normalized_frame():
    vertices, faces = sphere(8.0, 4, centre=(100.0, -20.0, 3.0))
    vertices = (vertices - [100.0, -20.0, 3.0]) * [1.0, 0.5, 0.25] + [100.0, -20.0, 3.0]
    grid = voxel_grid(vertices, faces, 32)
    assert (grid.size, grid.inside_bits.shape, grid.inside.shape) == (32, (4096,), (32, 32, 32))
    assert grid.loc == pytest.approx([100.0, -20.0, 3.0])
    assert grid.scale == pytest.approx(16.0)
    at = centres_of(-0.55, grid.edge, (32, 32, 32))
    assert at.max() == pytest.approx(0.55 - grid.edge / 2)
    assert np.array_equal(
        grid.inside.ravel(), inside(normalize(vertices, grid.loc, grid.scale), faces, np.round(at, 12))
    )
    assert np.array_equal(np.packbits(grid.inside), grid.inside_bits)
    again = voxelise(vertices, faces, low=grid.low, edge=grid.edge * grid.scale, shape=(32, 32, 32))
    assert np.array_equal(again, grid.inside)
    ellipsoid = 4 / 3 * math.pi * 0.5 * 0.25 * 0.125
    assert voxel_grid(vertices, faces).inside.sum() * (1.1 / 64) ** 3 == pytest.approx(ellipsoid, rel=0.02)


def test_open_meshes_and_impossible_grids_are_refused():
    vertices, faces = box()
    with pytest.raises(UsageError, match=r"is open: .*repaired"):
        voxelise(vertices, faces[1:], low=(0, 0, 0), edge=1.0, shape=(2, 2, 2))
    with pytest.raises(UsageError, match=r"is open: "):
        voxel_grid(vertices, faces[1:])
    for edge in (0.0, -1.0, math.nan, (1.0, 2.0)):
        with pytest.raises(UsageError, match=r"a voxel's edge is .* allowed is a positive length"):
            voxelise(vertices, faces, low=(0, 0, 0), edge=edge, shape=(2, 2, 2))
    for shape in ((2, 2), (2, 2, -1)):
        with pytest.raises(UsageError, match=r"allowed are three sizes, 0 or more"):
            voxelise(vertices, faces, low=(0, 0, 0), edge=1.0, shape=shape)
    with pytest.raises(UsageError, match=r"lower corner is \[0.0, nan, 0.0\]; allowed are three coordinates"):
        voxelise(vertices, faces, low=(0.0, math.nan, 0.0), edge=1.0, shape=(2, 2, 2))
    with pytest.raises(UsageError, match=r"a grid of 0 voxels an axis was asked for"):
        voxel_grid(vertices, faces, 0)
    with pytest.raises(UsageError, match=r"without vertices has no frame"):
        voxel_grid(vertices[:0], faces[:0])
    with pytest.raises(UsageError, match=r"lie at one point"):
        voxel_grid(vertices[:1], faces[:0])
