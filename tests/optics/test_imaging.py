import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.optics.imaging import expected_images
from msl_store.optics.microscope import PRESETS
from msl_store.optics.plan import make_plan
from msl_store.optics.reference import direct_images
from msl_store.optics.rotations import VIEWS, view_rotation

UPRIGHT = np.eye(3)[None]
TURNS = np.array([view_rotation(view) for view in VIEWS])
presets = st.sampled_from(list(PRESETS.values()))


def cloud(seed, count, extent):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)) * extent


def relative_error(image, truth):
    return np.abs(image - truth).max() / truth.max()


@settings(max_examples=25, deadline=None)
@given(
    microscope=presets,
    seed=st.integers(0, 2**32),
    count=st.integers(1, 40),
    fields=st.sampled_from([0.05, 0.5, 1.0, 1.6]),
    depth=st.sampled_from([0.1, 1.0, 3.0]),
    tolerance=st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5]),
    focus=st.sampled_from([None, 0.0, 0.7]),
)
def test_images_are_right_to_the_tolerance(microscope, seed, count, fields, depth, tolerance, focus):
    # fields of 1 reach the border, of 1.6 far beyond it
    half = 64 * microscope.pixel_um * fields
    emitters = cloud(seed, count, [half, half, depth])
    image = expected_images(emitters, microscope, UPRIGHT, focus_um=focus, tolerance=tolerance)
    truth = direct_images(emitters, microscope, UPRIGHT, focus_um=focus)
    assert image.dtype == np.float32
    assert np.abs(image - truth).max() <= tolerance * truth.max() + count * 1e-9


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("where", ["border", "corner", "just outside", "far outside"])
def test_single_emitters_at_and_beyond_the_border(name, where):
    microscope = PRESETS[name]
    pixels = {"border": (0, 63.9), "corner": (-64, -64), "just outside": (70, 10), "far outside": (0, 140)}[where]
    emitters = np.array([[pixels[0] * microscope.pixel_um, pixels[1] * microscope.pixel_um, 0.4]])
    truth = direct_images(emitters, microscope, UPRIGHT)
    for tolerance in (1e-2, 1e-3, 1e-4):
        image = expected_images(emitters, microscope, UPRIGHT, tolerance=tolerance)
        assert np.abs(image - truth).max() <= tolerance * truth.max() + 1e-9


@pytest.mark.parametrize("pixel_um", [0.03, 0.5])
def test_fine_and_coarse_pixels_and_oblong_fields(pixel_um):
    # coarse pixels undersample the PSF many times over: its modes fold
    microscope = replace(PRESETS["conf1"], pixel_um=pixel_um, size_px=(40, 71))
    emitters = cloud(0, 30, [35 * pixel_um, 25 * pixel_um, 0.5])
    image, truth = expected_images(emitters, microscope, UPRIGHT), direct_images(emitters, microscope, UPRIGHT)
    assert image.shape == (1, 40, 71)
    assert relative_error(image, truth) <= 1e-3


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("count", [2, 300])
def test_emitters_on_either_side_of_the_focus_and_none_in_it(name, count):
    # the range of depths holds bright ones, but no emitter lies there
    emitters = cloud(4, count, [0.4, 0.4, 0.1])
    emitters[:, 2] += np.where(np.arange(count) % 2, 2.9, -2.9)
    image = expected_images(emitters, PRESETS[name], UPRIGHT, focus_um=0.0)
    assert relative_error(image, direct_images(emitters, PRESETS[name], UPRIGHT, focus_um=0.0)) <= 1e-3


def test_a_dense_sheet_is_right_to_the_tolerance():
    grid = np.linspace(-2, 2, 25)
    sheet = np.array([[x, y, 0.1 * x] for x in grid for y in grid])
    for microscope in PRESETS.values():
        truth = direct_images(sheet, microscope, UPRIGHT)
        assert relative_error(expected_images(sheet, microscope, UPRIGHT), truth) <= 1e-3


@settings(max_examples=15, deadline=None)
@given(microscope=presets, seed=st.integers(0, 2**32), split=st.integers(1, 59))
def test_images_are_linear_in_the_emitters(microscope, seed, split):
    emitters = cloud(seed, 60, [2.0, 1.0, 0.8])
    whole = expected_images(emitters, microscope, UPRIGHT)
    parts = expected_images(emitters[:split], microscope, UPRIGHT) + expected_images(
        emitters[split:], microscope, UPRIGHT
    )
    assert np.abs(whole - parts).max() <= 2e-3 * whole.max()
    thrice = expected_images(np.tile(emitters, (3, 1)), microscope, UPRIGHT)
    np.testing.assert_allclose(thrice, 3 * whole, atol=1e-5 * thrice.max())


def test_columns_rows_and_depth_are_axes_0_1_and_2():
    microscope = PRESETS["conf1"]
    emitter = np.array([[10.5, -20.5, 0.0]]) * microscope.pixel_um + [[0, 0, 0.87]]
    (image,) = expected_images(emitter, microscope, UPRIGHT)
    assert np.unravel_index(image.argmax(), image.shape) == (64 - 21, 64 + 10)
    assert 0.5 < image.max() <= 1
    buried = expected_images(emitter - [[0, 0, 2]], microscope, UPRIGHT)
    assert buried.max() < 0.1 * image.max()


def test_a_view_is_the_image_of_rotated_emitters():
    emitters = cloud(1, 200, [1.0, 0.5, 0.7])
    images = expected_images(emitters, PRESETS["epi1"], TURNS)
    for turn, image in zip(TURNS, images, strict=True):
        alone = expected_images(emitters @ turn, PRESETS["epi1"], UPRIGHT)
        np.testing.assert_array_equal(alone[0], image)


def test_above_drops_emitters_below_the_middle():
    emitters = cloud(2, 100, [1.0, 1.0, 1.0])
    above = expected_images(emitters, PRESETS["epi1"], UPRIGHT, keep="above")
    np.testing.assert_array_equal(above, expected_images(emitters[emitters[:, 2] >= 0], PRESETS["epi1"], UPRIGHT))
    assert not expected_images(-np.abs(emitters) - 0.1, PRESETS["epi1"], UPRIGHT, keep="above").any()


def test_no_emitters_give_dark_images():
    assert not expected_images(np.empty((0, 3)), PRESETS["conf2"], TURNS, z_um=[0, 1]).any()


def test_planes_of_a_stack_are_the_single_planes():
    emitters = cloud(3, 50, [1.0, 1.0, 0.5])
    planes = [-0.5, 0.0, 1.0]
    stack = expected_images(emitters, PRESETS["conf1"], TURNS[:2], z_um=planes)
    assert stack.shape == (2, 3, 128, 128)
    for index, plane in enumerate(planes):
        single = expected_images(emitters, PRESETS["conf1"], TURNS[:2], focus_um=plane)
        assert np.abs(stack[:, index] - single).max() <= 2e-3 * single.max()
        # but not a bit depends on which other planes are taken with it
        alone = expected_images(emitters, PRESETS["conf1"], TURNS[:2], z_um=[plane])
        np.testing.assert_array_equal(stack[:, index], alone[:, 0])
    truth = direct_images(emitters, PRESETS["conf1"], TURNS[:2], z_um=planes)
    assert relative_error(stack, truth) <= 1e-3


def test_the_focus_is_at_the_plane_asked_for():
    microscope = replace(PRESETS["epi1"], n_sample=1.515)
    stack = expected_images(np.array([[0.05, 0.05, 0.6]]), microscope, UPRIGHT, z_um=np.linspace(-1, 1, 21))
    assert np.linspace(-1, 1, 21)[stack.max(axis=(0, 2, 3)).argmax()] == pytest.approx(0.6)
    own = expected_images(np.array([[0.05, 0.05, 1.0]]), microscope, UPRIGHT)
    assert own.max() > 0.9


def digest(images):
    return hashlib.sha256(images.tobytes()).hexdigest()


PROCESS = """
import hashlib, numpy as np
from msl_store.optics.imaging import expected_images
from msl_store.optics.microscope import PRESETS
emitters = np.random.default_rng(9).uniform(-1, 1, (500, 3))
for tolerance in (1e-3, 1e-5):
    images = expected_images(emitters, PRESETS["conf2"], np.eye(3)[None], tolerance=tolerance)
    print(hashlib.sha256(images.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("threads", ["1", "4"])
def test_bits_do_not_depend_on_process_order_cache_or_threads(threads):
    emitters = np.random.default_rng(9).uniform(-1, 1, (500, 3))
    expected_images(cloud(0, 20, [3.0, 3.0, 2.0]), PRESETS["conf2"], UPRIGHT)
    here = [digest(expected_images(emitters, PRESETS["conf2"], UPRIGHT, tolerance=t)) for t in (1e-3, 1e-5)]
    environment = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PATH": ""}
    there = subprocess.run([sys.executable, "-c", PROCESS], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here
    make_plan.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(expected_images, emitters, PRESETS["conf2"], UPRIGHT) for _ in range(8)]
    assert {digest(job.result()) for job in jobs} == {here[0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emitters_um": np.zeros((4, 2))}, r"emitters_um has the shape \(4, 2\), but must have \(n, 3\)"),
        ({"emitters_um": np.full((1, 3), np.nan)}, "emitters_um holds a position that is not finite"),
        ({"rotations": np.eye(3)}, r"rotations has the shape \(3, 3\), but must have \(n_view, 3, 3\)"),
        ({"rotations": 2 * UPRIGHT}, "rotations holds a matrix that is not orthogonal"),
        ({"keep": "below"}, "keep is 'below', but must be 'all' or 'above'"),
        ({"tolerance": 0.5}, r"tolerance is 0\.5, but must lie between 1e-07 and 0\.1"),
        ({"z_um": [0.0], "focus_um": 0.0}, r"z_um \(a stack\) and focus_um \(a single plane\) are both given"),
        ({"z_um": []}, r"focal planes \[\] must be one or more finite numbers"),
        ({"focus_um": np.inf}, r"focal planes \[inf\] must be"),
    ],
)
def test_refusals_say_what_is_allowed(change, message):
    arguments = {"emitters_um": np.zeros((1, 3)), "microscope": PRESETS["epi1"], "rotations": UPRIGHT} | change
    with pytest.raises(UsageError, match=message):
        expected_images(**arguments)
