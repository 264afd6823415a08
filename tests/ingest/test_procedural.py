from __future__ import annotations

import numpy as np
import pytest

from ingest.implicit import MOST_VOXELS, Bumps, Tube, mesh_of_tubes
from ingest.procedural import KINDS, instance, shape
from msl_store.errors import UsageError
from msl_store.geometry.inside import inside
from msl_store.geometry.morphometrics import measure
from msl_store.geometry.topology import topology


@pytest.fixture(scope="module")
def drawn():
    return {kind: [instance(kind, number, 3) for number in range(6)] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_one_watertight_body_of_its_topology(drawn, kind):
    for mesh in drawn[kind]:
        joined = topology(mesh.vertices, mesh.faces)
        assert joined.manifold
        assert joined.component_count == 1
        if kind == "network":
            assert joined.genus >= 1
        else:
            assert joined.genus == (1 if kind == "donut" else 0)
        assert measure(mesh.vertices, mesh.faces).volume_um3 > 0


@pytest.mark.parametrize("kind", KINDS)
def test_meshes_look_like_published_ones(drawn, kind):
    for mesh in drawn[kind]:
        assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float64, np.uint32)
        assert mesh.vertices.min() > 0
        assert ((mesh.vertices == np.rint(mesh.vertices)).sum(axis=1) >= 2).all()
        assert 1_000 < len(mesh.vertices) < 400_000


@pytest.mark.parametrize(
    ("kind", "longest_um", "volume_um3"),
    [
        ("rod", (0.9, 8.0), (0.1, 3.0)),
        ("dot", (0.3, 1.6), (0.03, 1.2)),
        ("donut", (0.6, 2.6), (0.05, 1.5)),
        ("network", (2.0, 10.0), (0.3, 5.0)),
        ("nanotunnel", (2.0, 8.0), (0.15, 3.0)),
        ("megamitochondrion", (1.2, 5.0), (1.0, 12.0)),
    ],
)
def test_sizes_are_those_of_mitochondria(drawn, kind, longest_um, volume_um3):
    for mesh in drawn[kind]:
        found = measure(mesh.vertices, mesh.faces)
        assert longest_um[0] < max(found.extent_um) < longest_um[1]
        assert volume_um3[0] < found.volume_um3 < volume_um3[1]


def test_kinds_differ_as_their_names_say(drawn):
    found = {kind: [measure(m.vertices, m.faces) for m in meshes] for kind, meshes in drawn.items()}
    assert all(m.elongation < 1.6 and m.sphericity > 0.85 for m in found["dot"])
    assert all(m.elongation > 2 and m.sphericity < 0.85 for m in found["rod"] + found["nanotunnel"])
    assert all(m.sphericity < 0.55 for m in found["network"])
    mean_volume = {kind: np.mean([m.volume_um3 for m in rows]) for kind, rows in found.items()}
    assert max(mean_volume, key=mean_volume.__getitem__) == "megamitochondrion"
    assert min(mean_volume, key=mean_volume.__getitem__) == "dot"


def test_a_nanotunnel_is_thin_between_two_bodies(drawn):
    for mesh in drawn["nanotunnel"]:
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        points = np.random.default_rng(0).uniform(low, high, (150_000, 3))
        within = points[inside(mesh.vertices, mesh.faces, points)]
        middle = within.mean(axis=0)
        axis = np.linalg.svd(within - middle, full_matrices=False)[2][0]
        share, _ = np.histogram((within - middle) @ axis, bins=12)
        # Along its longest direction a nanotunnel holds little in the middle and much on both sides of it.
        thinnest = share[2:-2].argmin() + 2
        assert share[thinnest] < 0.2 * min(share[:thinnest].max(), share[thinnest:].max())


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_id_decide_the_shape(kind):
    first, again, other_id, other_seed = (instance(kind, n, s) for n, s in ((4, 1), (4, 1), (5, 1), (4, 2)))
    assert np.array_equal(first.vertices, again.vertices)
    assert np.array_equal(first.faces, again.faces)
    assert len({len(m.vertices) for m in (first, other_id, other_seed)}) == 3


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match=r"no kind 'blob'; allowed are rod, dot, donut"):
        shape("blob", np.random.default_rng(0))


def test_a_straight_tube_has_the_volume_of_a_capsule():
    line = np.linspace([0.0, 0.0, 0.0], [40.0, 0.0, 30.0], 20)
    mesh = mesh_of_tubes([Tube(line, np.full(20, 8.0))], np.random.default_rng(0))
    volume = measure(mesh.vertices, mesh.faces, voxel_um=1.0).volume_um3
    assert volume == pytest.approx(np.pi * 64 * (50 + 32 / 3), rel=0.01)


def test_bumps_follow_the_generator_and_scale_with_the_radius():
    tube = Tube(np.linspace([0.0, 0.0, 0.0], [0.0, 0.0, 40.0], 20), np.full(20, 8.0))
    plain, uneven, again, other = (
        mesh_of_tubes([tube], np.random.default_rng(seed), bumps=bumps)
        for seed, bumps in ((0, []), (1, [Bumps(8.0, 0.1)]), (1, [Bumps(8.0, 0.1)]), (2, [Bumps(8.0, 0.1)]))
    )
    assert np.array_equal(uneven.vertices, again.vertices)
    assert not np.array_equal(uneven.vertices, other.vertices)
    rim = [np.linalg.norm((m.vertices - m.vertices.mean(axis=0))[:, :2], axis=1) for m in (plain, uneven)]
    assert np.percentile(rim[1], 99) > np.percentile(rim[0], 99) + 0.4


def test_tubes_that_span_too_much_are_refused_before_memory_is_taken():
    line = np.array([[0.0, 0.0, 0.0], [5000.0, 5000.0, 5000.0]])
    with pytest.raises(UsageError, match=rf"allowed are {MOST_VOXELS} in all"):
        mesh_of_tubes([Tube(line, np.full(2, 3.0))], np.random.default_rng(0))
