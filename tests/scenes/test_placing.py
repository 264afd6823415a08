"""Composing: one seed one scene, and every rule holds for the shapes themselves."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from shapes_source import ShapesSource

import msl_store as msl
from ingest.repack import ingest
from msl_store.geometry.inside import inside
from msl_store.optics.labelling import Labelling
from msl_store.scenes import Scene, compose, label_volume, masks, recompose
from msl_store.store import locate

if TYPE_CHECKING:
    from pathlib import Path

SEED = 4


def same(one: Scene, other: Scene) -> bool:
    arrays = ("vertices_um", "faces", "emitters_um", "rotation", "position_um")
    return len(one.placed) == len(other.placed) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one.placed, other.placed, strict=True)
        for name in arrays
    )


def test_the_same_seed_gives_the_same_bits_and_another_does_not(library: msl.Library) -> None:
    ids = library.ids[:5]
    one = compose(library, ids, field_um=8, seed=SEED)
    assert same(one, compose(library, ids, field_um=8, seed=SEED))
    assert one.digest == compose(library, ids, field_um=8, seed=SEED).digest
    other = compose(library, ids, field_um=8, seed=SEED + 1)
    assert other.digest != one.digest
    for a, b in zip(one.placed, other.placed, strict=True):
        assert not np.array_equal(a.rotation, b.rotation)
        assert not np.array_equal(a.position_um, b.position_um)


def test_a_scene_survives_json(library: msl.Library) -> None:
    one = compose(library, library.ids[[3, 0, 3]], field_um=(6, 9), seed=SEED, depth_um=4, overlap="forbid")
    again = recompose(library, json.loads(json.dumps(one.to_dict())))
    assert same(one, again)
    assert again.digest == one.digest
    values = one.to_dict()
    with pytest.raises(msl.IntegrityError, match="digest"):
        recompose(library, {**values, "digest": "other"})
    del values["seed"]
    with pytest.raises(msl.UsageError, match="seed"):
        recompose(library, values)


def test_a_labelled_scene_survives_json_and_keeps_its_poses(library: msl.Library) -> None:
    labelling = Labelling(where="volume", per_um3=300, on_frames=2, off_frames=3)
    one = compose(library, library.ids[:3], field_um=6, seed=SEED, labelling=labelling)
    assert same(one, recompose(library, json.loads(json.dumps(one.to_dict()))))
    plain = compose(library, library.ids[:3], field_um=6, seed=SEED)
    assert one.digest != plain.digest
    for item, other in zip(one.placed, plain.placed, strict=True):
        np.testing.assert_array_equal(item.vertices_um, other.vertices_um)
        assert inside(item.vertices_um, item.faces, item.emitters_um).all()
        assert len(item.emitters_um) > 10
    np.testing.assert_array_equal(one.brightness(range(5))[3:4], one.brightness(range(3, 4)))
    first = replace(one, placed=one.placed[1:2])
    start = len(one.placed[0].emitters_um)
    np.testing.assert_array_equal(one.brightness()[:, start : start + len(first.emitters_um)], first.brightness())


def test_whole_numbers_are_lengths_too(library: msl.Library) -> None:
    whole, real = (
        compose(library, library.ids[:2], field_um=f, depth_um=d, seed=SEED) for f, d in ((6, 4), (6.0, 4.0))
    )
    assert whole.digest == real.digest


def test_the_pose_takes_the_librarys_mesh_into_the_scene(library: msl.Library) -> None:
    scene = compose(library, library.ids[:3], field_um=8, seed=SEED)
    for item in scene.placed:
        mesh = library.mesh(item.id)
        raw = mesh.vertices_um()
        middle = mesh.box()[0] * 0.024
        np.testing.assert_allclose((raw - middle) @ item.rotation + item.position_um, item.vertices_um, atol=1e-12)
        np.testing.assert_allclose(item.rotation @ item.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(item.rotation) == pytest.approx(1)


def test_an_instance_placed_twice_has_two_poses_and_emitters_of_its_own(library: msl.Library) -> None:
    first, second = compose(library, [10, 10], field_um=8, seed=SEED).placed
    assert (first.copy, second.copy) == (0, 1)
    unturned = [(item.emitters_um - item.position_um) @ item.rotation.T for item in (first, second)]
    assert len(unturned[0]) == len(unturned[1])
    assert not np.allclose(*unturned)


def test_shapes_lie_inside_the_field_and_the_slab(library: msl.Library) -> None:
    scene = compose(library, library.ids, field_um=(7, 9), seed=SEED, depth_um=5)
    vertices = np.concatenate([item.vertices_um for item in scene.placed])
    assert (np.abs(vertices) <= np.array([9, 7, 5]) / 2 + 1e-9).all()
    flat = compose(library, library.ids[:3], field_um=8, seed=SEED)
    assert all(item.position_um[2] == 0 for item in flat.placed)


def test_the_border_may_cut_shapes_whose_middle_is_inside(library: msl.Library) -> None:
    scene = compose(library, list(library.ids) * 3, field_um=3, seed=SEED, border="cut")
    positions = np.array([item.position_um for item in scene.placed])
    assert (np.abs(positions[:, :2]) <= 1.5).all()
    vertices = np.concatenate([item.vertices_um for item in scene.placed])
    assert np.abs(vertices[:, :2]).max() > 1.5


@pytest.mark.parametrize("seed", range(3))
def test_forbidden_overlap_gives_disjoint_shapes(library: msl.Library, seed: int) -> None:
    crowded = {"field_um": 5.0, "depth_um": 4.0, "seed": seed}
    scene = compose(library, library.ids, overlap="forbid", **crowded)
    for one, other in itertools.permutations(scene.placed, 2):
        assert not inside(one.vertices_um, one.faces, other.vertices_um).any()
    free = compose(library, library.ids, **crowded)
    assert any(
        inside(one.vertices_um, one.faces, other.vertices_um).any()
        for one, other in itertools.permutations(free.placed, 2)
    )
    volume = label_volume(scene, 0.1)
    alone = sum(int((label_volume(_only(scene, place), 0.1, depth_um=20) > 0).sum()) for place in range(len(scene.ids)))
    assert int((label_volume(scene, 0.1, depth_um=20) > 0).sum()) == alone
    assert set(np.unique(volume)) == set(range(len(scene.ids) + 1))


def test_a_gap_is_kept(library: msl.Library) -> None:
    from scipy.spatial import KDTree

    scene = compose(library, library.ids[:6], field_um=8, depth_um=4, seed=SEED, overlap="forbid", gap_um=0.4)
    for one, other in itertools.combinations(scene.placed, 2):
        assert KDTree(one.vertices_um).query(other.vertices_um)[0].min() > 0.4


def test_forbidden_in_projection_gives_disjoint_masks(library: msl.Library) -> None:
    scene = compose(library, library.ids[:7], field_um=10, depth_um=6, seed=SEED, overlap="forbid_projected")
    stack = masks(scene, "conf2", closing_px=0).instance_mask.sel(rule="silhouette").values
    assert stack.sum(axis=0).max() == 1
    assert stack.any(axis=(1, 2)).all()


@pytest.mark.parametrize(("turning", "rows"), [("none", (0, 1, 2)), ("axial", (2,))])
def test_turning_is_restricted(library: msl.Library, turning: str, rows: tuple[int, ...]) -> None:
    scene = compose(library, library.ids[:4], field_um=9, seed=SEED, turning=turning)
    for item in scene.placed:
        np.testing.assert_allclose(item.rotation[list(rows)], np.eye(3)[list(rows)], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"field_um": 0}, "field_um 0"),
        ({"field_um": (1, 2, 3)}, "field_um"),
        ({"field_um": 1, "overlap": "forbid"}, "found no place.*enlarge field_um"),
        ({"field_um": 5, "overlap": "never"}, "allow, forbid"),
        ({"field_um": 5, "border": "wrap"}, "inside, cut"),
        ({"field_um": 5, "turning": "x"}, "free, axial, none"),
        ({"field_um": 5, "depth_um": -1}, "depth_um -1"),
        ({"field_um": 5, "gap_um": -1}, "gap_um -1"),
        ({"field_um": 5, "seed": -1}, "seed -1"),
        ({"field_um": 5, "labelling": "lipids"}, "'lipids' is unknown"),
        ({"field_um": 5, "ids": []}, "no instances"),
    ],
)
def test_bad_arguments_say_what_is_allowed(library: msl.Library, arguments: dict, message: str) -> None:
    with pytest.raises(msl.UsageError, match=message):
        compose(library, **{"ids": library.ids, **arguments})


def test_unknown_instances_and_such_without_a_mesh_are_named(library: msl.Library, tmp_path: Path) -> None:
    with pytest.raises(msl.MissingError, match="99"):
        compose(library, [99], field_um=5)
    attributes = {"title": "shapes", "license": "CC0-1.0"}
    ingest(ShapesSource(30), locate(tmp_path / "library.zarr"), attributes=attributes)
    everything = msl.open(tmp_path / "library.zarr").with_set_aside()
    with pytest.raises(msl.MissingError, match="instance 300 has no mesh"):
        compose(everything, [10, 300], field_um=5)


def _only(scene: Scene, place: int) -> Scene:
    return Scene((scene.placed[place],), scene.field_um, scene.seed, scene.source)
