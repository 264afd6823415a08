from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.optics.imaging import expected_images
from msl_store.optics.measured import measured_psf, read_measured_psf
from msl_store.optics.microscope import Microscope
from msl_store.optics.psf import point_spread
from msl_store.optics.reference import direct_images

WIDEFIELD = Microscope(
    name="w", numerical_aperture=1.0, wavelength_um=0.5, pixel_um=0.1, size_px=(40, 40), n_sample=1.333,
    n_immersion=1.333, n_immersion_design=1.333, immersion_displacement_um=0.0,
)  # fmt: skip
CONFOCAL = replace(WIDEFIELD, modality="confocal", excitation_um=0.45, pinhole_au=1.0)
UPRIGHT = np.eye(3)[None]


def bead(microscope, shift=(0.0, 0.0), side=61, planes=41, pixel=0.05, step=0.1, squeeze=1.0):
    """The image of a point in every plane."""
    at = (np.arange(side) - side // 2) * pixel
    radius = np.hypot(at[:, None] - shift[0], (at - shift[1]) * squeeze)
    depth = (np.arange(planes) - planes // 2) * step
    flat, where = np.unique(radius, return_inverse=True)
    return point_spread(flat, depth, microscope, immersion_displacement_um=0.0)[where].transpose(2, 0, 1)


def test_a_measured_confocal_is_the_confocal():
    psf = measured_psf(bead(CONFOCAL), CONFOCAL, pixel_um=0.05, step_um=0.1)
    radius, depth = np.linspace(0, 0.8, 33), np.linspace(-1.3, 1.3, 27) + 0.03
    exact = point_spread(radius, depth, CONFOCAL, immersion_displacement_um=0.0)
    assert np.abs(psf.profiles(radius, depth, 0.0) - exact).max() < 2e-3
    # and follows the focus
    moved = psf.profiles(radius, depth + 0.7, CONFOCAL.focused(0.7))
    np.testing.assert_allclose(moved, psf.profiles(radius, depth, 0.0), atol=1e-12)


def test_the_axis_is_found_and_asymmetry_averaged():
    centred = measured_psf(bead(CONFOCAL), CONFOCAL, pixel_um=0.05, step_um=0.1)
    shifted = measured_psf(bead(CONFOCAL, shift=(0.12, -0.08)), CONFOCAL, pixel_um=0.05, step_um=0.1)
    radius, depth = np.linspace(0, 0.6, 20), np.array([0.0, 0.4])
    near = shifted.profiles(radius, depth, 0.0) - centred.profiles(radius, depth, 0.0)
    assert np.abs(near).max() < 0.01
    squeezed = [bead(CONFOCAL, squeeze=factor) for factor in (1.1, 1 / 1.1)]
    oval = measured_psf(squeezed[0], CONFOCAL, pixel_um=0.05, step_um=0.1)
    both = measured_psf(squeezed[0] + squeezed[0].transpose(0, 2, 1), CONFOCAL, pixel_um=0.05, step_um=0.1)
    np.testing.assert_allclose(oval.profiles(radius, depth, 0.0), both.profiles(radius, depth, 0.0), atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    fields=st.sampled_from([0.3, 1.3]),
    tolerance=st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5]),
    focus=st.sampled_from([0.0, 0.5]),
    noise=st.sampled_from([0.0, 0.01]),
)
def test_images_are_right_to_the_tolerance(seed, fields, tolerance, focus, noise):
    rng = np.random.default_rng(seed)
    values = bead(WIDEFIELD) + noise * np.random.default_rng(0).normal(size=(41, 61, 61))
    psf = measured_psf(values, WIDEFIELD, pixel_um=0.05, step_um=0.1)
    emitters = rng.uniform(-1, 1, (12, 3)) * [2 * fields, 2 * fields, 0.8]
    image = expected_images(emitters, WIDEFIELD, UPRIGHT, focus_um=focus, psf=psf, tolerance=tolerance)
    truth = direct_images(emitters, WIDEFIELD, UPRIGHT, focus_um=focus, psf=psf)
    assert np.abs(image - np.maximum(truth, 0)).max() <= tolerance * truth.max() + 2e-8


def test_what_was_not_measured_is_dark():
    psf = measured_psf(bead(CONFOCAL), CONFOCAL, pixel_um=0.05, step_um=0.1)
    far = np.array([[0.0, 0.0, 2.2], [0.0, 0.0, -2.2]])
    assert not expected_images(far, CONFOCAL, UPRIGHT, focus_um=0.0, psf=psf).any()
    assert not psf.profiles(np.array([1.6]), np.zeros(1), 0.0).any()


def test_equal_stacks_make_equal_psfs():
    values = bead(CONFOCAL)
    first, second = (measured_psf(values * scale, CONFOCAL, pixel_um=0.05, step_um=0.1) for scale in (1.0, 4.0))
    assert first == second
    assert hash(first) == hash(second)
    assert first != measured_psf(values[::2], CONFOCAL, pixel_um=0.05, step_um=0.2)


def test_tiff_stacks_and_zarr_arrays_are_read(tmp_path):
    tifffile, zarr = pytest.importorskip("tifffile"), pytest.importorskip("zarr")
    values = bead(CONFOCAL).astype(np.float32)
    tifffile.imwrite(tmp_path / "psf.tif", values)
    stored = zarr.create_array(tmp_path / "psf.zarr", data=values)
    options = {"pixel_um": 0.05, "step_um": 0.1}
    expected = measured_psf(values, CONFOCAL, **options)
    assert read_measured_psf(tmp_path / "psf.tif", CONFOCAL, **options) == expected
    assert measured_psf(stored, CONFOCAL, **options) == expected
    (tmp_path / "no.tif").write_text("no")
    for name in ("no.tif", "absent.tif"):
        with pytest.raises(UsageError, match=rf"{name}: .*allowed is a TIFF stack"):
            read_measured_psf(tmp_path / name, CONFOCAL, **options)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones((4, 4)), {}, r"a measured PSF of the shape \(4, 4\) must have axes \(z, y, x\)"),
        (np.full((3, 9, 9), np.nan), {}, "must have axes"),
        (np.zeros((3, 9, 9)), {}, "a measured PSF has no light"),
        (np.ones((3, 9, 9)), {"pixel_um": 0}, r"pixel_um 0 and step_um 0\.1 must be numbers above 0"),
    ],
)
def test_refusals_say_what_is_allowed(values, options, message):
    with pytest.raises(UsageError, match=message):
        measured_psf(values, CONFOCAL, **({"pixel_um": 0.05, "step_um": 0.1} | options))
