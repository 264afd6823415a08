from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from solids import box, torus
from voxel_solids import CAPSULE, FORK, SPHERE, segment

from msl_store.errors import UsageError
from msl_store.geometry.centrelines import centre_lines
from msl_store.geometry.skeleton import skeleton, skeleton_of_mesh


@given(arrays.arrays(bool, st.tuples(*[st.integers(1, 12)] * 3)))
@settings(max_examples=150, deadline=None)
def test_any_voxels_have_their_pieces_and_loops(mask):
    assume(mask.any())
    filled = ndimage.binary_fill_holes(mask)
    found = skeleton(mask, voxel_um=1.0)
    assert found.component_count == ndimage.label(filled, np.ones((3, 3, 3)))[1]
    # Corners, edges, squares and cubes of the union of closed voxels: each is there if a voxel around it is.
    padded = np.pad(filled, 2)
    cells = 0
    for dims in np.ndindex(2, 2, 2):
        block = np.ones((2 - dims[0], 2 - dims[1], 2 - dims[2]))
        touched = ndimage.convolve(padded.astype(int), block.astype(int), mode="constant")
        cells += (-1) ** sum(dims) * np.count_nonzero(touched)
    assert found.loop_count == found.component_count - cells
    assert found.length_um <= found.tip_length_um
    assert found.max_radius_um >= 1.0


def test_lines_measure_in_um_and_lie_where_the_solid_is():
    mask = CAPSULE.mask(6, np.random.default_rng(0))
    found = skeleton(mask, voxel_um=0.024)
    unit = skeleton(mask, voxel_um=1.0)
    for name in ("length_um", "tip_length_um", "mean_radius_um", "max_radius_um"):
        assert getattr(found, name) == pytest.approx(0.024 * getattr(unit, name))
    (line,) = found.lines_um
    assert np.linalg.norm(np.diff(line, axis=0), axis=1).sum() == pytest.approx(found.length_um)
    assert mask[tuple(np.rint(line / 0.024).astype(int).T)].all()
    middle = np.argwhere(mask).mean(axis=0)
    assert line.mean(axis=0) / 0.024 == pytest.approx(middle, abs=1)


def test_the_volume_around_and_touching_its_border_make_no_difference():
    mask = FORK.mask(4, np.random.default_rng(1))
    low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
    cropped = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    found, other = skeleton(mask, voxel_um=1.0), skeleton(np.pad(cropped, ((0, 9), (4, 0), (0, 0))), voxel_um=1.0)
    assert other.length_um == pytest.approx(found.length_um)
    assert (other.branch_count, other.end_count) == (found.branch_count, found.end_count)
    shift = np.array([0, 4, 0]) - low
    for one, two in zip(found.lines_um, other.lines_um, strict=True):
        assert two == pytest.approx(one + shift)


def test_bumps_are_no_branches_unless_they_stand_out():
    z, y, x = np.indices((90, 50, 30)) - np.array([45, 14, 15]).reshape(3, 1, 1, 1) + 0.25
    points = np.stack([z, y, x], axis=-1)
    rod = segment(points, np.array([-30.0, 0, 0]), np.array([30.0, 0, 0]))
    counts, lengths = [], []
    for height in (0.0, 9.0, 24.0):
        side = segment(points, np.zeros(3), np.array([0, height, 0.0])) if height else rod
        found = skeleton((rod < 8) | (side < 4), voxel_um=1.0)
        counts.append((found.branch_count, found.end_count))
        lengths.append(found.length_um)
    assert counts == [(0, 2), (0, 2), (1, 3)]
    assert lengths[1] == pytest.approx(lengths[0], abs=1)
    assert lengths[2] == pytest.approx(lengths[0] + 24, abs=3)
    bump = (rod < 8) | (segment(points, np.zeros(3), np.array([0, 9.0, 0.0])) < 4)
    assert skeleton(bump, voxel_um=1.0, prominence=0.0).branch_count == 1


def test_cavities_are_filled_and_pieces_added_up():
    ball = SPHERE.mask(9, np.random.default_rng(2))
    hollow = ball & ~ndimage.binary_erosion(ball, iterations=4)
    one, other = skeleton(ball, voxel_um=1.0), skeleton(hollow, voxel_um=1.0)
    assert (other.length_um, other.mean_radius_um, other.loop_count) == (one.length_um, one.mean_radius_um, 0)
    rod = CAPSULE.mask(4, np.random.default_rng(3))
    wide = np.maximum(ball.shape, rod.shape)
    both = np.concatenate([np.pad(part, [(0, n) for n in wide - part.shape]) for part in (ball, rod)], axis=2)
    alone, found = skeleton(rod, voxel_um=1.0), skeleton(both, voxel_um=1.0)
    assert (found.component_count, found.end_count) == (2, 4)
    assert found.length_um == pytest.approx(one.length_um + alone.length_um, abs=1.0)
    assert found.tip_length_um == pytest.approx(one.tip_length_um + alone.tip_length_um, abs=1.0)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_the_smallest_solids_have_a_skeleton(side):
    found = skeleton(np.ones((side,) * 3, bool), voxel_um=0.5)
    assert (found.end_count, found.branch_count, found.component_count, found.loop_count) == (2, 0, 1, 0)
    assert found.length_um <= side / 2
    assert 0 < found.mean_radius_um <= found.max_radius_um


def test_a_mesh_is_measured_through_its_voxels():
    vertices, faces = torus(12.0, 4.0, 80, 40)
    shift = np.array([50.0, -20.0, 7.0])
    found = skeleton_of_mesh(vertices + shift, faces, voxel_um=0.1)
    assert (found.loop_count, found.end_count, found.branch_count) == (1, 0, 0)
    assert found.length_um == pytest.approx(2.4 * math.pi, rel=0.04)
    assert found.mean_radius_um == pytest.approx(0.4, abs=0.06)
    assert np.linalg.norm(found.lines_um[0].mean(axis=0) / 0.1 - shift) < 1
    finer = skeleton_of_mesh(vertices, faces, voxel_um=0.1, edge=0.4)
    assert finer.length_um == pytest.approx(2.4 * math.pi, rel=0.02)
    assert finer.mean_radius_um == pytest.approx(0.4, abs=0.03)


def test_loops_and_ends_of_small_drawings():
    drawing = np.zeros((3, 9, 12), bool)
    drawing[1, 1, 1:6] = drawing[1, 5, 1:6] = drawing[1, 1:6, 1] = drawing[1, 1:6, 5] = True
    network = centre_lines(drawing)
    assert [line.ring for line in network.lines] == [True]
    drawing[1, 3, 5:10] = True
    network = centre_lines(drawing)
    assert sorted(n for n in network.degrees().tolist() if n) == [1, 3]
    assert sorted(line.start == line.stop for line in network.lines) == [False, True]
    tail = next(line for line in network.lines if line.start != line.stop)
    network.remove(tail)
    assert [line.ring for line in network.lines] == [True]
    pair = np.zeros((1, 1, 2), bool)
    pair[...] = True
    assert len(centre_lines(pair).lines) == 1
    assert len(centre_lines(np.ones((1, 1, 1), bool)).lone) == 1


def test_what_is_no_solid_is_refused():
    with pytest.raises(UsageError, match=r"the mask is int64 of shape"):
        skeleton(np.ones((3, 3, 3), np.int64), voxel_um=1.0)
    with pytest.raises(UsageError, match=r"no voxel of the mask is inside"):
        skeleton(np.zeros((3, 3, 3), bool), voxel_um=1.0)
    for edge in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=r"a voxel's edge is .* allowed is a positive length"):
            skeleton(np.ones((3, 3, 3), bool), voxel_um=edge)
    vertices, faces = box((0.2, 0.2, 0.2), (0.6, 0.6, 0.6))
    with pytest.raises(UsageError, match=r"has no skeleton"):
        skeleton_of_mesh(vertices, faces[:0])
    with pytest.raises(UsageError, match=r"is open"):
        skeleton_of_mesh(vertices, faces[1:])
