"""Meshes of a segmentation's objects: of each one's own voxels, dilated, filled and decimated as asked."""

from __future__ import annotations

import numpy as np
import pytest
from em_made import made, plan
from held_volume import HeldVolume
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.em.meshing import Meshing, Recipe
from msl_store.store import locate

pytest.importorskip("cc3d")
pytest.importorskip("fill_voids")


def test_a_mesh_does_not_depend_on_its_neighbours_or_its_place(tmp_path):
    alone = np.zeros((50, 50, 50), bool)
    alone[8:24, 8:24, 8:20] = True
    shifted = np.zeros((70, 60, 90), bool)
    shifted[20:36, 30:46, 50:62] = True
    shifted[20:36, 30:46, 64:80] = True
    _, one = made(HeldVolume(alone), locate(tmp_path / "one"), plan())
    _, two = made(HeldVolume(shifted), locate(tmp_path / "two"), plan())
    np.testing.assert_array_equal(one.mesh(1).vertices, two.mesh(1).vertices)
    np.testing.assert_array_equal(one.mesh(1).faces, two.mesh(1).faces)
    origins = [[float(lib.table[f"origin_{a}_um"][0]) for a in range(3)] for lib in (one, two)]
    np.testing.assert_allclose(np.subtract(*origins[::-1]), np.array([12, 22, 42]) * 0.024, atol=1e-12)


def test_decimation_keeps_the_shape_with_fewer_faces(tmp_path):
    values = np.zeros((40, 40, 40), bool)
    values[8:30, 8:30, 8:24] = True
    _, one = made(HeldVolume(values), locate(tmp_path / "one"), plan())
    _, few = made(HeldVolume(values), locate(tmp_path / "few"), plan(recipe=Recipe(decimate=0.25)))
    assert len(few.mesh(1).faces) == pytest.approx(len(one.mesh(1).faces) / 4, rel=0.1)
    assert float(few.table.volume_um3[0]) == pytest.approx(float(one.table.volume_um3[0]), rel=0.01)
    assert few.table.watertight.values.all()


def test_what_cannot_be_meshed_is_set_aside_with_its_reason(tmp_path):
    values = np.zeros((60, 60, 60), bool)
    values[5:25, 5:25, 5:25] = True
    values[40, 2:58, 2:58] = True  # one voxel thick: the fast recipe smooths it away
    values[45:60, 3:55, 3:55] = True  # larger than allowed
    report, library = made(
        HeldVolume(values), locate(tmp_path / "lib.zarr"), plan(recipe=Recipe(largest=30_000), dust=100)
    )
    assert (report.complete, report.set_aside) == (1, 2)
    assert library.ids.tolist() == [1]
    reasons = {finding["instance"]: finding for finding in library.findings}
    assert "no surface" in reasons[2]["reason"]
    assert "its crop has 59584 voxels, and 30000 are allowed" in reasons[3]["reason"]
    assert reasons[3]["place"] == "held: object 3"
    assert library.with_set_aside().table.voxel_count.values.tolist() == [8000, 56 * 56, 15 * 52 * 52]


def test_dilation_is_by_a_centred_ball_and_voids_are_filled(tmp_path):
    grid = np.stack(np.meshgrid(*[np.arange(50.0)] * 3, indexing="ij"), axis=-1)
    from_middle = np.linalg.norm(grid - 24.5, axis=-1)
    values = (from_middle < 12) & (from_middle > 6)
    volumes = {}
    for name, recipe in {
        "hollow": Recipe(fill=False),
        "full": Recipe(),
        "grown": Recipe(dilate=3.0),
    }.items():
        _, library = made(HeldVolume(values), locate(tmp_path / name), plan(recipe=recipe))
        volumes[name] = float(library.table.volume_um3[0]) / 0.024**3
        middle = library.mesh(1).box()[0] - np.array([float(library.mesh(1).box()[1]) / 2] * 3)
        assert np.ptp(middle) < 1e-3
    ball = 4 / 3 * np.pi
    assert volumes["full"] - volumes["hollow"] == pytest.approx(ball * 6**3, rel=0.1)
    assert volumes["full"] == pytest.approx(ball * 12**3, rel=0.03)
    assert volumes["grown"] == pytest.approx(ball * 15**3, rel=0.06)


MASKS = st.builds(
    lambda shape, seed, share: np.random.default_rng(seed).random(shape) < share,
    st.tuples(*[st.integers(1, 7)] * 3),
    st.integers(0, 2**32),
    st.sampled_from([0.01, 0.05, 0.3]),
)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.floats(0.5, 4), st.tuples(*[st.sampled_from([1.0, 1.5, 3.0])] * 3))
def test_dilation_reaches_what_is_no_farther_than_the_radius(mask, radius, edges):
    meshing = Meshing(Recipe(dilate=radius, fill=False), edges)
    padded = np.pad(mask, [(m, m) for m in meshing.margin()])
    own = np.argwhere(padded) * meshing.proportions
    every = np.argwhere(np.ones_like(padded)) * meshing.proportions
    nearest = np.full(len(every), np.inf)
    for point in own:
        nearest = np.minimum(nearest, np.linalg.norm(every - point, axis=1))
    clear = np.abs(nearest - radius) > 1e-9
    found = meshing.solid(padded) if mask.any() else padded
    np.testing.assert_array_equal(found.ravel()[clear], (nearest <= radius)[clear])
    assert not any(found.take([0, -1], axis=axis).any() for axis in range(3))
