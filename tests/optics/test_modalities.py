from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.optics.imaging import expected_images
from msl_store.optics.lens import Lens
from msl_store.optics.microscope import Microscope
from msl_store.optics.psf import cutoff, point_spread, psf_of
from msl_store.optics.reference import direct_images

UPRIGHT = np.eye(3)[None]
WIDEFIELD = Microscope(
    name="widefield", numerical_aperture=1.2, wavelength_um=0.52, pixel_um=0.09, size_px=(48, 48), n_immersion=1.333,
    n_immersion_design=1.333, immersion_displacement_um=0.0,
)  # fmt: skip
CONFOCAL = replace(WIDEFIELD, name="confocal", modality="confocal", excitation_um=0.488, pinhole_au=1.0)
TWO_PHOTON = replace(WIDEFIELD, name="two-photon", modality="two-photon", excitation_um=0.92)
LIGHT_SHEET = replace(WIDEFIELD, name="light-sheet", modality="light-sheet", sheet_um=1.0)
MODALITIES = (WIDEFIELD, CONFOCAL, TWO_PHOTON, LIGHT_SHEET)
MATCHED = {"n_sample": 1.333, "n_glass": 1.515}
AXIS = np.zeros(1)


@settings(max_examples=30, deadline=None)
@given(
    microscope=st.sampled_from(MODALITIES),
    psf=st.sampled_from(["scalar", "vectorial", "gaussian"]),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 12),
    fields=st.sampled_from([0.1, 1.0, 1.5]),
    depth=st.sampled_from([0.1, 0.8]),
    tolerance=st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5]),
    planes=st.sampled_from([[0.0], [-0.4, 0.6]]),
)
def test_every_modality_is_right_to_the_tolerance(microscope, psf, seed, count, fields, depth, tolerance, planes):
    microscope = replace(microscope, psf=psf)
    rng = np.random.default_rng(seed)
    half = 24 * microscope.pixel_um * fields
    emitters = rng.uniform(-1, 1, (count, 3)) * [half, half, depth]
    brightness = rng.gamma(2.0, size=count)
    shared = {"z_um": planes, "brightness": brightness}
    images = expected_images(emitters, microscope, UPRIGHT, tolerance=tolerance, **shared)
    truth = direct_images(emitters, microscope, UPRIGHT, **shared)
    for image, exact in zip(images[0], truth[0], strict=True):
        assert np.abs(image - exact).max() <= tolerance * exact.max() + brightness.sum() * 1e-9


def axial_width(microscope):
    depth = np.linspace(-4, 4, 1601)
    h = point_spread(AXIS, depth, microscope, immersion_displacement_um=0.0)[0]
    return np.ptp(depth[h > h.max() / 2])


def lateral_width(microscope):
    radius = np.linspace(0, 1, 2001)
    h = point_spread(radius, AXIS, microscope, immersion_displacement_um=0.0)[:, 0]
    return 2 * radius[np.argmax(h < h[0] / 2)]


def section(microscope, depth):
    """Light of a sheet of emitters at a depth: the integral of h over the plane."""
    step = 0.02
    radius = step * (np.arange(1500) + 0.5)
    h = point_spread(radius, np.array([depth]), microscope, immersion_displacement_um=0.0)[:, 0]
    return (h * radius).sum() * step


@pytest.mark.parametrize("psf", ["scalar", "vectorial", "gaussian"])
@pytest.mark.parametrize("microscope", MODALITIES, ids=lambda m: m.name)
def test_the_focal_peak_is_one(microscope, psf):
    matched = replace(microscope, psf=psf, n_sample=1.333)
    assert point_spread(AXIS, AXIS, matched, immersion_displacement_um=0.0)[0, 0] == pytest.approx(1, abs=1e-8)


def test_widefield_resolves_at_abbes_limit():
    # no grating finer than wavelength / (2 NA) is imaged; one a little coarser is
    step = 0.005
    radius = step * (np.arange(8000) + 0.5)
    h = point_spread(radius, AXIS, WIDEFIELD, immersion_displacement_um=0.0)[:, 0] * np.exp(-((radius / 25) ** 2))
    abbe = 2 * 1.2 / 0.52
    assert cutoff(WIDEFIELD) == pytest.approx(abbe)
    from scipy.special import j0

    contrast = [(h * j0(2 * np.pi * f * radius) * radius).sum() / (h * radius).sum() for f in (0.9 * abbe, 1.05 * abbe)]
    u = 0.9  # the transfer function of a circular pupil, J. Goodman, Introduction to Fourier Optics, 6.4
    assert contrast[0] == pytest.approx(2 / np.pi * (np.arccos(u) - u * np.sqrt(1 - u * u)), abs=2e-3)
    assert abs(contrast[1]) < 2e-4
    assert lateral_width(WIDEFIELD) == pytest.approx(0.5145 * 0.52 / 1.2, rel=5e-3)


def test_a_small_pinhole_multiplies_and_a_wide_one_leaves_the_excitation():
    radius, depth = np.linspace(0, 1.5, 60), np.array([0.0, 0.7])
    lit = Lens(CONFOCAL, 0.488).profiles(radius, depth, 0.0)
    seen = Lens(CONFOCAL, 0.52).profiles(radius, depth, 0.0)
    small = point_spread(radius, depth, replace(CONFOCAL, pinhole_au=0.01), immersion_displacement_um=0.0)
    np.testing.assert_allclose(small, lit * seen, atol=1e-3)
    wide = point_spread(radius, AXIS, replace(CONFOCAL, pinhole_au=19.0), immersion_displacement_um=0.0)
    np.testing.assert_allclose(wide[:, 0], lit[:, 0], atol=0.01)


def test_the_pinholes_mean_is_that_of_a_plane_grid():
    fine = 0.004
    pinhole = psf_of(CONFOCAL).pinhole_um
    assert pinhole == pytest.approx(1.22 * 0.52 / 1.2)
    steps = (np.arange(-80, 80) + 0.5) * fine
    x, y = np.meshgrid(steps, steps)
    disk = np.hypot(x, y) < pinhole / 2
    for radius in (0.0, 0.2, 0.5):
        away = np.hypot(x[disk] - radius, y[disk])
        table = np.linspace(0, away.max() + 0.01, 2000)
        mean = np.interp(away, table, Lens(CONFOCAL, 0.52).profiles(table, np.array([0.3]), 0.0)[:, 0]).mean()
        seen = psf_of(CONFOCAL)
        samples = seen._samples(np.array([radius]))
        through = seen._through(np.array([radius]), seen.emission.profiles(samples, np.array([0.3]), 0.0))[0, 0]
        assert through == pytest.approx(mean, rel=3e-3)


def test_a_smaller_pinhole_sections_better_and_widefield_not_at_all():
    matched = [replace(CONFOCAL, pinhole_au=pinhole, **MATCHED) for pinhole in (0.3, 1.0, 3.0)]
    shares = [section(m, 2.0) / section(m, 0.0) for m in matched]
    assert shares[0] < shares[1] < shares[2] < 0.5
    assert shares[1] < 0.05
    widefield = replace(WIDEFIELD, **MATCHED)
    assert section(widefield, 2.0) / section(widefield, 0.0) == pytest.approx(1, abs=0.02)
    assert axial_width(matched[0]) < axial_width(matched[1]) < axial_width(widefield)
    assert lateral_width(matched[0]) < 0.75 * lateral_width(widefield)


def test_two_photon_light_falls_off_and_is_wider_than_one_photon_confocal():
    matched = replace(TWO_PHOTON, **MATCHED)
    assert section(matched, 3.0) < 0.1 * section(matched, 0.0)
    excitation = replace(WIDEFIELD, wavelength_um=0.92, **MATCHED)
    radius = np.linspace(0, 2, 50)
    h = point_spread(radius, AXIS, matched, immersion_displacement_um=0.0)
    np.testing.assert_allclose(h, point_spread(radius, AXIS, excitation, immersion_displacement_um=0.0) ** 2)


def test_a_light_sheet_is_half_as_bright_at_half_its_thickness():
    depth = np.array([0.0, 0.5, -0.5, 1.0])
    radius = np.linspace(0, 2, 9)
    focused = LIGHT_SHEET.focused(0.0)
    ratio = point_spread(radius, depth, LIGHT_SHEET, immersion_displacement_um=focused) / point_spread(
        radius, depth, WIDEFIELD, immersion_displacement_um=focused
    )
    np.testing.assert_allclose(ratio, np.tile([1, 0.5, 0.5, 1 / 16], (9, 1)))
    # the sheet follows the focus
    moved = LIGHT_SHEET.focused(2.0)
    assert psf_of(LIGHT_SHEET).gain(np.array([2.0]), moved)[0] == pytest.approx(1)


def test_the_gaussian_has_the_curvature_of_the_scalar_peak():
    slow = replace(WIDEFIELD, numerical_aperture=0.2, **MATCHED)
    gaussian = replace(slow, psf="gaussian")
    radius, depth = np.linspace(0, 0.5, 20), np.linspace(-8, 8, 20)
    for r, z in ((radius, AXIS), (AXIS, depth)):
        exact = point_spread(r, z, slow, immersion_displacement_um=0.0)
        fit = point_spread(r, z, gaussian, immersion_displacement_um=0.0)
        assert exact.min() < 0.9
        np.testing.assert_allclose(1 - fit, 1 - exact, rtol=0.06, atol=1e-3)


@pytest.mark.parametrize("psf", ["scalar", "vectorial", "gaussian"])
def test_light_is_the_integral_over_the_focal_plane(psf):
    microscope = replace(WIDEFIELD, psf=psf, **MATCHED)
    step = 0.01
    radius = step * (np.arange(6000) + 0.5)
    h = psf_of(microscope).ideal(radius)
    assert 2 * np.pi * (h * radius).sum() * step == pytest.approx(psf_of(microscope).light_um2, rel=0.01)


def test_vectors_matter_at_a_high_aperture_only():
    radius = np.linspace(0, 1, 40)
    for na, most in ((0.2, 0.01), (1.2, 0.1)):
        microscope = replace(WIDEFIELD, numerical_aperture=na, **MATCHED)
        scaled = radius / na
        scalar = point_spread(scaled, AXIS, microscope, immersion_displacement_um=0.0)
        vector = point_spread(scaled, AXIS, replace(microscope, psf="vectorial"), immersion_displacement_um=0.0)
        difference = np.abs(scalar - vector).max()
        assert difference < most
        assert (difference > 0.02) == (na == 1.2)


def test_brightness_is_linear_and_dark_emitters_do_not_count():
    emitters = np.random.default_rng(0).uniform(-1, 1, (30, 3))
    bright = np.arange(30.0) % 3
    image = expected_images(emitters, WIDEFIELD, UPRIGHT, brightness=bright)
    again = expected_images(np.repeat(emitters, bright.astype(int), axis=0), WIDEFIELD, UPRIGHT)
    np.testing.assert_allclose(image, again, atol=2e-3 * image.max())
    assert not expected_images(emitters, WIDEFIELD, UPRIGHT, brightness=np.zeros(30)).any()
    half = expected_images(emitters, WIDEFIELD, UPRIGHT, brightness=bright / 2)
    np.testing.assert_array_equal(half, image / 2)
