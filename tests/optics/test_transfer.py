import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.optics.attempts import _depth_range
from msl_store.optics.gridding import window
from msl_store.optics.interpolation import shares, step_for
from msl_store.optics.separable import ring_areas
from msl_store.optics.transfer import Square, cheapest_grid, fits, sampled, transfer_functions

WIDTH_UM = 0.15
STEP_UM = 0.02


def gaussian(radii):
    return np.stack([np.exp(-(radii**2) / (2 * WIDTH_UM**2)), np.exp(-2 * (radii**2) / WIDTH_UM**2)], axis=1)


@settings(deadline=None)  # compiles
@given(t=st.floats(0, 1, exclude_max=True), degree=st.integers(0, 11))
def test_twelve_points_are_exact_for_polynomials(t, degree):
    found = np.empty(12)
    shares(t, found)
    at = np.arange(-5, 7) / 6
    assert (found * at**degree).sum() == pytest.approx((t / 6) ** degree, abs=1e-11)


@settings(deadline=None)
@given(t=st.floats(0, 1, exclude_max=True), error=st.sampled_from([1e-3, 1e-6, 1e-9]), phase=st.floats(0, 7))
def test_samples_at_the_step_err_by_what_was_asked(t, error, phase):
    found, frequency = np.empty(12), 3.0
    shares(t, found)
    turn = frequency * step_for(error, frequency)
    assert abs((found * np.cos(turn * np.arange(-5, 7) + phase)).sum() - math.cos(turn * t + phase)) <= error + 1e-14


def test_areas_of_rings_integrate_a_profile_over_the_plane():
    radii = np.arange(200) * STEP_UM
    assert (gaussian(radii)[:, 0] * ring_areas(radii)).sum() == pytest.approx(2 * np.pi * WIDTH_UM**2, rel=1e-3)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_transfer_functions_are_the_transforms(tolerance):
    square, band = Square(pixels=60, pixel_um=0.1, farthest_px=20.0, taper_px=0.0), 20
    quarter, axis = sampled(gaussian(np.arange(300) * STEP_UM), STEP_UM, square, 8.0, tolerance)
    transfer = transfer_functions(quarter, band)
    assert transfer.shape == (band + 1, 2, band + 1)
    squares = (np.arange(band + 1) ** 2)[:, None] + np.arange(band + 1) ** 2
    for term, width in enumerate((WIDTH_UM, WIDTH_UM / 2)):
        peak = 2 * np.pi * width**2 / square.side_um**2
        exact = peak * np.exp(-2 * (np.pi * width) ** 2 * squares / square.side_um**2)
        np.testing.assert_allclose(transfer[:, term], exact, atol=1e-6 * peak if tolerance > 1e-4 else 1e-9 * peak)
        np.testing.assert_allclose(axis[: band + 1, term], exact[0], atol=1e-9 * peak)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_the_chosen_grid_is_fine_enough_and_costs_more_for_a_smaller_tolerance(tolerance):
    spectra = np.ones((60, 1)) / 60
    (width, side), (wider, finer) = (cheapest_grid(spectra, 8, 128, asked) for asked in (tolerance, tolerance / 100))
    assert fits(spectra, window(width, side / 119), side, tolerance)
    assert wider**2 + 1e-3 * finer**2 > width**2 + 1e-3 * side**2


@given(low=st.floats(-20, 20), size=st.floats(0, 20))
def test_ranges_of_depth_hold_what_they_are_made_for_and_most_are_even(low, size):
    range_um = _depth_range(low, low + size)
    assert range_um[0] <= low
    assert low + size <= range_um[1]
    if low < 0 < low + size and max(-low, low + size) < 1.5 * min(-low, low + size):
        assert range_um[0] == -range_um[1]
