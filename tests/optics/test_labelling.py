import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from msl_store.errors import UsageError
from msl_store.optics.emitters import sample_emitters
from msl_store.optics.labelling import Labelling, brightness_of, brightness_trace, label

# a box of 2 x 1 x 0.5 um, faces outwards
VERTICES = np.array([[x, y, z] for x in (0, 2) for y in (0, 1) for z in (0, 0.5)], float)
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 5, 1], [0, 4, 5], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip
AREA, VOLUME = 7.0, 1.0


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_default_is_the_published_labelling():
    np.testing.assert_array_equal(label(VERTICES, FACES, Labelling(), rng()), sample_emitters(VERTICES, FACES, rng()))
    np.testing.assert_array_equal(brightness_of(Labelling(), 5, rng()), np.ones(5))


def test_the_volume_is_filled_evenly_at_its_density():
    points = label(VERTICES, FACES, Labelling(where="volume", per_um3=20_000), rng())
    assert len(points) == pytest.approx(20_000 * VOLUME, abs=5 * np.sqrt(20_000))
    for axis, side in enumerate((2, 1, 0.5)):
        assert kstest(points[:, axis], "uniform", args=(0, side)).pvalue > 1e-3


def test_a_slanted_shape_keeps_its_emitters_inside():
    # half a box: a prism below a diagonal
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 1], [0, 1, 1]], float)
    faces = np.array([[0, 2, 1], [3, 4, 5], [0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [2, 0, 3], [2, 3, 5]])
    points = label(vertices, faces, Labelling(where="volume", per_um3=10_000), rng())
    assert (points[:, 0] / 2 + points[:, 1] <= 1).all()
    assert len(points) == pytest.approx(10_000, abs=500)


def test_both_are_both():
    points = label(VERTICES, FACES, Labelling(where="both", per_um2=100, per_um3=1000), rng())
    surface = (np.minimum(points, [2, 1, 0.5] - points) < 1e-12).any(axis=1)
    assert surface[:700].all()
    assert not surface[700:].any()
    assert len(points) - 700 == pytest.approx(1000, abs=160)


def test_brightness_has_mean_one_and_the_spread():
    bright = brightness_of(Labelling(brightness_spread=0.4), 200_000, rng())
    assert bright.min() > 0
    assert bright.mean() == pytest.approx(1, abs=0.005)
    assert bright.std() == pytest.approx(0.4, rel=0.02)
    film = brightness_of(Labelling(brightness_spread=0.4), 1000, rng(), frames=3)
    np.testing.assert_array_equal(film, np.tile(film[0], (3, 1)))


def test_blinking_is_stationary_with_its_duty_cycle():
    trace = brightness_trace(20_000, 12, rng(), on_frames=2.0, off_frames=6.0)
    assert trace.shape == (12, 20_000)
    assert trace.min() >= 0
    assert trace.max() <= 1 + 1e-12
    np.testing.assert_allclose(trace.mean(axis=1), 0.25, atol=0.015)
    # the autocovariance of a telegraph process falls as exp(-t (1/on + 1/off)), lag 4 against lag 1
    covariance = [np.mean((trace[:-lag] - 0.25) * (trace[lag:] - 0.25)) for lag in (1, 4)]
    assert covariance[1] / covariance[0] == pytest.approx(np.exp(-3 * (1 / 2 + 1 / 6)), abs=0.02)


def test_a_frame_does_not_depend_on_which_are_asked_for():
    labelling = Labelling(on_frames=1.5, off_frames=4.0, bleach_frames=6.0, brightness_spread=0.5)
    film = brightness_of(labelling, 300, rng(), frames=9)
    for frames in (4, range(2, 5), range(8, 9)):
        rows = range(frames) if isinstance(frames, int) else frames
        np.testing.assert_array_equal(brightness_of(labelling, 300, rng(), frames=frames), film[rows.start : rows.stop])


def test_bleaching_is_exponential_and_for_good():
    trace = brightness_trace(50_000, 10, rng(), bleach_frames=4.0)
    edges = np.arange(11)
    expected = 4.0 * -np.diff(np.exp(-edges / 4.0))
    np.testing.assert_allclose(trace.mean(axis=1), expected, atol=0.01)
    assert (np.diff(trace, axis=0) <= 1e-12).all()


def test_emitters_bleach_only_while_on():
    shared = {"on_frames": 1.0, "off_frames": 3.0}
    slow = brightness_trace(20_000, 40, rng(), bleach_frames=5.0, **shared)
    # a quarter of the time on: the mean light of all, ever, is the life itself
    assert slow.sum(axis=0).mean() == pytest.approx(5.0 * (1 - np.exp(-40 / 4 / 5.0)), rel=0.06)


@given(count=st.integers(0, 30), frames=st.integers(1, 6), on=st.floats(0.05, 20), off=st.floats(0.05, 20))
def test_traces_repeat_and_stay_between_off_and_on(count, frames, on, off):
    first, second = (brightness_trace(count, frames, rng(5), on_frames=on, off_frames=off) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (frames, count)
    assert ((first >= 0) & (first <= 1 + 1e-12)).all()


def test_a_labelling_survives_json():
    labelling = Labelling(where="both", bleach_frames=50, on_frames=2, off_frames=8, brightness_spread=0.2)
    assert Labelling.from_dict(json.loads(json.dumps(labelling.to_dict()))) == labelling
    with pytest.raises(UsageError, match="unknown field colour; known are where, per_um2"):
        Labelling.from_dict({"colour": "red"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"where": "cristae"}, "where is 'cristae', but must be one of surface, volume, both"),
        ({"per_um3": -1}, "per_um3 is -1, but must be a number of at least 0"),
        ({"bleach_frames": 0}, "bleach_frames is 0, but must be a number above 0, or None"),
        ({"on_frames": 2}, r"on_frames and off_frames is \(2\.0, None\), but must be both given, or neither"),
    ],
)
def test_refusals_say_what_is_allowed(values, message):
    with pytest.raises(UsageError, match=message):
        Labelling(**values)


def test_open_meshes_and_absurd_densities_are_refused():
    with pytest.raises(UsageError, match="is open"):
        label(VERTICES, FACES[:-1], Labelling(where="volume"), rng())
    with pytest.raises(UsageError, match="at most 1000000000 can be"):
        label(VERTICES, FACES, Labelling(where="volume", per_um3=1e12), rng())
    for frames in (0, range(3, 3), range(-1, 2), range(0, 4, 2)):
        with pytest.raises(UsageError, match="must be 1 or more, or a range"):
            brightness_of(Labelling(), 3, rng(), frames=frames)
