"""From a mask of voxels to a mesh and a skeleton to their measures: errors that shrink with the voxels."""

from __future__ import annotations

import numpy as np
import pytest
from voxel_solids import CAPSULE, FORK, LINKED, SPHERE, TORUS

from msl_store.geometry.meshing import mesh_of_mask
from msl_store.geometry.morphometrics import measure
from msl_store.geometry.skeleton import skeleton

# Voxels to the radius of the shape's tubes.
FINE = [(SPHERE, 4), (SPHERE, 8), (SPHERE, 16), (CAPSULE, 4), (CAPSULE, 8), (CAPSULE, 16)]
FINE += [(TORUS, 4), (TORUS, 8), (TORUS, 12), (LINKED, 4), (LINKED, 8)]
COARSE = [(SPHERE, 4), (SPHERE, 8), (CAPSULE, 4), (TORUS, 4), (LINKED, 4)]
NAMES = {id(SPHERE): "sphere", id(CAPSULE): "capsule", id(TORUS): "torus", id(LINKED): "linked tori", id(FORK): "fork"}


def named(cases):
    return [f"{NAMES[id(solid)]}-{radius}" for solid, radius in cases]


@pytest.mark.parametrize(("solid", "radius"), FINE, ids=named(FINE))
def test_the_fast_recipe_is_off_by_the_square_of_the_voxels_edge(solid, radius):
    mask = solid.mask(radius, np.random.default_rng(radius))
    mesh = mesh_of_mask(mask)
    found = measure(mesh.vertices, mesh.faces, voxel_um=1 / radius)
    # A blur of one voxel moves a surface inwards by half its curvature: a sphere loses 3 / r^2 of its volume.
    assert found.volume_um3 == pytest.approx(solid.volume, rel=4 / radius**2)
    # What is left of the steps between voxels adds some 0.3 % to the area at any size.
    assert found.area_um2 == pytest.approx(solid.area, rel=3 / radius**2 + 0.005)
    assert (found.genus, found.component_count, found.watertight) == (solid.genus, solid.pieces, True)
    assert found.euler_number == 2 * solid.pieces - 2 * solid.genus


@pytest.mark.parametrize(("solid", "radius"), COARSE, ids=named(COARSE))
def test_the_published_recipe_lies_half_a_voxel_inside(solid, radius):
    mesh = mesh_of_mask(solid.mask(radius, np.random.default_rng(radius)), smoothing="constrained")
    found = measure(mesh.vertices, mesh.faces, voxel_um=1 / radius)
    inset = solid.volume - solid.area / (2 * radius)
    assert found.volume_um3 == pytest.approx(inset, abs=2 / radius**2 * solid.volume)
    assert found.area_um2 == pytest.approx(solid.area, rel=1.5 / radius)
    assert (found.genus, found.component_count, found.watertight) == (solid.genus, solid.pieces, True)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("solid", "radius"), [*FINE, (FORK, 4), (FORK, 8)], ids=named([*FINE, (FORK, 4), (FORK, 8)]))
def test_a_skeleton_is_off_by_two_voxels_whatever_their_number(solid, radius, seed):
    found = skeleton(solid.mask(radius, np.random.default_rng(seed)), voxel_um=1 / radius)
    assert found.length_um == pytest.approx(solid.length, abs=2 * solid.pieces / radius + 0.007 * solid.length)
    assert found.tip_length_um == pytest.approx(solid.tips, abs=2 * solid.pieces / radius + 0.007 * solid.length)
    # A ball is centred on a voxel, which may be sqrt(3) / 2 of an edge off.
    assert found.mean_radius_um == pytest.approx(1, abs=0.9 / radius)
    assert found.max_radius_um >= found.mean_radius_um
    assert solid is FORK or found.max_radius_um == pytest.approx(1, abs=0.9 / radius)
    assert (found.branch_count, found.end_count) == (solid.branches, solid.ends)
    assert (found.loop_count, found.component_count) == (solid.genus, solid.pieces)
