from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from solids import box, sphere, staircase, together, torus

from msl_store.errors import UsageError
from msl_store.geometry.holes import rims
from msl_store.geometry.inside import inside
from msl_store.geometry.morphometrics import measure
from msl_store.geometry.repair import Repair, repaired
from msl_store.geometry.topology import topology


def soup(vertices, faces):
    """Every face with vertices of its own."""
    return vertices[faces].reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3)


def test_a_watertight_mesh_with_outward_faces_stays_as_it_is():
    vertices, faces = torus(3.0, 1.0, 30, 15)
    points, corners, repair = repaired(vertices, faces)
    assert np.array_equal(points, vertices)
    assert np.array_equal(corners, faces)
    assert repair == Repair()
    assert repair.watertight
    assert not repair.changed


def test_a_mesh_turned_inside_out_is_turned_back():
    vertices, faces = torus(3.0, 1.0, 30, 15)
    _, corners, repair = repaired(vertices, faces[:, ::-1])
    assert np.array_equal(corners, faces)
    assert repair == Repair(turned_face_count=len(faces))


def test_a_soup_of_faces_is_sewn_together_in_the_order_of_its_vertices():
    vertices, faces = sphere(2.0, 3)
    points, corners, repair = repaired(*soup(vertices, faces))
    assert repair == Repair(merged_vertex_count=3 * len(faces) - len(vertices))
    assert np.array_equal(points[corners], vertices[faces])
    assert topology(points, corners).manifold


@given(st.integers(0, 2**32), st.floats(0, 0.25), st.floats(0, 0.6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_torn_twisted_soup_becomes_the_solid_that_it_was(seed, missing, twisted, apart):
    rng = np.random.default_rng(seed)
    vertices, faces = torus(3.0, 1.0, 40, 20)
    torn = faces[rng.random(len(faces)) >= missing]
    torn = np.where(rng.random((len(torn), 1)) < twisted, torn[:, ::-1], torn)
    torn = np.concatenate([torn, torn[:20], torn[:10, [0, 0, 1]]])
    points, corners, repair = repaired(*soup(vertices, torn)) if apart else repaired(vertices, torn)
    found = topology(points, corners)
    assert repair.watertight == found.watertight
    if missing < 0.12:
        assert found.manifold
        assert found.genus == 1
        assert measure(points, corners).volume_um3 == pytest.approx(measure(vertices, faces).volume_um3, rel=0.01)
        assert repair.dropped_face_count >= 30
    again = repaired(points, corners)
    assert np.array_equal(again[1], corners) or not repair.watertight


@given(arrays.arrays(bool, st.tuples(*[st.integers(1, 4)] * 3)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_pieces_look_outwards_and_walls_of_cavities_into_them_also_where_they_touch(mask, turned):
    assume(mask.any())
    vertices, faces = staircase(mask)
    points, corners, repair = repaired(vertices, faces[:, ::-1] if turned else faces)
    centres = np.argwhere(np.ones_like(mask)) + 0.5
    assert np.array_equal(inside(points, corners, centres), mask.ravel())
    total = measure(points, corners, voxel_um=1.0).volume_um3
    assert total == pytest.approx(mask.sum())
    assert topology(points, corners).manifold == repair.watertight
    if not repair.watertight:
        # Only where voxels touch along an edge, and hang together elsewhere, does the edge stay.
        assert [problem.split(":")[0] for problem in repair.problems] == ["edges of three faces or more"]
        assert not topology(vertices, faces).watertight
        assert topology(vertices, faces).component_count < mask.sum()


def test_nested_shells_alternate():
    shells = [box((side,) * 3, (-side / 2,) * 3) for side in (8.0, 6.0, 4.0, 2.0)]
    points, corners, repair = repaired(*together(*shells))
    assert repair.turned_face_count == 24
    assert measure(points, corners, voxel_um=1.0).volume_um3 == pytest.approx(512 - 216 + 64 - 8)
    overlapping = together(box((2, 2, 2)), box((2, 2, 2), (1, 0.5, 0.5)))
    assert repaired(*overlapping)[2] == Repair()


def test_holes_are_filled_up_to_the_size_asked_for():
    vertices, faces = sphere(4.0, 4)
    cut = faces[vertices[faces][:, :, 2].max(axis=1) < 2.0]
    rim = rims(cut)
    assert len(rim) == 1
    points, corners, repair = repaired(vertices, cut)
    assert (repair.filled_hole_count, repair.added_face_count) == (1, len(rim[0]))
    assert topology(points, corners).manifold
    # A ball without a cap of height 2, but for the cut's coarse rim.
    assert measure(points, corners, voxel_um=1.0).volume_um3 == pytest.approx(4 / 3 * np.pi * 64 * 27 / 32, rel=0.05)
    _, corners, repair = repaired(vertices, cut, largest_hole=len(rim[0]) - 1)
    assert repair.problems == (
        f"edges of one face (holes too large to fill, or whose rim does not close): {len(rim[0])}",
    )
    assert len(corners) == len(cut)
    with pytest.raises(UsageError, match=r"holes of up to -1 edges were to be filled; allowed is 0 or more"):
        repaired(vertices, cut, largest_hole=-1)


def test_a_hole_of_three_edges_takes_one_face_and_no_vertex():
    vertices, faces = sphere(1.0, 2)
    points, corners, repair = repaired(vertices, faces[1:])
    assert np.array_equal(points, vertices)
    assert sorted(corners[-1].tolist()) == sorted(faces[0].tolist())
    assert (repair.filled_hole_count, repair.added_face_count) == (1, 1)


def test_holes_that_meet_at_a_vertex_are_told_apart():
    faces = sphere(1.0, 3)[1]
    around = np.flatnonzero((faces == 10).any(axis=1))
    opposite = [f for f in around[1:] if not set(faces[f]) & set(faces[around[0]]) - {10}]
    gone = [around[0], opposite[0]]
    assert sorted(len(rim) for rim in rims(np.delete(faces, gone, axis=0))) == [3, 3]


def test_a_patch_is_not_given_a_back_and_leftovers_are_dropped():
    vertices, faces = sphere(1.0, 3)
    for patch in (faces[:1], faces[:3]):
        _, corners, repair = repaired(vertices, patch)
        assert len(corners) == len(patch)
        assert not repair.watertight
    flake = together((vertices, faces), (vertices[faces[0]] + 5, np.array([[0, 1, 2]])))
    points, corners, repair = repaired(*flake)
    assert (len(points), len(corners)) == (len(vertices), len(faces))
    assert repair == Repair(dropped_face_count=1)


def test_walls_between_two_solids_go_and_faces_given_from_both_sides_stay_once():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]], float)
    upper = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    lower = np.array([[0, 1, 2], [0, 4, 1], [1, 4, 2], [0, 2, 4]])
    points, corners, repair = repaired(vertices, np.concatenate([upper, lower, upper[2:3]]))
    assert repair == Repair(dropped_face_count=3)
    assert measure(points, corners, voxel_um=1.0).volume_um3 == pytest.approx(1 / 3)
    assert topology(points, corners).manifold
    solid = sphere(1.0, 2)
    _, corners, repair = repaired(solid[0], np.concatenate([solid[1], solid[1][:, ::-1]]))
    assert repair.dropped_face_count == len(solid[1])
    assert repair.watertight


def test_a_surface_with_one_side_and_a_fin_are_told():
    count = 20
    angle = np.arange(count) * 2 * np.pi / count
    edge = [
        np.stack([(1 + s * np.cos(angle / 2)) * f(angle) for f in (np.cos, np.sin)] + [s * np.sin(angle / 2)], axis=1)
        for s in (-0.3, 0.3)
    ]
    vertices = np.stack(edge, axis=1).reshape(-1, 3)
    quads = np.arange(0, 2 * count, 2)[:, np.newaxis] + np.arange(4)
    quads[-1] = [2 * count - 2, 2 * count - 1, 1, 0]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [1, 3, 2]]])
    assert "edges of two faces that cannot be made to look the same way: 1" in repaired(vertices, faces)[2].problems
    vertices, faces = sphere(1.0, 2)
    fin = np.concatenate([faces, [[*faces[0, :2], len(vertices)]]])
    repair = repaired(np.concatenate([vertices, [[3, 3, 3]]]), fin)[2]
    assert "edges of three faces or more: 1" in repair.problems


def test_a_mesh_without_faces_cannot_be_repaired():
    vertices, faces = box()
    for nothing in (faces[:0], faces[:, [0, 0, 1]]):
        points, corners, repair = repaired(vertices, nothing)
        assert (points.shape, corners.shape) == ((0, 3), (0, 3))
        assert repair.problems == ("no faces are left",)
