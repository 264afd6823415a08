import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, poisson

from msl_store.errors import UsageError
from msl_store.optics.detector import Camera, detect

PLAIN = Camera(
    quantum_efficiency=0.7, read_noise_electrons=1.2, electrons_per_count=0.46, offset_counts=100, exposure_s=0.5,
    dark_electrons_per_s=2.0, background_photons=3.0,
)  # fmt: skip
EMCCD = Camera(chip="emccd", em_gain=300, read_noise_electrons=40, electrons_per_count=10, quantum_efficiency=0.9)


def frames(photons, camera, seed=0, count=400):
    return detect(np.full((count, 32, 32), float(photons)), camera, np.random.default_rng(seed)).astype(float)


@pytest.mark.parametrize("photons", [0, 5, 200, 5000])
def test_mean_and_variance_are_those_of_the_photons(photons):
    counts = frames(photons, PLAIN)
    electrons = 0.7 * (photons + 3) + 2.0 * 0.5
    variance = (electrons + 1.2**2) / 0.46**2 + 1 / 12  # rounding adds 1/12
    sem = np.sqrt(variance / counts.size)
    assert counts.mean() == pytest.approx(100 + electrons / 0.46, abs=5 * sem)
    assert counts.var() == pytest.approx(variance, rel=0.02)


def test_variance_against_mean_is_a_line_with_the_slope_of_the_gain():
    levels = np.array([50, 200, 1000, 4000])
    counts = [frames(level, PLAIN, seed=level) for level in levels]
    slope = np.polyfit([c.mean() for c in counts], [c.var() for c in counts], 1)[0]
    assert slope == pytest.approx(1 / 0.46, rel=0.03)


def test_multiplication_doubles_the_variance():
    quiet = replace(EMCCD, read_noise_electrons=0.0)
    levels = np.array([20, 60, 100])
    counts = [frames(level, quiet, seed=level) for level in levels]
    slope = np.polyfit([c.mean() for c in counts], [c.var() for c in counts], 1)[0]
    assert slope == pytest.approx(2 * 300 / 10, rel=0.03)
    assert counts[1].mean() == pytest.approx(100 + 0.9 * 60 * 300 / 10, rel=0.01)


def test_single_electrons_multiply_to_an_exponential():
    faint = replace(EMCCD, read_noise_electrons=0.0, electrons_per_count=1.0, offset_counts=0, quantum_efficiency=1.0)
    counts = frames(1e-3, faint, count=1000)
    lit = counts[counts > 0]
    assert len(lit) == pytest.approx(1e-3 * counts.size, rel=0.2)
    assert kstest(lit, "expon", args=(0, 300)).pvalue > 1e-3


def test_a_full_pixel_and_the_largest_count_saturate():
    assert set(frames(1e6, replace(PLAIN, read_noise_electrons=0, full_well_electrons=1000)).ravel()) == {
        round(100 + 1000 / 0.46)
    }
    assert set(frames(1e5, replace(PLAIN, bit_depth=12)).ravel()) == {4095}
    assert frames(0, replace(PLAIN, offset_counts=0, read_noise_electrons=20)).min() == 0


def test_pixels_of_a_chip_keep_their_own_read_noise():
    camera = replace(PLAIN, read_noise_electrons=5.0, read_noise_spread=0.5)
    stacks = [
        detect(np.zeros((800, 16, 16)), camera, np.random.default_rng(s), pixel_rng=np.random.default_rng(7)).std(
            axis=0
        )
        for s in (0, 1)
    ]
    assert np.corrcoef(stacks[0].ravel(), stacks[1].ravel())[0, 1] > 0.95
    assert np.median(stacks[0]) == pytest.approx(np.hypot(5, np.sqrt(0.7 * 3 + 1)) / 0.46, rel=0.1)
    assert np.ptp(stacks[0]) > 5 / 0.46


def test_without_read_noise_counts_are_poisson():
    ideal = Camera(quantum_efficiency=1.0, read_noise_electrons=0.0, electrons_per_count=1.0, offset_counts=0.0)
    counts = frames(3.0, ideal)
    share = np.bincount(counts.astype(int).ravel())[:8] / counts.size
    np.testing.assert_allclose(share, poisson.pmf(np.arange(8), 3.0), atol=3e-3)


@given(
    photons=st.floats(0, 1e12), gain=st.floats(1, 1000), bits=st.integers(1, 16), well=st.floats(1, 1e6),
    chip=st.sampled_from(["scmos", "emccd"]),
)  # fmt: skip
def test_counts_stay_in_range_and_repeat(photons, gain, bits, well, chip):
    camera = Camera(chip=chip, em_gain=gain if chip == "emccd" else 1, bit_depth=bits, full_well_electrons=well)
    first, second = (detect(np.full((4, 5), photons), camera, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.uint16
    assert first.max() < 2**bits


def test_a_camera_survives_json_and_is_frozen():
    assert Camera.from_dict(json.loads(json.dumps(EMCCD.to_dict()))) == EMCCD
    with pytest.raises(FrozenInstanceError):
        EMCCD.em_gain = 2
    with pytest.raises(UsageError, match="unknown field colour; known are chip, photons_per_emitter"):
        Camera.from_dict({"colour": "red"})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("chip", "ccd", "chip is 'ccd', but must be one of scmos, emccd"),
        ("quantum_efficiency", 1.2, r"quantum_efficiency is 1\.2, but must be a number above 0 and at most 1"),
        ("exposure_s", 0, "exposure_s is 0, but must be a number above 0"),
        ("background_photons", -1, "background_photons is -1, but must be a number of at least 0"),
        ("offset_counts", float("nan"), "offset_counts is nan"),
        ("bit_depth", 17, "bit_depth is 17, but must be an integer from 1 to 16"),
        ("em_gain", 20, r"em_gain is 20\.0, but must be 1 but on an emccd chip"),
        ("source", 3, "source is 3, but must be a text"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(field, value, message):
    with pytest.raises(UsageError, match=message):
        replace(PLAIN, **{field: value})


def test_spread_is_for_scmos_alone():
    with pytest.raises(UsageError, match=r"read_noise_spread is 0\.3, but must be 0 but on an scmos chip"):
        replace(EMCCD, read_noise_spread=0.3)


@pytest.mark.parametrize("bad", [np.zeros(5), np.full((4, 4), -1.0), np.full((4, 4), np.nan)])
def test_images_must_be_images(bad):
    with pytest.raises(UsageError, match="photons must have at least the axes"):
        detect(bad, PLAIN, np.random.default_rng(0))
