"""Motion: frame 0 is at rest, drift is exact, paths are smooth, space does not fold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from handmade import scene_of
from solids import box, sphere

import msl_store as msl
from msl_store.scenes import Motion, Scene, compose, moved
from msl_store.scenes.motion import displacement

EVERYTHING = Motion(
    drift_um=(0.1, 0.0, -0.02),
    spin_deg=5,
    wander_um=0.3,
    tumble_deg=20,
    deformation_um=0.07,
    deformation_length_um=1.5,
    seed=3,
)


def two_spheres() -> Scene:
    return scene_of(sphere(0.5, 3, (1, 0, 0)), sphere(0.3, 3, (-1, 0.5, 0.2)), field_um=(4, 4))


def test_frame_0_is_the_scene_at_rest_to_the_bit() -> None:
    scene = two_spheres()
    assert moved(scene, EVERYTHING, 0) is scene


def test_a_frame_needs_none_before_it_and_comes_out_the_same() -> None:
    scene = two_spheres()
    one, other = moved(scene, EVERYTHING, 7), moved(scene, Motion.from_dict(EVERYTHING.to_dict()), 7)
    assert one.digest == other.digest
    assert one.origin == scene.origin
    for a, b in zip(one.placed, other.placed, strict=True):
        np.testing.assert_array_equal(a.vertices_um, b.vertices_um)
        np.testing.assert_array_equal(a.emitters_um, b.emitters_um)
    assert one.digest != moved(scene, EVERYTHING, 8).digest
    with pytest.raises(msl.UsageError, match="frame 7"):
        moved(one, EVERYTHING, 1)
    with pytest.raises(msl.UsageError, match="at rest"):
        one.to_dict()


def test_drift_moves_the_centroids_by_the_stated_um() -> None:
    scene = two_spheres()
    after = moved(scene, Motion(drift_um=(0.03, -0.02, 0.01)), 12)
    for before, now in zip(scene.placed, after.placed, strict=True):
        for name in ("vertices_um", "emitters_um"):
            shift = getattr(now, name).mean(axis=0) - getattr(before, name).mean(axis=0)
            np.testing.assert_allclose(shift, [0.36, -0.24, 0.12], atol=1e-12)


def test_spin_turns_every_shape_about_its_middle_right_handed() -> None:
    scene = two_spheres()
    after = moved(scene, Motion(spin_deg=30), 3)
    for before, now in zip(scene.placed, after.placed, strict=True):
        x, y, z = (before.vertices_um - before.position_um).T
        np.testing.assert_allclose(now.vertices_um - before.position_um, np.stack([-y, x, z], axis=1), atol=1e-12)
        np.testing.assert_allclose(now.rotation, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-12)


def test_without_deformation_the_pose_takes_the_mesh_there() -> None:
    scene = two_spheres()
    rigid = Motion(spin_deg=7, spin_axis=(1, 1, 0), wander_um=0.5, tumble_deg=30, drift_um=(0.1, 0, 0))
    for before, now in zip(scene.placed, moved(scene, rigid, 5).placed, strict=True):
        own = (before.vertices_um - before.position_um) @ before.rotation.T
        np.testing.assert_allclose(own @ now.rotation + now.position_um, now.vertices_um, atol=1e-12)


def test_shapes_wander_apart_by_the_stated_amount_and_smoothly() -> None:
    scene = scene_of(*(box((0.1, 0.1, 0.1), (place / 10, 0, 0)) for place in range(300)), field_um=(40, 40), emitters=1)
    motion = Motion(wander_um=0.5, correlation_frames=20)
    start = np.array([item.position_um for item in scene.placed])
    steps = np.array([[item.position_um for item in moved(scene, motion, f).placed] for f in (0, 1, 200)]) - start
    # far in time the two ends are independent: variance 2
    assert steps[2].std() == pytest.approx(0.5 * np.sqrt(2), rel=0.1)
    # a squared exponential's steps: its slope has the standard deviation 0.5 / 20
    assert steps[1].std() == pytest.approx(0.5 / 20, rel=0.1)
    assert abs(np.corrcoef(steps[2][:-1, 0], steps[2][1:, 0])[0, 1]) < 0.25


def test_the_greatest_deformation_does_not_fold_space() -> None:
    points, step, far = np.random.default_rng(0).uniform(-10, 10, (2000, 3)), 1e-3, []
    for seed in range(12):
        motion = Motion(deformation_um=0.1, deformation_length_um=2.0, seed=seed)
        moves = [(displacement(motion, points + side * step * e, 400) for side in (1, -1)) for e in np.eye(3)]
        slope = np.stack([(after - before) / (2 * step) for after, before in moves], axis=1)
        # a map whose displacement has slopes below 1 is injective
        assert np.linalg.norm(slope, ord=2, axis=(1, 2)).max() < 1
        far.append(displacement(motion, points, 400))
    # 40 correlation times apart, start and end are independent: variance 2
    assert np.std(far) == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


def test_deformation_keeps_disjoint_shapes_disjoint(library: msl.Library) -> None:
    from msl_store.geometry.inside import inside

    scene = compose(library, library.ids[:8], field_um=5, depth_um=4, seed=1, overlap="forbid")
    after = moved(scene, Motion(deformation_um=0.15, deformation_length_um=3, drift_um=(0.1, 0, 0)), 30)
    moves = [now.vertices_um - before.vertices_um for before, now in zip(scene.placed, after.placed, strict=True)]
    assert min(np.ptp(move, axis=0).max() for move in moves) > 0.01
    for one, other in itertools.permutations(after.placed, 2):
        assert not inside(one.vertices_um, one.faces, other.vertices_um).any()


def test_emitters_stay_on_the_surface(library: msl.Library) -> None:
    from scipy.spatial import KDTree

    scene = compose(library, library.ids[:1], field_um=5, seed=1)
    reach = KDTree(scene.placed[0].vertices_um).query(scene.placed[0].emitters_um)[0].max()
    (item,) = moved(scene, EVERYTHING, 9).placed
    assert KDTree(item.vertices_um).query(item.emitters_um)[0].max() < 1.5 * reach


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wander_um": -1}, "wander_um"),
        ({"drift_um": (1, 2)}, "drift_um"),
        ({"spin_axis": (0, 0, 0)}, "spin_axis"),
        ({"deformation_um": 0.3}, "fold"),
        ({"correlation_frames": 0}, "correlation_frames"),
        ({"spin_deg": float("nan")}, "spin_deg"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 0.5}, "seed 0.5"),
    ],
)
def test_bad_motions_say_what_is_allowed(arguments: dict, message: str) -> None:
    with pytest.raises(msl.UsageError, match=message):
        Motion(**arguments)
