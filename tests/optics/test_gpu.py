"""The GPU's algorithm on the CPU: numpy and finufft stand in for cupy and cufinufft, whose interfaces they share."""

import logging
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.experiment import planned
from msl_store.optics import gpu
from msl_store.optics.exposure import expose
from msl_store.optics.imaging import expected_images
from msl_store.optics.microscope import PRESETS, Microscope, get_microscope
from msl_store.optics.reference import direct_images
from msl_store.optics.rotations import VIEWS, view_rotation

finufft = pytest.importorskip("finufft")
UPRIGHT = np.eye(3)[None]
TURNS = np.array([view_rotation(view) for view in VIEWS])
WIDEFIELD = Microscope(
    name="widefield", numerical_aperture=1.2, wavelength_um=0.52, pixel_um=0.09, size_px=(48, 48), n_immersion=1.333,
    n_immersion_design=1.333, immersion_displacement_um=0.0,
)  # fmt: skip
MICROSCOPES = (
    *(replace(preset, size_px=(48, 48)) for preset in PRESETS.values()),
    WIDEFIELD,
    replace(WIDEFIELD, name="vectorial", psf="vectorial"),
    replace(WIDEFIELD, name="confocal", modality="confocal", excitation_um=0.488, pinhole_au=1.0),
    replace(WIDEFIELD, name="two-photon", modality="two-photon", excitation_um=0.92),
    replace(WIDEFIELD, name="light-sheet", modality="light-sheet", sheet_um=1.0),
    replace(WIDEFIELD, name="gaussian", psf="gaussian"),
)


class CudaError(RuntimeError):
    pass


class Card:
    """numpy as cupy, which counts what goes to the card and comes back."""

    cuda = SimpleNamespace(runtime=SimpleNamespace(CUDARuntimeError=CudaError))

    def __init__(self):
        self.there, self.back, self.answers = 0, 0, True

    def __getattr__(self, name):
        return getattr(np, name)

    def zeros(self, *given):
        if not self.answers:
            raise CudaError("no CUDA-capable device is detected")
        return np.zeros(*given)

    def asarray(self, values):
        self.there += 1
        return np.array(values)

    def asnumpy(self, values):
        self.back += 1
        return np.array(values)


@pytest.fixture
def card(monkeypatch):
    stand_in = Card()
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    pathfinder = SimpleNamespace(load_nvidia_dynamic_lib=lambda name: name)
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(pathfinder=pathfinder))
    transform = partial(finufft.nufft2d1, nthreads=1)
    monkeypatch.setitem(sys.modules, "cufinufft", SimpleNamespace(nufft2d1=transform))
    gpu._search.cache_clear()
    yield stand_in
    gpu._search.cache_clear()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    microscope=st.sampled_from(MICROSCOPES),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 12),
    fields=st.sampled_from([0.1, 1.0, 1.6]),
    depth=st.sampled_from([0.1, 0.8]),
    tolerance=st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5]),
    planes=st.sampled_from([None, [0.0], [-0.4, 0.6, 2.5]]),
)
def test_every_image_is_right_to_the_tolerance(card, microscope, seed, count, fields, depth, tolerance, planes):
    # fields of 1 reach the border, of 1.6 far beyond it
    rng = np.random.default_rng(seed)
    half = 24 * microscope.pixel_um * fields
    emitters = rng.uniform(-1, 1, (count, 3)) * [half, half, depth]
    shared = {"z_um": planes, "brightness": rng.gamma(2.0, size=count)}
    images = expected_images(emitters, microscope, UPRIGHT, tolerance=tolerance, device="gpu", **shared)
    truth = direct_images(emitters, microscope, UPRIGHT, **shared)
    assert images.shape == truth.shape
    assert images.dtype == np.float32
    for image, exact in zip(images.reshape(-1, 48, 48), truth.reshape(-1, 48, 48), strict=True):
        assert np.abs(image - exact).max() <= tolerance * exact.max() + shared["brightness"].sum() * 1e-9


@pytest.mark.parametrize("pixel_um", [0.03, 0.5])
def test_modes_fold_onto_fine_and_coarse_pixels_and_oblong_fields(card, pixel_um):
    microscope = replace(PRESETS["conf1"], pixel_um=pixel_um, size_px=(40, 71))
    emitters = np.random.default_rng(0).uniform(-1, 1, (30, 3)) * [35 * pixel_um, 25 * pixel_um, 0.5]
    image = expected_images(emitters, microscope, UPRIGHT, device="gpu")
    truth = direct_images(emitters, microscope, UPRIGHT)
    assert np.abs(image - truth).max() <= 1e-3 * truth.max()


@pytest.mark.parametrize("name", ["conf2", "epi1", "light-sheet-25x-water"])
@pytest.mark.parametrize("planes", [None, np.linspace(-1.5, 1.5, 5)])
def test_both_devices_agree_on_a_dense_shape_in_all_views(card, name, planes):
    rng = np.random.default_rng(1)
    emitters = rng.normal(size=(3000, 3))
    emitters *= np.array([1.2, 0.6, 0.5]) / np.linalg.norm(emitters, axis=1)[:, None]
    given = emitters, get_microscope(name), TURNS
    for keep in ("all", "above"):
        options = {"z_um": planes, "keep": keep, "brightness": rng.gamma(2.0, size=3000)}
        cpu, other = (expected_images(*given, device=device, **options) for device in ("cpu", "gpu"))
        peaks = cpu.max(axis=(-2, -1), keepdims=True)
        assert (np.abs(other - cpu) <= 2e-3 * peaks).all()


def test_views_and_planes_travel_together_and_plans_stay(card):
    emitters = np.random.default_rng(0).normal(size=(500, 3)) * [0.6, 0.4, 0.25]
    options = {"z_um": np.linspace(-0.6, 0.6, 7), "device": "gpu"}
    expected_images(emitters, PRESETS["epi1"], TURNS, **options)
    assert card.there > 7
    card.there = card.back = 0
    expected_images(emitters, PRESETS["epi1"], TURNS, **options)
    assert (card.there, card.back) == (1, 2)


def test_no_emitters_give_dark_images(card):
    assert not expected_images(np.empty((0, 3)), PRESETS["conf2"], TURNS, z_um=[0, 1], device="gpu").any()
    assert card.there == 0


def test_exposures_can_be_computed_there(card):
    emitters = np.random.default_rng(0).normal(size=(200, 3)) * [0.5, 0.5, 0.2]
    one, other = (
        expose(emitters, PRESETS["epi1"], ["0", "x90"], instance=1, noise=False, device=device)
        for device in ("cpu", "gpu")
    )
    assert card.there > 0
    np.testing.assert_allclose(other, one, atol=2e-3 * one.max())


def shot(device):
    return expected_images(np.zeros((3, 3)), PRESETS["epi1"], UPRIGHT, device=device)


def test_without_the_libraries_gpu_refuses_and_auto_takes_the_cpu(monkeypatch, caplog):
    gpu._search.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with caplog.at_level(logging.INFO, "msl_store.optics.gpu"):
        with pytest.raises(UsageError, match=r"needs cupy and cufinufft.*install \"msl-store\[gpu\]\""):
            shot("gpu")
        np.testing.assert_array_equal(shot("auto"), shot("cpu"))
    assert caplog.text.count("images are computed on the CPU: a GPU needs cupy and cufinufft") == 1
    gpu._search.cache_clear()


def test_without_a_card_gpu_refuses_and_auto_takes_the_cpu(card):
    card.answers = False
    with pytest.raises(UsageError, match=r"needs a CUDA device, and none answers \(no CUDA-capable device"):
        shot("gpu")
    np.testing.assert_array_equal(shot("auto"), shot("cpu"))
    assert card.there == 0


def test_auto_takes_the_card_where_there_is_one(card):
    shot("auto")
    assert card.there > 0


def test_an_unknown_device_is_refused():
    with pytest.raises(UsageError, match="device is 'tpu', but must be one of cpu, gpu, auto"):
        shot("tpu")


def test_an_experiment_images_on_the_device_asked_for(card):
    rng = np.random.default_rng(3)
    corners, faces = rng.normal(size=(4, 3)) + 3, np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    found = {}
    for device in ("cpu", "gpu"):
        experiment = planned(
            "conf2", views=["0", "x90"], z=None, frames=None, interval_s=1.0, labelling=None, psf=None,
            mode="corrected", noise=False, seed=0, tolerance=1e-3, device=device,
        )  # fmt: skip
        assert experiment.provenance()["device"] == device
        found[device] = np.empty(tuple(experiment.sizes.values()), experiment.dtype)
        before = card.there, card.back
        experiment.image(corners, faces, 1, found[device])
        assert ((card.there, card.back) > before) == (device == "gpu")
    assert np.abs(found["gpu"] - found["cpu"]).max() <= 2e-3 * found["cpu"].max()
