from __future__ import annotations

import numpy as np
import pytest
from solids import box, sphere

from ingest.formats import read_off
from msl_store.errors import UsageError
from msl_store.geometry.occupancy import PUBLISHED_INFLATION, occupied
from msl_store.geometry.sdf import signed_distance
from msl_store.shapes import normalize


def test_published_labels_are_those_of_a_mesh_inflated_by_a_fixed_part_of_its_size():
    vertices, faces = sphere(20.0, 5, centre=(7, 8, 9))
    loc, scale = np.array([7.0, 8.0, 9.0]), 40.0
    points = np.random.default_rng(0).uniform(-0.55, 0.55, (50_000, 3))
    exact = occupied(vertices, faces, points, loc=loc, scale=scale)
    published = occupied(vertices, faces, points, loc=loc, scale=scale, labels="published")
    distance = signed_distance(normalize(vertices, loc, scale), faces, points)
    clear = np.abs(distance - PUBLISHED_INFLATION) > 1e-12
    assert np.array_equal(exact, distance < 0)
    assert np.array_equal(published[clear], (distance < PUBLISHED_INFLATION)[clear])
    assert published.sum() > exact.sum()


def test_an_open_mesh_is_labelled_only_where_that_is_asked_for():
    vertices, faces = sphere(20.0, 3)
    points = np.random.default_rng(1).uniform(-0.55, 0.55, (2000, 3))
    whole = occupied(vertices, faces, points, loc=(0, 0, 0), scale=40.0, labels="published")
    with pytest.raises(UsageError, match=r"is open: "):
        occupied(vertices, faces[2:], points, loc=(0, 0, 0), scale=40.0)
    found = occupied(vertices, faces[2:], points, loc=(0, 0, 0), scale=40.0, labels="published", open_ok=True)
    assert (found == whole).mean() > 0.995


def test_unknown_labels_and_frames_without_size_are_refused():
    vertices, faces = box()
    with pytest.raises(UsageError, match=r"labels 'soft' are not known; allowed are 'exact' and 'published'"):
        occupied(vertices, faces, [[0, 0, 0]], loc=(0, 0, 0), scale=1.0, labels="soft")
    with pytest.raises(UsageError, match=r"the frame's scale is 0.0; allowed is a positive length"):
        occupied(vertices, faces, [[0, 0, 0]], loc=(0, 0, 0), scale=0.0)


def test_the_published_labels_of_instance_1_are_met(instance_1):
    mesh = read_off((instance_1 / "raw_mesh.off").read_bytes())
    with np.load(instance_1 / "occupancies.npz") as published:
        points, loc, scale = published["points"], published["loc"], float(published["scale"])
        labels = np.unpackbits(published["occupancies"]).astype(bool)
    found = occupied(mesh.vertices, mesh.faces, points, loc=loc, scale=scale, labels="published")
    assert (found == labels).mean() >= 0.9995
    assert (found & labels).sum() / (found | labels).sum() > 0.99
