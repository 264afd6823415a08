import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from msl_store.errors import UsageError
from msl_store.optics.emitters import NM2_PER_EMITTER, emitter_count, sample_emitters

# a 3 x 4 um rectangle of two triangles, and a small triangle apart
VERTICES = np.array([[0, 0, 1], [3, 0, 1], [3, 4, 1], [0, 4, 1], [9, 9, 9], [10, 9, 9], [9, 10, 9]], float)
FACES = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]], np.uint32)


def test_count_is_the_area_over_that_of_one_emitter():
    assert emitter_count(VERTICES, FACES) == round(12.5e6 / NM2_PER_EMITTER)
    assert len(sample_emitters(VERTICES, FACES, np.random.default_rng(0))) == emitter_count(VERTICES, FACES)
    assert emitter_count(VERTICES, FACES, 8.0) == 100
    assert emitter_count(VERTICES, FACES[:0]) == 0


def test_emitters_lie_uniformly_on_the_surface():
    points = sample_emitters(VERTICES, FACES, np.random.default_rng(1), 20_000)
    apart = points[:, 2] > 5
    assert chisquare([apart.sum(), (~apart).sum()], [20_000 * 0.5 / 12.5, 20_000 * 12 / 12.5]).pvalue > 1e-3
    np.testing.assert_allclose(points[apart, 2], 9, rtol=1e-14)
    assert (points[apart, :2].sum(axis=1) <= 19 + 1e-9).all()
    flat = points[~apart]
    np.testing.assert_allclose(flat[:, 2], 1, rtol=1e-14)
    assert kstest(flat[:, 0] / 3, "uniform").pvalue > 1e-3
    assert kstest(flat[:, 1] / 4, "uniform").pvalue > 1e-3
    tiles, _, _ = np.histogram2d(flat[:, 0], flat[:, 1], bins=6, range=[[0, 3], [0, 4]])
    assert chisquare(tiles.ravel()).pvalue > 1e-3


def test_the_same_generator_gives_the_same_emitters():
    first, again, other = (sample_emitters(VERTICES, FACES, np.random.default_rng(s), 100) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_emitters_need_no_surface():
    assert sample_emitters(VERTICES, FACES, np.random.default_rng(0), 0).shape == (0, 3)
    assert sample_emitters(VERTICES, FACES[:0], np.random.default_rng(0)).shape == (0, 3)


def test_faces_without_area_carry_nothing():
    faces = np.array([[0, 0, 1], [0, 1, 2], [3, 3, 3]])
    points = sample_emitters(VERTICES, faces, np.random.default_rng(0), 5000)
    assert (points[:, 1] <= points[:, 0] * 4 / 3 + 1e-9).all()
    assert points[:, 1].max() > 3


def test_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match=r"face 0 names the vertices \[0, 1, 7\], but the mesh has 7 \(0 to 6\)"):
        emitter_count(VERTICES, [[0, 1, 7]])
    with pytest.raises(UsageError, match=r"vertices have the shape \(7, 2\); allowed is"):
        emitter_count(VERTICES[:, :2], FACES)
    with pytest.raises(UsageError, match="has no area"):
        sample_emitters(VERTICES, [[0, 0, 1]], rng, 5)
    with pytest.raises(UsageError, match="-1 points"):
        sample_emitters(VERTICES, FACES, rng, -1)
