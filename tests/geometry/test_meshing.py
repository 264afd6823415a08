from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from msl_store.errors import UsageError
from msl_store.geometry.inside import inside
from msl_store.geometry.meshing import constrained_distance, mesh_of_field, mesh_of_mask
from msl_store.geometry.morphometrics import measure
from msl_store.geometry.topology import topology

volumes = st.tuples(*[st.integers(1, 6)] * 3)


def ball(radius: float, side: int) -> np.ndarray:
    z, y, x = np.ogrid[:side, :side, :side]
    middle = (side - 1) / 2
    return radius - np.sqrt((z - middle) ** 2 + (y - middle) ** 2 + (x - middle) ** 2)


def test_a_ball_is_found_where_it_is_with_faces_outwards():
    z, y, x = np.ogrid[:30, :34, :40]
    mesh = mesh_of_field(10 - np.sqrt((z - 14) ** 2 + (y - 16) ** 2 + (x - 20) ** 2), origin=(100, 0, -7))
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float64, np.uint32)
    assert mesh.vertices.min(axis=0) == pytest.approx([104, 6, 3], abs=1e-4)
    assert mesh.vertices.max(axis=0) == pytest.approx([124, 26, 23], abs=1e-4)
    found = measure(mesh.vertices, mesh.faces, voxel_um=1.0)
    assert found.volume_um3 == pytest.approx(4 / 3 * math.pi * 1000, rel=0.01)
    assert (found.genus, found.watertight) == (0, True)


def test_vertices_lie_on_voxel_centres_in_two_of_three_coordinates():
    mesh = mesh_of_field(ball(8.3, 24))
    assert ((mesh.vertices == np.rint(mesh.vertices)).sum(axis=1) >= 2).all()


@given(arrays.arrays(np.int8, volumes, elements=st.integers(0, 3)), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=100, deadline=None)
def test_any_values_give_a_watertight_mesh_also_on_ties_and_at_the_border(values, iso):
    assume(values.max() > iso)
    mesh = mesh_of_field(values, iso=iso)
    assert topology(mesh.vertices, mesh.faces).manifold
    centres = np.stack(np.meshgrid(*[np.arange(n) for n in values.shape], indexing="ij"), -1).reshape(-1, 3)
    found, expected = inside(mesh.vertices, mesh.faces, centres), values.ravel() > iso
    on_surface = values.ravel() == iso
    assert np.array_equal(found[~on_surface], expected[~on_surface])


@pytest.mark.parametrize("smoothing", ["gaussian", "constrained"])
def test_a_mask_is_smoothed_and_closed_where_it_touches_the_border(smoothing):
    mask = ball(9.0, 15) > 0
    mesh = mesh_of_mask(mask, smoothing=smoothing, origin=(50, 60, 70))
    found = measure(mesh.vertices, mesh.faces, voxel_um=1.0)
    assert found.watertight
    assert found.genus == 0
    inset = 0.5 if smoothing == "constrained" else 0.0
    assert found.volume_um3 == pytest.approx(mask.sum() - inset * found.area_um2, rel=0.06)
    assert (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2 == pytest.approx([57, 67, 77], abs=1e-3)


def test_smoothing_makes_a_staircase_round():
    mask = ball(10.0, 26) > 0
    stairs = mesh_of_field(mask, iso=0.5)
    rough = measure(stairs.vertices, stairs.faces).sphericity
    for smoothing in ("gaussian", "constrained"):
        smooth = mesh_of_mask(mask, smoothing=smoothing)
        assert rough < 0.95 < 0.985 < measure(smooth.vertices, smooth.faces).sphericity


def test_the_constrained_distance_keeps_every_voxel_on_its_side_and_bends_less():
    noise = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(20, 22, 24)), 2)
    mask = np.pad(noise > noise.std(), 5)
    start = np.where(mask, ndimage.distance_transform_edt(mask) - 0.5, 0.5 - ndimage.distance_transform_edt(~mask))
    found = constrained_distance(mask)
    assert (found[mask] >= 0).all()
    assert (found[~mask] <= 0).all()
    assert np.array_equal(found[np.abs(start) > 4], start[np.abs(start) > 4])

    def bending(distance: np.ndarray) -> float:
        total = 0.0
        for axis in range(3):
            second = np.diff(np.where(np.abs(start) <= 4, distance, np.nan), 2, axis=axis)
            total += float(np.nansum(second**2))
        return total

    assert bending(found) < bending(start)


def test_the_constrained_distance_is_that_of_pymcubes():
    mcubes = pytest.importorskip("mcubes")
    mask = np.pad(np.random.default_rng(4).random((6, 7, 8)) > 0.4, 6)
    assert constrained_distance(mask) == pytest.approx(mcubes.smooth_constrained(mask), abs=1e-12)


def test_volumes_without_a_surface_are_refused():
    for field in (np.zeros((3, 3, 3)), np.full((3, 3, 3), np.nan), np.zeros((0, 3, 3))):
        with pytest.raises(UsageError, match=r"no surface: values run from"):
            mesh_of_field(field)
    with pytest.raises(UsageError, match=r"shape \(3, 3\); allowed is a volume"):
        mesh_of_field(np.ones((3, 3)))
    with pytest.raises(UsageError, match=r"the mask is int64 of shape"):
        mesh_of_mask(np.ones((3, 3, 3), np.int64))
    with pytest.raises(UsageError, match=r"no voxel of the mask is inside"):
        mesh_of_mask(np.zeros((3, 3, 3), bool))
    with pytest.raises(UsageError, match=r"smoothing 'median' is not known"):
        mesh_of_mask(np.ones((3, 3, 3), bool), smoothing="median")
    with pytest.raises(UsageError, match=r"no surface"):
        mesh_of_mask(np.ones((1, 1, 1), bool))
