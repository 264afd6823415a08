from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from solids import box, sphere, together, torus

from msl_store.errors import UsageError
from msl_store.geometry.decimate import decimated
from msl_store.geometry.meshing import mesh_of_field
from msl_store.geometry.morphometrics import measure
from msl_store.geometry.nearest import nearest
from msl_store.geometry.topology import topology


def test_a_tenth_of_the_faces_lies_close_to_all_of_them():
    vertices, faces = torus(30.0, 10.0, 120, 60)
    points, corners = decimated(vertices, faces, ratio=0.1)
    assert (points.dtype, corners.dtype) == (np.float64, np.int64)
    assert len(corners) == pytest.approx(0.1 * len(faces), rel=0.01)
    assert len(np.unique(corners)) == len(points)
    before, after = measure(vertices, faces), measure(points, corners)
    assert after.volume_um3 == pytest.approx(before.volume_um3, rel=0.01)
    assert (after.genus, after.watertight) == (1, True)
    # Edges have a length of about 4.3, and the arc over such a chord of the tube rises to 4.3^2 / 80.
    assert nearest(vertices, faces, points)[0].max() < 0.23
    assert nearest(points, corners, vertices)[0].max() < 2 * 0.23


@pytest.mark.parametrize("target", [4, 12, 40, 300])
def test_a_closed_surface_stays_whole_whatever_is_asked_for(target):
    linked = torus(3.0, 1.0, 60, 30)
    solid = together(linked, (linked[0][:, [1, 2, 0]] + [3.0, 0, 0], linked[1]))
    points, corners = decimated(*solid, target_faces=target)
    before, after = topology(*solid), topology(points, corners)
    assert after.manifold
    assert (after.genus, after.component_count) == (before.genus, before.component_count)
    assert min(target, 28) <= len(corners) < 600  # a torus needs 14 faces


@given(arrays.arrays(np.int8, st.just((7, 7, 7)), elements=st.integers(0, 3)), st.floats(0.02, 0.9))
@settings(max_examples=60, deadline=None)
def test_the_most_tangled_surfaces_keep_their_topology(values, ratio):
    values[3, 3, 3] = 3
    mesh = mesh_of_field(values, iso=1.5)
    points, corners = decimated(mesh.vertices, mesh.faces, ratio=ratio)
    before, after = topology(mesh.vertices, mesh.faces), topology(points, corners)
    assert after.manifold
    assert (after.euler_number, after.component_count) == (before.euler_number, before.component_count)


def test_an_open_surface_is_decimated_too():
    vertices, faces = sphere(1.0, 4)
    _, corners = decimated(vertices, faces[5:], target_faces=200)
    assert len(corners) == pytest.approx(200, abs=2)


def test_a_mesh_with_no_more_faces_is_returned_as_it_is():
    vertices, faces = box()
    for options in ({"ratio": 1.0}, {"target_faces": 12}, {"target_faces": 10**9}):
        points, corners = decimated(vertices, faces, **options)
        assert np.array_equal(points, vertices)
        assert np.array_equal(corners, faces)


def test_impossible_numbers_are_refused():
    vertices, faces = box()
    for options in ({}, {"ratio": 0.5, "target_faces": 8}):
        with pytest.raises(UsageError, match=r"either target_faces or ratio is needed, and not both"):
            decimated(vertices, faces, **options)
    for ratio in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match=r"a share of .* allowed is more than 0 and at most 1"):
            decimated(vertices, faces, ratio=ratio)
    with pytest.raises(UsageError, match=r"3 faces were to be kept; allowed is 4 or more"):
        decimated(vertices, faces, target_faces=3)
