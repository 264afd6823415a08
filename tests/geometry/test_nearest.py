from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from solids import box, exact_squared_distance, sphere, torus

from msl_store.errors import UsageError
from msl_store.geometry.boxtree import box_tree
from msl_store.geometry.nearest import nearest

coordinates = st.floats(-4, 4).map(lambda x: round(x, 6)) | st.integers(-4, 4).map(float)


@given(
    arrays.arrays(float, st.tuples(st.integers(3, 8), st.just(3)), elements=coordinates),
    st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=20),
    arrays.arrays(float, (5, 3), elements=coordinates),
)
@settings(max_examples=200, deadline=None)
def test_the_distance_is_the_least_of_all_faces_also_of_flat_turned_and_repeated_ones(vertices, picked, points):
    faces = np.array(picked) % len(vertices)
    distance, face = nearest(vertices, faces, points)
    expected = [exact_squared_distance(vertices, faces, point) for point in points]
    assert distance == pytest.approx([math.sqrt(d) for d in expected], rel=1e-9, abs=1e-12)
    own = [exact_squared_distance(vertices, faces[f : f + 1], p) for f, p in zip(face, points, strict=True)]
    assert [math.sqrt(d) for d in own] == pytest.approx([math.sqrt(d) for d in expected], rel=1e-9, abs=1e-12)


def brute_force(vertices, faces, points):
    """Distances by Ericson, Real-Time Collision Detection (2005), section 5.1.5, of every point from every face."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    best = np.full(len(points), np.inf)
    for n, p in enumerate(points):
        candidates = []
        for start, end in ((a, b), (b, c), (c, a)):
            along = end - start
            t = np.clip(np.einsum("ij,ij->i", p - start, along) / np.einsum("ij,ij->i", along, along), 0, 1)
            candidates.append(np.linalg.norm(p - start - t[:, np.newaxis] * along, axis=1))
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        sides = [np.einsum("ij,ij->i", normal, np.cross(e - s, p - s)) for s, e in ((a, b), (b, c), (c, a))]
        above = (np.array(sides) >= 0).all(axis=0)
        candidates.append(np.where(above, np.abs(np.einsum("ij,ij->i", normal, p - a)), np.inf))
        best[n] = np.min(candidates)
    return best


@pytest.mark.parametrize("level", [0, 1, 2, 4])
@pytest.mark.parametrize("squeeze", [(1, 1, 1), (1, 0.02, 3)])
def test_trees_of_any_depth_find_what_brute_force_finds(level, squeeze):
    vertices, faces = sphere(5.0, level)
    vertices = vertices * squeeze + [100.0, -50.0, 20.0]
    rng = np.random.default_rng(level)
    points = vertices.mean(axis=0) + rng.normal(size=(150, 3)) * [4, 4, 9]
    points[:20] = vertices[rng.integers(0, len(vertices), 20)]
    distance, face = nearest(vertices, faces, points)
    assert distance == pytest.approx(brute_force(vertices, faces, points), abs=1e-11)
    for n in range(0, 150, 10):
        assert brute_force(vertices, faces[face[n] : face[n] + 1], points[n : n + 1])[0] == pytest.approx(
            distance[n], abs=1e-11
        )


def test_an_analytic_torus_is_as_far_as_its_formula_says():
    ring, tube = 3.0, 1.0
    points = np.random.default_rng(0).uniform(-5, 5, (4000, 3))
    expected = np.abs(np.hypot(np.hypot(points[:, 0], points[:, 1]) - ring, points[:, 2]) - tube)
    errors = []
    for around, across in ((60, 30), (120, 60), (240, 120)):
        distance, _ = nearest(*torus(ring, tube, around, across), points)
        errors.append(np.abs(distance - expected).max())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.2)
    assert errors[2] < 2e-3


def test_the_order_of_points_and_faces_makes_no_difference():
    vertices, faces = torus(3.0, 1.0, 30, 15)
    rng = np.random.default_rng(1)
    points = rng.uniform(-5, 5, (1000, 3))
    distance, _ = nearest(vertices, faces, points)
    shuffled, turned = rng.permutation(len(points)), rng.permutation(len(faces))
    assert np.array_equal(nearest(vertices, faces, points[shuffled])[0], distance[shuffled])
    assert nearest(vertices, faces[turned][:, ::-1], points)[0] == pytest.approx(distance, abs=1e-14)
    alone = [nearest(vertices, faces, points[n : n + 1])[0][0] for n in range(30)]
    assert np.array_equal(alone, distance[:30])


def test_nothing_farther_than_asked_for_is_found():
    vertices, faces = sphere(5.0, 4)
    points = np.random.default_rng(2).uniform(-8, 8, (3000, 3))
    distance, _ = nearest(vertices, faces, points)
    near, named = nearest(vertices, faces, points, within=0.5)
    close = distance < 0.5
    assert 0 < close.sum() < 3000
    assert np.array_equal(near[close], distance[close])
    assert np.isinf(near[~close]).all()
    assert (named[~close] == -1).all()
    assert (named[close] >= 0).all()


def test_points_that_are_not_finite_and_meshes_without_faces_have_no_distance():
    vertices, faces = box()
    distance, face = nearest(vertices, faces, [[np.nan, 0, 0], [0.5, 0.5, 3.0], [np.inf, 0, 0]])
    assert np.isnan(distance).tolist() == [True, False, True]
    assert (distance[1], face[0], face[2]) == (2.0, -1, -1)
    assert face[1] >= 0
    distance, face = nearest(vertices, faces[:0], [[0.0, 0.0, 0.0]])
    assert (distance[0], face[0]) == (math.inf, -1)
    assert nearest(vertices, faces, np.empty((0, 3)))[0].shape == (0,)
    assert nearest(vertices, faces, [[1e300, 0, 0]])[0][0] == math.inf
    for within in (-1.0, math.nan):
        with pytest.raises(UsageError, match=r"distances within .* were asked for; allowed is 0 or more"):
            nearest(vertices, faces, [[0.0, 0.0, 0.0]], within=within)


@given(st.integers(1, 700))
@settings(max_examples=40, deadline=None)
def test_a_tree_holds_every_face_once(count):
    vertices, faces = sphere(1.0, 3)
    rng = np.random.default_rng(count)
    tree = box_tree(vertices, faces[rng.integers(0, len(faces), count)].astype(np.int64))
    assert sorted(tree.face.tolist()) == list(range(count))
    packets = -(-count // 16)
    reached, level = set(), [packets + len(tree.child) - 1]
    while level:
        node = level.pop()
        if node < packets:
            assert node not in reached
            reached.add(node)
        else:
            half = tree.boxes.reshape(-1, 15, 16)[node - packets, 12]
            level += [int(tree.child[node - packets]) + lane for lane in range(16) if half[lane] >= 0]
    assert reached == set(range(packets))
