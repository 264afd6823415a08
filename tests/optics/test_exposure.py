from dataclasses import replace

import numpy as np
import pytest

from msl_store.errors import UsageError
from msl_store.optics.detector import Camera
from msl_store.optics.exposure import expose, photons_per_unit
from msl_store.optics.labelling import Labelling
from msl_store.optics.microscope import PRESETS, Microscope

CAMERA = Camera(photons_per_emitter=400, quantum_efficiency=0.8, read_noise_electrons=1.0, offset_counts=100)
WIDEFIELD = Microscope(
    name="w", numerical_aperture=1.2, wavelength_um=0.5, pixel_um=0.1, n_immersion=1.333, n_immersion_design=1.333,
    n_sample=1.333, size_px=(96, 96), camera=CAMERA,
)  # fmt: skip
EMITTERS = np.random.default_rng(0).normal(size=(200, 3)) * [0.5, 0.5, 0.2]


def shot(microscope=WIDEFIELD, **options):
    return expose(EMITTERS, microscope, ["0", "x90"], instance=5, **options)


def test_the_budget_is_conserved_over_the_image():
    one = expose(np.zeros((1, 3)), WIDEFIELD, ["0"], instance=0, noise=False)
    # the skirts of an Airy disk beyond 4.8 um carry 2 / (pi v) of its light (Born and Wolf, 8.5.2)
    assert one.sum() == pytest.approx(400, rel=2 / np.pi / (2 * np.pi / 0.5 * 1.2 * 4.8) + 0.005)


def test_a_scanned_focus_gets_its_photons_in_the_pixel_on_the_emitter():
    scanned = replace(WIDEFIELD, modality="confocal", excitation_um=0.45, pinhole_au=1.0)
    assert photons_per_unit(scanned) == 400
    one = expose(np.array([[0.05, 0.05, 0]]), scanned, ["0"], instance=0, noise=False)
    assert one.max() == pytest.approx(400, rel=2e-3)


def test_counts_are_the_cameras():
    mean = shot(noise=False).astype(float)
    counts = np.stack([shot(seed=seed) for seed in range(40)]).astype(float)
    assert counts.dtype == float
    expected = 100 + mean * 0.8 / 0.5
    variance = mean * 0.8 / 0.25 + 1 / 0.25 + 1 / 12
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=6 * np.sqrt(variance.max() / 40))
    score = (counts - expected) / np.sqrt(variance)
    assert score.var() == pytest.approx(1, abs=0.02)


def test_noise_is_one_to_a_view_plane_frame_instance_and_seed():
    film = shot(frames=2, z_um=[0.0, 0.3])
    assert film.shape == (2, 2, 2, 96, 96)
    dark = [image[:20].ravel() - image[:20].mean() for image in film.reshape(-1, 96, 96).astype(float)]
    others = np.corrcoef([*dark, expose(EMITTERS, WIDEFIELD, ["0"], instance=6)[0, :20].ravel()])
    assert np.abs(others - np.eye(len(others))).max() < 0.12
    np.testing.assert_array_equal(film[:, 1, 1], shot(frames=2, z_um=[0.3])[:, 1, 0])


def test_a_film_begins_with_the_single_image_and_bleaches():
    labelling = Labelling(bleach_frames=2.0)
    film = shot(frames=4, noise=False, labelling=labelling)
    light = film.sum(axis=(0, 2, 3))
    assert (np.diff(light) < 0).all()
    assert light[3] / light[0] == pytest.approx(np.exp(-1.5), abs=0.12)
    np.testing.assert_array_equal(shot(frames=1)[:, 0], shot())


def test_brightness_is_the_same_under_every_microscope():
    labelling = Labelling(brightness_spread=1.0)
    near, far = (shot(replace(WIDEFIELD, name=name), noise=False, labelling=labelling) for name in ("a", "b"))
    np.testing.assert_array_equal(near, far)
    assert not np.array_equal(near, shot(noise=False))


def test_a_microscope_without_camera_has_no_budget():
    with pytest.raises(UsageError, match="microscope epi1 has no camera"):
        photons_per_unit(PRESETS["epi1"])
