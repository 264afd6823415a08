from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from solids import box, sphere, staircase, together, torus

from msl_store.geometry.topology import topology

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


@pytest.mark.parametrize(
    ("solid", "components", "genus"),
    [
        (box(), 1, 0),
        (sphere(1.0, 3), 1, 0),
        (torus(3.0, 1.0, 20, 10), 1, 1),
        (together(torus(3.0, 1.0, 20, 10), torus(3.0, 1.0, 7, 5)), 2, 2),
        (together(sphere(1.0, 0), torus(3.0, 1.0, 20, 10), box()), 3, 1),
    ],
)
def test_closed_surfaces_have_their_known_numbers(solid, components, genus):
    found = topology(*solid)
    assert (found.closed, found.watertight, found.manifold) == (True, True, True)
    assert (found.component_count, found.genus) == (components, genus)
    assert found.euler_number == 2 * components - 2 * genus
    assert (found.vertex_count, found.face_count, found.edge_count) == (
        len(solid[0]),
        len(solid[1]),
        len(solid[1]) * 3 / 2,
    )


@given(
    arrays.arrays(bool, st.tuples(*[st.integers(1, 4)] * 3)),
    st.integers(0, 5),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_mesh_is_counted_as_by_sets(mask, dropped, turned):
    assume(mask.any())
    vertices, faces = staircase(mask)
    faces = faces[dropped:].copy()
    if turned:
        faces[0] = faces[0, ::-1]
    directed = [(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)]
    forth = {edge: directed.count(edge) for edge in directed}
    found = topology(vertices, faces)
    assert found.vertex_count == len(np.unique(faces))
    assert found.edge_count == len({frozenset(edge) for edge in directed})
    assert found.face_count == len(faces)
    graph = coo_array((np.ones(len(directed)), np.array(directed).T), shape=(len(vertices),) * 2)
    unused = len(vertices) - len(np.unique(faces))
    assert found.component_count == connected_components(graph, directed=False)[0] - unused
    assert found.closed == all(forth.get((v, u), 0) == n for (u, v), n in forth.items())
    assert found.watertight == all(forth.get((v, u), 0) == n == 1 for (u, v), n in forth.items())
    assert found.manifold <= found.watertight <= found.closed


def test_pieces_that_share_an_edge_are_closed_but_not_watertight():
    shared = np.array([0, 1, 4, 5])[TETRAHEDRON]
    found = topology(np.zeros((6, 3)), np.concatenate([TETRAHEDRON, shared]))
    assert (found.closed, found.watertight, found.manifold) == (True, False, False)
    assert (found.vertex_count, found.edge_count, found.component_count) == (6, 11, 1)
    assert math.isnan(found.genus)


def test_pieces_that_share_a_vertex_are_watertight_but_no_manifold():
    found = topology(np.zeros((7, 3)), np.concatenate([TETRAHEDRON, np.array([0, 4, 5, 6])[TETRAHEDRON]]))
    assert (found.closed, found.watertight, found.manifold) == (True, True, False)
    assert (found.euler_number, found.component_count) == (3, 1)
    assert math.isnan(found.genus)


def test_a_face_given_twice_leaves_the_surface_open():
    found = topology(np.zeros((4, 3)), np.concatenate([TETRAHEDRON, TETRAHEDRON[:1]]))
    assert (found.closed, found.watertight, found.manifold) == (False, False, False)
    assert (found.edge_count, found.face_count) == (6, 5)


def test_faces_that_name_a_vertex_twice_and_unused_vertices_do_not_count():
    padded = np.concatenate([TETRAHEDRON + 1, [[1, 1, 2], [3, 3, 3], [0, 4, 0]]])
    assert topology(np.zeros((9, 3)), padded) == topology(np.zeros((4, 3)), TETRAHEDRON)


def test_a_vertex_of_very_many_faces_is_no_slower_than_others():
    count = 200_000
    rim = np.arange(1, count + 1)
    fan = np.stack([np.zeros(count, int), rim, np.roll(rim, -1)], axis=1)
    cap = np.stack([np.full(count, count + 1), np.roll(rim, -1), rim], axis=1)
    found = topology(np.zeros((count + 2, 3)), np.concatenate([fan, cap]))
    assert (found.genus, found.component_count, found.edge_count) == (0, 1, 3 * count)


def test_no_faces_are_an_empty_closed_surface():
    found = topology(np.zeros((3, 3)), np.empty((0, 3), int))
    assert (found.euler_number, found.component_count, found.genus) == (0, 0, 0)
