from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from solids import box, sphere, together, torus

from msl_store.errors import UsageError
from msl_store.geometry.surface import area, face_normals, sample_surface, triangle_areas


def test_areas_of_a_box_and_a_sphere():
    assert area(*box((1, 2, 3))) == pytest.approx(22.0)
    assert triangle_areas(*box()) == pytest.approx(np.full(12, 0.5))
    errors = [4 * np.pi - area(*sphere(1.0, level)) for level in (2, 3, 4)]
    # Inscribed, so the area is less, and the error falls with the square of the edge.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)
    assert 0 < errors[2] < 0.05


def test_normals_have_length_one_and_point_outwards():
    vertices, faces = sphere(2.0, 3)
    normals = face_normals(vertices, faces)
    middle = vertices[faces].mean(axis=1)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1.0)
    assert (np.einsum("fi,fi->f", normals, middle) > 1.9).all()
    assert face_normals(vertices, [[0, 0, 1]]).tolist() == [[0, 0, 0]]


def test_every_point_lies_on_the_face_it_names():
    vertices, faces = torus(30.0, 10.0, 40, 25)
    points, face = sample_surface(vertices, faces, 20_000, np.random.default_rng(0))
    assert (points.dtype, points.shape, face.dtype, face.shape) == (np.float64, (20_000, 3), np.int64, (20_000,))
    a, b, c = (vertices[faces[face, k]] for k in range(3))
    # Barycentric coordinates by least squares: a combination of the corners, none negative.
    sides = np.stack([b - a, c - a], axis=2)
    weights = np.linalg.pinv(sides) @ (points - a)[:, :, np.newaxis]
    assert np.abs(sides @ weights - (points - a)[:, :, np.newaxis]).max() < 1e-10
    assert weights.min() > -1e-12
    assert weights.sum(axis=1).max() < 1 + 1e-12


def test_points_are_uniform_over_faces_and_within_them():
    # Faces of very different areas, one of them none.
    vertices, faces = together(box((1, 2, 4)), box((9, 0.5, 0.25)))
    faces = np.concatenate([faces[:5], [[0, 1, 1]], faces[5:]])
    points, face = sample_surface(vertices, faces, 200_000, np.random.default_rng(11))
    areas = triangle_areas(vertices, faces)
    drawn = np.bincount(face, minlength=len(faces))
    assert drawn[5] == 0
    expected = areas / areas.sum() * len(points)
    kept = areas > 0
    assert stats.chisquare(drawn[kept], expected[kept]).pvalue > 0.001
    # The midpoints of its sides cut a triangle into four of the same area; the largest weight tells which one.
    a, b, c = (vertices[faces[face, k]] for k in range(3))
    v, w = (np.linalg.pinv(np.stack([b - a, c - a], axis=2)) @ (points - a)[:, :, np.newaxis])[:, :, 0].T
    quarter = np.select([v > 0.5, w > 0.5, v + w < 0.5], [0, 1, 2], 3)
    assert stats.chisquare(np.bincount(quarter, minlength=4)).pvalue > 0.001
    # Draws are independent of their place in the sequence.
    table = np.stack([np.bincount(part, minlength=len(faces))[kept] for part in np.array_split(face, 10)])
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_the_generator_alone_decides_the_points():
    solid = sphere(1.0, 2)
    first, again, other = (sample_surface(*solid, 50, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_has_no_area_or_no_count_is_refused():
    vertices, faces = box()
    assert sample_surface(vertices, faces, 0, np.random.default_rng(0))[0].shape == (0, 3)
    with pytest.raises(UsageError, match=r"-1 points were asked for; allowed is 0 or more"):
        sample_surface(vertices, faces, -1, np.random.default_rng(0))
    for nothing in (faces[:0], faces[:, [0, 0, 0]]):
        with pytest.raises(UsageError, match=r"no area to draw points from"):
            sample_surface(vertices, nothing, 5, np.random.default_rng(0))
