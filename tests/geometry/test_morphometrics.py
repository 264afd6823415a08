from __future__ import annotations

import math

import numpy as np
import pytest
from solids import box, sphere, together, torus

from ingest.formats import read_off
from msl_store.errors import UsageError
from msl_store.geometry.meshing import mesh_of_field
from msl_store.geometry.morphometrics import measure, measure_solid
from msl_store.geometry.surface import sample_surface


def test_a_sphere_converges_with_the_square_of_its_edges():
    found = [measure(*sphere(1.0, level), voxel_um=1.0) for level in (2, 3, 4)]
    for name, limit in (("volume_um3", 4 / 3 * math.pi), ("area_um2", 4 * math.pi), ("sphericity", 1.0)):
        errors = [abs(getattr(m, name) - limit) for m in found]
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.15), name
        assert errors[2] < 0.01 * limit, name
    assert found[2].elongation == pytest.approx(1.0)
    assert found[2].extent_um == pytest.approx((2.0, 2.0, 2.0))
    assert (found[2].euler_number, found[2].genus, found[2].component_count, found[2].watertight) == (2, 0, 1, True)


def test_a_torus_and_linked_tori():
    single = torus(3.0, 1.0, 200, 100)
    found = measure(*single, voxel_um=1.0)
    assert found.volume_um3 == pytest.approx(2 * math.pi**2 * 3.0, rel=2e-3)
    assert found.area_um2 == pytest.approx(4 * math.pi**2 * 3.0, rel=2e-3)
    assert (found.euler_number, found.genus) == (0, 1)
    assert found.elongation == pytest.approx(1.0)
    linked = measure(*together(single, (single[0][:, [1, 2, 0]] + [3.0, 0, 0], single[1])), voxel_um=1.0)
    assert linked.volume_um3 == pytest.approx(2 * found.volume_um3)
    assert (linked.euler_number, linked.genus, linked.component_count, linked.watertight) == (0, 2, 2, True)


def test_a_capsule_on_a_voxel_grid():
    radius, length = 9.0, 40.0
    z, y, x = np.ogrid[:70, :24, :24]
    along = np.clip(z - 14.7, 0, length)
    mesh = mesh_of_field(radius - np.sqrt((z - 14.7 - along) ** 2 + (y - 11.6) ** 2 + (x - 11.3) ** 2))
    found = measure(mesh.vertices, mesh.faces, voxel_um=1.0)
    assert found.volume_um3 == pytest.approx(math.pi * radius**2 * (length + 4 / 3 * radius), rel=0.01)
    assert found.area_um2 == pytest.approx(2 * math.pi * radius * (length + 2 * radius), rel=0.01)
    assert found.extent_um == pytest.approx((length + 2 * radius, 2 * radius, 2 * radius), abs=0.1)
    # Second moments of a cylinder's side with two half spheres, worked out by hand.
    side, caps = 2 * math.pi * radius * length, 4 * math.pi * radius**2
    far = length**2 / 4 + length * radius / 2 + radius**2 / 3
    long = (side * length**2 / 12 + caps * far) / (side + caps)
    across = (side * radius**2 / 2 + caps * radius**2 / 3) / (side + caps)
    assert found.elongation == pytest.approx(math.sqrt(long / across), rel=0.01)
    assert (found.genus, found.watertight) == (0, True)


def test_a_box_is_exact_in_every_unit():
    found = measure(*box((1, 2, 3), (5, 5, 5)), voxel_um=0.5)
    assert found.volume_um3 == pytest.approx(6 / 8)
    assert found.area_um2 == pytest.approx(22 / 4)
    assert found.extent_um == pytest.approx((0.5, 1.0, 1.5))
    assert found.sphericity == pytest.approx(math.pi ** (1 / 3) * 36 ** (2 / 3) / 22)
    assert found.elongation == measure(*box((1, 2, 3))).elongation


def test_far_from_the_origin_and_turned_a_shape_measures_the_same():
    vertices, faces = torus(3.0, 1.0, 30, 15)
    turn = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    here = measure(vertices * [1, 2, 1], faces)
    there = measure(vertices * [1, 2, 1] @ turn + [1e5, -2e5, 3e5], faces)
    assert there.volume_um3 == pytest.approx(here.volume_um3, rel=1e-8)
    assert there.elongation == pytest.approx(here.elongation, rel=1e-8)
    assert there.area_um2 == pytest.approx(here.area_um2, rel=1e-8)


def test_turned_faces_give_a_negative_volume_and_nothing_else():
    vertices, faces = torus(3.0, 1.0, 30, 15)
    outwards, inwards = measure(vertices, faces), measure(vertices, faces[:, ::-1])
    assert inwards.volume_um3 == pytest.approx(-outwards.volume_um3)
    assert inwards.sphericity == pytest.approx(outwards.sphericity)
    assert (inwards.genus, inwards.watertight) == (1, True)


def test_an_open_mesh_has_area_and_elongation_but_no_volume():
    # A flat rectangle of 2 by 6: variances 4 / 12 and 36 / 12.
    found = measure([[0, 0, 0], [2, 0, 0], [2, 6, 0], [0, 6, 0]], [[0, 1, 2], [0, 2, 3]], voxel_um=1.0)
    assert (found.area_um2, found.extent_um) == (12.0, (2.0, 6.0, 0.0))
    assert found.elongation == pytest.approx(3.0)
    assert [math.isnan(v) for v in (found.volume_um3, found.sphericity, found.genus)] == [True, True, True]
    assert (found.euler_number, found.component_count, found.watertight) == (1, 1, False)


def test_a_triangle_has_the_moments_of_its_points():
    # A right triangle with sides a and b: variances a^2 / 18 and b^2 / 18, covariance -a b / 36.
    a, b = 2.0, 5.0
    small, large = np.linalg.eigvalsh([[a**2 / 18, -a * b / 36], [-a * b / 36, b**2 / 18]])
    found = measure([[0, 0, 0], [a, 0, 0], [0, b, 0]], [[0, 1, 2]])
    assert found.elongation == pytest.approx(math.sqrt(large / small))


def test_extreme_coordinates_are_measured_or_refused():
    vertices, faces = box()
    assert measure(vertices * 1e59, faces, voxel_um=1.0).volume_um3 == pytest.approx(1e177)
    with pytest.raises(UsageError, match=r"allowed are coordinates up to 1e\+60"):
        measure(vertices * 1e61, faces)


def test_what_has_no_area_has_no_elongation_and_no_sphericity():
    found = measure(np.arange(12.0).reshape(4, 3), [[0, 1, 2], [0, 2, 1]])
    assert found.area_um2 == pytest.approx(0.0, abs=1e-9)
    found = measure(np.zeros((3, 3)), [[0, 1, 2], [0, 2, 1]])
    assert (found.area_um2, found.volume_um3) == (0.0, 0.0)
    assert math.isnan(found.elongation)
    assert math.isnan(found.sphericity)


def test_unused_vertices_do_not_count():
    vertices, faces = box()
    assert measure(np.concatenate([vertices, [[99, 99, 99]]]), faces) == measure(vertices, faces)


def test_nothing_to_measure_and_impossible_voxels_are_refused():
    vertices, faces = box()
    with pytest.raises(UsageError, match=r"without faces has nothing to measure"):
        measure(vertices, faces[:0])
    for edge in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=r"a voxel's edge is .* allowed is a positive length"):
            measure(vertices, faces, voxel_um=edge)


def test_an_ellipsoid_has_its_own_axes_in_any_orientation():
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(3, 3)))[0]
    vertices, faces = sphere(1.0, 5)
    vertices = vertices * [5.0, 2.0, 3.0] @ turn + [40.0, -7.0, 3.0]
    faces = faces if np.linalg.det(turn) > 0 else faces[:, ::-1]
    found = measure_solid(vertices, faces, voxel_um=0.1)
    assert found.centroid_um == pytest.approx((4.0, -0.7, 0.3))
    assert found.axis_lengths_um == pytest.approx((1.0, 0.6, 0.4), rel=2e-3)
    assert np.abs(np.array(found.axes) @ turn.T) == pytest.approx(np.eye(3)[[0, 2, 1]], abs=1e-6)
    assert (np.array(found.axes)[np.arange(3), np.abs(found.axes).argmax(axis=1)] > 0).all()
    assert found.max_radius_um == pytest.approx(0.5)
    inwards = measure_solid(vertices, faces[:, ::-1], voxel_um=0.1)
    assert inwards.axes == pytest.approx(np.array(found.axes))
    assert inwards.axis_lengths_um == pytest.approx(found.axis_lengths_um)


def test_a_box_and_a_torus_have_the_moments_of_their_volume():
    found = measure_solid(*box((2, 3, 6), (-1, 0, 5)), voxel_um=1.0)
    assert found.centroid_um == pytest.approx((0.0, 1.5, 8.0))
    # The variance of a side s is s^2 / 12.
    assert found.axis_lengths_um == pytest.approx(tuple(2 * s * math.sqrt(5 / 12) for s in (6, 3, 2)))
    assert found.axes == pytest.approx(np.eye(3)[::-1])
    assert found.max_radius_um == pytest.approx(3.5)
    ring = measure_solid(*torus(3.0, 1.0, 200, 100), voxel_um=1.0)
    # A torus about axis 2: variances (4 R^2 + 3 r^2) / 8 twice, and r^2 / 4.
    assert ring.axis_lengths_um == pytest.approx(
        (2 * math.sqrt(5 * 39 / 8), 2 * math.sqrt(5 * 39 / 8), math.sqrt(5)), rel=1e-3
    )
    assert ring.axes[2] == pytest.approx((0.0, 0.0, 1.0), abs=1e-9)


def test_the_mean_radius_is_that_of_points_drawn_on_the_surface():
    ball = measure_solid(*sphere(2.0, 5, (9, 9, 9)), voxel_um=1.0)
    assert (ball.mean_radius_um, ball.max_radius_um) == pytest.approx((2.0, 2.0), rel=1e-3)
    vertices, faces = torus(3.0, 1.0, 40, 20)
    vertices = vertices * [1.0, 2.0, 0.5]
    points, _ = sample_surface(vertices, faces, 400_000, np.random.default_rng(2))
    found = measure_solid(vertices, faces, voxel_um=1.0)
    distances = np.linalg.norm(points - found.centroid_um, axis=1)
    assert found.mean_radius_um == pytest.approx(distances.mean(), abs=4 * distances.std() / math.sqrt(len(points)))


def test_solids_add_up_and_cavities_count_against_them():
    hollow = together(box((4, 4, 4)), (box((2, 2, 1), (1, 1, 2))[0], box()[1][:, ::-1]))
    found = measure_solid(*hollow, voxel_um=1.0)
    # The box without the cavity: 64 at 2 less 4 at 2.5.
    assert found.centroid_um == pytest.approx((2.0, 2.0, (128 - 10) / 60))


def test_an_open_or_flat_mesh_has_no_solid():
    vertices, faces = box()
    for solid in ((vertices, faces[1:]), (vertices * [1, 1, 0], faces)):
        found = measure_solid(*solid)
        assert np.isnan([*found.centroid_um, *found.axes[0], *found.axis_lengths_um]).all()
        assert math.isnan(found.mean_radius_um)
    with pytest.raises(UsageError, match=r"without faces has nothing to measure"):
        measure_solid(vertices, faces[:0])


def test_instance_1_is_watertight_and_of_known_size(instance_1):
    mesh = read_off((instance_1 / "raw_mesh.off").read_bytes())
    found = measure(mesh.vertices, mesh.faces)
    assert (found.euler_number, found.genus, found.component_count, found.watertight) == (2, 0, 1, True)
    # 7442.12 voxels and 2802.00 squared voxels, by trimesh.
    assert found.volume_um3 == pytest.approx(7442.123167069028 * 0.024**3)
    assert found.area_um2 == pytest.approx(2801.996116292146 * 0.024**2)
    with np.load(instance_1 / "occupancies.npz") as published:
        assert max(found.extent_um) == pytest.approx(float(published["scale"]) * 0.024)
