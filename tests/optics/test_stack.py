from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.optics import batch
from msl_store.optics.imaging import expected_images
from msl_store.optics.microscope import PRESETS, get_microscope
from msl_store.optics.reference import direct_images

UPRIGHT = np.eye(3)[None]
SHEET = get_microscope("light-sheet-25x-water")
SHARING = [*PRESETS.values(), SHEET, replace(PRESETS["epi1"], name="gaussian", psf="gaussian")]


@settings(max_examples=15, deadline=None)
@given(
    microscope=st.sampled_from(SHARING),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 15),
    fields=st.sampled_from([0.1, 1.0, 2.5]),
    depth=st.sampled_from([0.1, 0.7, 1.5]),
    tolerance=st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5]),
    planes=st.lists(st.floats(-3, 3), min_size=1, max_size=3),
)
def test_every_plane_is_right_to_the_tolerance(microscope, seed, count, fields, depth, tolerance, planes):
    microscope = replace(microscope, size_px=(48, 48))
    half = 24 * microscope.pixel_um * fields
    emitters = np.random.default_rng(seed).uniform(-1, 1, (count, 3)) * [half, half, depth]
    images = expected_images(emitters, microscope, UPRIGHT, z_um=planes, tolerance=tolerance)[0]
    truth = direct_images(emitters, microscope, UPRIGHT, z_um=planes)[0]
    for image, exact in zip(images, truth, strict=True):
        assert np.abs(image - exact).max() <= tolerance * exact.max() + count * 1e-9


@pytest.mark.parametrize("microscope", SHARING, ids=lambda microscope: microscope.name)
def test_planes_share_the_spreading_of_emitters(microscope, monkeypatch):
    spread = []
    original = batch.spread
    monkeypatch.setattr(batch, "spread", lambda *given: spread.append(1) or original(*given))
    emitters = np.random.default_rng(0).normal(size=(500, 3)) * [0.6, 0.4, 0.25]
    expected_images(emitters, microscope, UPRIGHT, z_um=np.linspace(-0.6, 0.6, 7))
    assert len(spread) == 1
