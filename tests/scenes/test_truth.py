"""Masks and label volumes agree with geometry, exactly where it is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from handmade import microscope, scene_of
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from solids import box, sphere, staircase

import msl_store as msl
from msl_store.scenes import compose, label_volume, masks, poses

VOXEL = 0.25
"""A power of two: positions stay exact."""


@settings(max_examples=30, deadline=None)
@given(arrays(np.bool_, (4, 5, 6)))
def test_the_silhouette_is_the_projection_of_the_label_volume(solid: np.ndarray) -> None:
    if not solid.any():
        solid[0, 0, 0] = True
    # axis 0 runs along columns; the solid's voxels are those of the volume
    mesh = staircase(solid, VOXEL, np.array([-4, -5, -6]) / 2 * VOXEL)
    scene = scene_of(mesh, field_um=(7 * VOXEL, 6 * VOXEL))
    volume = label_volume(scene, VOXEL, depth_um=8 * VOXEL)
    np.testing.assert_array_equal(volume.values[1:7, 1:6, 1:5] > 0, solid.transpose(2, 1, 0))
    assert volume.values.sum() == solid.sum()
    mask = masks(scene, microscope(VOXEL)).semantic.sel(rule="silhouette")
    np.testing.assert_array_equal(mask.values, (volume.values > 0).any(axis=0))
    np.testing.assert_allclose(mask.x, volume.x)


def test_the_silhouette_of_real_shapes_bounds_their_label_volumes(library: msl.Library) -> None:
    scene = compose(library, library.ids[:4], field_um=6, seed=1, depth_um=3)
    optics = microscope(0.1)
    volume = label_volume(scene, (0.02, 0.1, 0.1))
    silhouettes = masks(scene, optics).instance_mask.sel(rule="silhouette").values
    for number, silhouette in enumerate(silhouettes, start=1):
        alone = label_volume(replace(scene, placed=(scene.placed[number - 1],)), (0.02, 0.1, 0.1), depth_um=4.0)
        projected = (alone.values > 0).any(axis=0)
        assert not (projected & ~silhouette).any()
        # the line through a missed pixel leaves the shape within one voxel of depth
        assert (silhouette & ~projected).sum() < 0.03 * silhouette.sum()
    assert volume.dtype == np.uint16


@pytest.mark.parametrize("radius", [0.5, 1.1])
def test_masks_of_a_sphere_have_the_analytic_area(radius: float) -> None:
    pixel = 0.02
    scene = scene_of(sphere(radius, 6, (0.1, -0.2, 0.3)), field_um=(3, 3), emitters=200_000)
    both = masks(scene, microscope(pixel))
    area = both.semantic.sum(("y", "x")) * pixel**2
    around = 2 * np.pi * radius * pixel
    # a lattice in a disc deviates by far less than the pixels on its border
    assert float(area.sel(rule="silhouette")) == pytest.approx(np.pi * radius**2, abs=0.1 * around)
    # pixels that are covered in part count: half a pixel more, on average over directions 2/pi
    assert float(area.sel(rule="emitters")) == pytest.approx(np.pi * radius**2 + 2 / np.pi * around, abs=0.3 * around)
    assert (both.semantic.sel(rule="silhouette") & ~both.semantic.sel(rule="emitters")).sum() < 0.002 * area[
        0
    ] / pixel**2


def test_the_volume_of_a_sphere() -> None:
    volume = label_volume(scene_of(sphere(0.8, 5), field_um=(2, 2)), 0.04)
    assert float((volume > 0).sum()) * 0.04**3 == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.01)


def test_overlapping_instances_keep_their_own_masks_and_the_near_one_gets_the_label() -> None:
    near, far = box((1, 1, 0.5), (-0.5, -0.5, -1)), box((2, 0.5, 0.5), (-1, -0.25, 1))
    for order in ((near, far), (far, near)):
        both = masks(scene_of(*order, field_um=(2.5, 2.5)), microscope(0.05)).sel(rule="silhouette")
        assert both.instance_mask.sum(("y", "x")).values.tolist() == [400, 400]
        labels = both.labels.sel(x=0.025, y=0.025, method="nearest")
        assert int(labels) == 1 + [solid is near for solid in order].index(True)
        assert int((both.labels > 0).sum()) == int(both.semantic.sum()) == 400 + 400 - 200


def test_emitters_are_projected_into_pixels_and_gaps_closed() -> None:
    scene = scene_of(box(), field_um=(1, 1))
    emitters = np.array([[-0.45, -0.05, 5], [-0.25, -0.05, -5], [0.45, 0.45, 0], [0.55, 0, 0]])
    scene = replace(scene, placed=(replace(scene.placed[0], emitters_um=emitters),))
    raw = masks(scene, microscope(0.1), closing_px=0).semantic.sel(rule="emitters").values
    assert np.argwhere(raw).tolist() == [[4, 0], [4, 2], [9, 9]]
    closed = masks(scene, microscope(0.1), closing_px=1).semantic.sel(rule="emitters").values
    assert np.argwhere(closed).tolist() == [[4, 0], [4, 1], [4, 2], [9, 9]]
    with pytest.raises(msl.UsageError, match="closing_px"):
        masks(scene, microscope(0.1), closing_px=-1)


def test_instances_outside_the_field_have_empty_masks() -> None:
    scene = scene_of(box((1, 1, 1), (5, 5, 0)), box(), field_um=(2, 2))
    both = masks(scene, microscope(0.1))
    assert not both.instance_mask.sel(instance=0).any()
    assert both.label.values.tolist() == [1, 2]
    assert set(np.unique(label_volume(scene, 0.1))) == {0, 2}


def test_poses_are_those_of_the_instances(library: msl.Library) -> None:
    scene = compose(library, library.ids[:3], field_um=6, seed=1)
    table = poses(scene)
    np.testing.assert_array_equal(table.id, scene.ids)
    np.testing.assert_array_equal(table.rotation[1], scene.placed[1].rotation)
    assert table.position_um.attrs["units"] == "um"


def test_volumes_refuse_open_meshes_and_absurd_sizes() -> None:
    vertices, faces = box()
    with pytest.raises(msl.UsageError, match=r"instance 0: .* is open"):
        label_volume(scene_of((vertices, faces[1:]), field_um=(3, 3)), 0.1)
    scene = scene_of(box(), field_um=(3, 3))
    with pytest.raises(msl.UsageError, match="take larger"):
        label_volume(scene, 1e-4)
    with pytest.raises(msl.UsageError, match="voxel_um"):
        label_volume(scene, (0.1, 0.1))
