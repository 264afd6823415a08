from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from solids import box, exact_squared_distance, exact_winding, sphere, staircase, together, torus

from msl_store.errors import UsageError
from msl_store.geometry.inside import inside
from msl_store.geometry.nearest import nearest
from msl_store.geometry.sdf import signed_distance

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
grid = st.integers(-6, 6).map(lambda n: n / 2)


@given(
    arrays.arrays(float, st.tuples(st.integers(1, 3), st.just(4), st.just(3)), elements=grid),
    arrays.arrays(float, (4, 3), elements=grid),
)
@settings(max_examples=150, deadline=None)
def test_on_a_grid_sign_and_distance_are_exact_also_through_edges_and_vertices(corners, points):
    vertices, faces = together(*((tetrahedron, TETRAHEDRON) for tetrahedron in corners))
    sides = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    assume(np.cross(sides[:, 0], sides[:, 1]).any(axis=1).all())
    found = signed_distance(vertices, faces, points)
    for point, distance in zip(points, found, strict=True):
        assert abs(distance) == pytest.approx(math.sqrt(exact_squared_distance(vertices, faces, point)), abs=1e-12)
        if (winding := exact_winding(vertices, faces, point)) is not None:
            assert (distance < 0) == (winding != 0)


@given(arrays.arrays(bool, st.tuples(*[st.integers(1, 4)] * 3)), arrays.arrays(float, (6, 3), elements=grid))
@settings(max_examples=100, deadline=None)
def test_a_staircase_is_as_far_as_the_nearest_voxel_on_the_other_side(mask, points):
    assume(mask.any())
    mask = np.pad(mask, 10)
    vertices, faces = staircase(mask, corner=-10)
    found = signed_distance(vertices, faces, points)
    low = np.argwhere(np.ones_like(mask)) - 10
    gap = np.linalg.norm(
        np.maximum(np.maximum(low - points[:, np.newaxis], points[:, np.newaxis] - low - 1), 0), axis=2
    )
    outwards, inwards = (np.where(side.ravel(), gap, np.inf).min(axis=1) for side in (mask, ~mask))
    # One of the two is zero, both on the surface.
    assert found == pytest.approx(outwards - inwards, abs=1e-12)


def test_a_sphere_and_a_torus_converge_to_their_formulas():
    points = np.random.default_rng(3).uniform(-5, 5, (3000, 3))
    radius = np.linalg.norm(points, axis=1)
    assert signed_distance(*sphere(4.0, 5), points) == pytest.approx(radius - 4, abs=4e-3)
    expected = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 3, points[:, 2]) - 1
    assert signed_distance(*torus(3.0, 1.0, 240, 120), points) == pytest.approx(expected, abs=2e-3)


def test_cavities_are_outside_overlaps_inside_and_turning_all_faces_changes_nothing():
    cavity = box((1, 1, 1), (1, 1, 1))
    hollow = together(box((3, 3, 3)), (cavity[0], cavity[1][:, ::-1]))
    points = [[1.5, 1.5, 1.5], [0.5, 1.5, 1.5], [-1.0, 1.5, 1.5]]
    assert signed_distance(*hollow, points).tolist() == [0.5, -0.5, 1.0]
    assert signed_distance(hollow[0], hollow[1][:, ::-1], points).tolist() == [0.5, -0.5, 1.0]
    both = together(box((2, 2, 2)), box((2, 2, 2), (1, 0, 0)))
    assert signed_distance(*both, [[1.5, 1.0, 1.0]]).tolist() == [-0.5]


def test_an_open_mesh_has_the_sign_of_the_estimate_and_the_distance_of_its_faces():
    vertices, faces = sphere(4.0, 4)
    points = np.random.default_rng(4).uniform(-5, 5, (5000, 3))
    holed = faces[np.random.default_rng(5).random(len(faces)) > 0.1]
    found = signed_distance(vertices, holed, points)
    assert np.array_equal(np.abs(found), nearest(vertices, holed, points)[0])
    assert np.array_equal(found < 0, inside(vertices, holed, points, open_ok=True))
    assert np.array_equal(signed_distance(vertices, holed[:, ::-1], points) < 0, found < 0)
    assert (np.sign(found) == np.sign(signed_distance(vertices, faces, points))).mean() > 0.995


def test_no_faces_and_points_that_are_not_finite():
    vertices, faces = box()
    assert signed_distance(vertices, faces[:0], [[0.5, 0.5, 0.5]]).tolist() == [math.inf]
    assert np.isnan(signed_distance(vertices, faces, [[math.nan, 0.5, 0.5]])).all()
    with pytest.raises(UsageError, match=r"points have the shape \(3,\)"):
        signed_distance(vertices, faces, [0.5, 0.5, 0.5])
