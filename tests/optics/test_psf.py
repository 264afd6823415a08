from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import j0, j1

from msl_store.optics.lens import gauss_legendre
from msl_store.optics.microscope import PRESETS, Microscope
from msl_store.optics.psf import cutoff, point_spread

MATCHED = Microscope(name="matched", numerical_aperture=1.2, wavelength_um=0.5, pixel_um=0.1, n_sample=1.515)
EPI = PRESETS["epi1"]


def test_in_focus_with_matched_indices_it_is_the_airy_disk():
    radius = np.linspace(0.001, 30, 2000)
    v = 2 * np.pi / MATCHED.wavelength_um * MATCHED.numerical_aperture * radius
    h = point_spread(radius, np.array([0.0]), MATCHED, immersion_displacement_um=0.0)
    np.testing.assert_allclose(h[:, 0], (2 * j1(v) / v) ** 2, atol=1e-13)


def test_at_low_aperture_the_axis_is_the_paraxial_sinc():
    microscope = replace(MATCHED, numerical_aperture=0.1)
    depth = np.linspace(-200, 200, 101)
    h = point_spread(np.array([0.0]), depth, microscope, immersion_displacement_um=0.0)
    expected = np.sinc(0.1**2 * depth / (2 * 1.515 * 0.5)) ** 2  # Born and Wolf, Principles of Optics, 8.8.2
    np.testing.assert_allclose(h[0], expected, atol=2e-3)


@pytest.mark.parametrize("depth", [-1.0, 0.0, 0.88, 3.0])
def test_every_depth_carries_the_same_light(depth):
    step = 0.01
    radius = step * (np.arange(8000) + 0.5)
    h = point_spread(radius, np.array([depth]), EPI, immersion_displacement_um=-1.0)[:, 0]
    light = (h * radius).sum() * 2 * np.pi * step
    # Parseval over a pupil of uniform intensity up to s = min(NA, ns)
    total = 4 * np.pi / (2 * np.pi / EPI.wavelength_um * 1.33) ** 2
    assert light == pytest.approx(total, rel=0.01)


def test_published_is_the_square():
    radius, depth = np.linspace(0, 3, 50), np.array([-1.0, 0.5])
    once = point_spread(radius, depth, EPI, immersion_displacement_um=-1.0)
    square = point_spread(radius, depth, replace(EPI, modality="published"), immersion_displacement_um=-1.0)
    np.testing.assert_array_equal(square, once**2)
    assert cutoff(replace(EPI, modality="published")) == 2 * cutoff(EPI) == 4 * 2 * 1.33 / 0.608 / 2


@settings(max_examples=15, deadline=None)
@given(
    radius=st.floats(0, 4),
    depth=st.floats(-3, 6),
    displacement=st.floats(-3, 3),
    n_sample=st.sampled_from([1.33, 1.4, 1.515]),
    glass=st.sampled_from([(170.0, 1.515), (173.0, 1.515), (170.0, 1.52)]),
)
def test_the_quadrature_agrees_with_an_adaptive_one(radius, depth, displacement, n_sample, glass):
    m = replace(EPI, n_sample=n_sample, glass_um=glass[0], n_glass=glass[1], n_immersion_design=1.518)
    k, edge = 2 * np.pi / m.wavelength_um, min(1.0, n_sample / 1.4)

    def leg(index, rho):
        return np.sqrt(max(index**2 - (1.4 * rho) ** 2, 0.0))

    def pupil(rho):
        path = depth * leg(n_sample, rho) + (m.working_distance_um + displacement) * leg(m.n_immersion, rho)
        path += glass[0] * leg(glass[1], rho) - m.glass_design_um * leg(m.n_glass_design, rho)
        path -= m.working_distance_um * leg(m.n_immersion_design, rho)
        return j0(k * 1.4 * radius * rho) * np.exp(1j * k * path) * rho

    amplitude = quad(pupil, 0, edge, complex_func=True, limit=500, epsabs=1e-10)[0] / (edge**2 / 2)
    h = point_spread(np.array([radius]), np.array([depth]), m, immersion_displacement_um=displacement)
    assert h[0, 0] == pytest.approx(abs(amplitude) ** 2, abs=1e-7)


@given(count=st.integers(2, 400))
def test_the_rule_is_exact_for_polynomials(count):
    nodes, weights = gauss_legendre(count)
    for power in (0, 2, min(2 * count - 2, 60)):
        assert weights @ nodes**power == pytest.approx(2 / (power + 1), rel=1e-12)


def test_focused_is_where_a_slow_objective_is_sharp():
    slow = replace(EPI, numerical_aperture=0.3)
    depth = np.linspace(0, 40, 401)
    h = point_spread(np.array([0.0]), depth, slow, immersion_displacement_um=slow.focused(20.0))
    assert depth[h[0].argmax()] == pytest.approx(20.0, abs=0.5)
