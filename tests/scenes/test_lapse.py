"""Time-lapses: lazy, the same bits however computed, consistent with still images and masks of each frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import msl_store as msl
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.labelling import Labelling
from msl_store.scenes import (
    Motion,
    Scene,
    compose,
    edition_of,
    label_volume,
    masks,
    moved,
    render,
    timelapse,
    timelapse_truth,
)

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client

MOTION = Motion(drift_um=(0.1, 0.05, 0), spin_deg=3, wander_um=0.2, deformation_um=0.1, seed=2)
SHINING = Labelling(bleach_frames=6.0, on_frames=2.0, off_frames=1.0, brightness_spread=0.3)


@pytest.fixture(scope="module")
def scene(library: msl.Library) -> Scene:
    return compose(library, library.ids[:3], field_um=4, seed=1)


@pytest.fixture(scope="module")
def shining(library: msl.Library) -> Scene:
    return compose(library, library.ids[:3], field_um=4, seed=1, labelling=SHINING)


def test_is_lazy_with_a_few_tasks_a_frame(scene: Scene) -> None:
    lapse = timelapse(scene, "epi1", MOTION, 1000, z=[-0.3, 0.3])
    assert lapse.dims == ("frame", "z", "y", "x")
    assert lapse.dtype == np.uint16
    assert set(lapse.chunks[0]) == {1}
    assert len(lapse.__dask_graph__()) <= 4 * 1000 + 4
    np.testing.assert_array_equal(lapse.isel(frame=0).values, render(scene, "epi1", z=[-0.3, 0.3]).values)


def test_the_same_bits_on_threads_and_processes_and_in_any_selection(scene: Scene) -> None:
    lapse = timelapse(scene, "epi1", MOTION, 4, seed=5)
    values = lapse.compute(scheduler="threads").values
    np.testing.assert_array_equal(lapse.compute(scheduler="processes").values, values)
    np.testing.assert_array_equal(timelapse(scene, "epi1", MOTION, [3, 1], seed=5).values, values[[3, 1]])
    assert (timelapse(scene, "epi1", MOTION, [3], seed=6).values != values[3]).any()


def test_the_same_bits_on_a_cluster(scene: Scene, client: Client) -> None:
    lapse = timelapse(scene, "epi1", MOTION, 3, seed=5)
    truth = timelapse_truth(scene, "epi1", MOTION, 3)
    np.testing.assert_array_equal(lapse.compute().values, lapse.compute(scheduler="synchronous").values)
    np.testing.assert_array_equal(truth.labels.values, truth.labels.compute(scheduler="synchronous").values)


def test_frame_0_equals_the_still_scene(scene: Scene) -> None:
    for noise in (True, False):
        lapse = timelapse(scene, "conf2", MOTION, 1, noise=noise, seed=5)
        np.testing.assert_array_equal(lapse.values[0], render(scene, "conf2", noise=noise, seed=5).values)


def test_every_frame_is_the_image_of_its_scene(shining: Scene) -> None:
    lapse = timelapse(shining, "epi1", MOTION, [2, 40], noise=False)
    for number in (2, 40):
        still = render(moved(shining, MOTION, number), "epi1", noise=False)
        np.testing.assert_array_equal(lapse.sel(frame=number).values, still.values)


def test_bleaching_shows_in_photons_and_counts(library: msl.Library) -> None:
    fading = compose(library, library.ids[:3], field_um=4, seed=1, labelling=Labelling(bleach_frames=5.0))
    bright = fading.brightness(range(6)).mean(axis=1)
    assert bright[5] / bright[0] == pytest.approx(np.exp(-1), abs=0.05)
    photons = timelapse(fading, "epi1", Motion(), 6, noise=False).values
    np.testing.assert_allclose(photons.sum(axis=(1, 2)) / photons[0].sum(), bright / bright[0], rtol=0.02)
    counts = timelapse(fading, "epi1", Motion(), 6).values.astype(float)
    design = np.stack([np.ones(photons[0].size), photons[0].ravel()], axis=1)
    slopes, shares = (
        [np.linalg.lstsq(design, image.ravel(), rcond=None)[0][1] for image in film] for film in (counts, photons)
    )
    # the noise of a slope is 0.4 % here; levels are whole numbers
    np.testing.assert_allclose(np.array(slopes) / slopes[0], shares, rtol=0.05)


def test_a_blinking_film_is_the_same_in_any_selection_and_scheduler(shining: Scene) -> None:
    film = timelapse(shining, "widefield-100x-oil", MOTION, 40, seed=5)
    chosen = timelapse(shining, "widefield-100x-oil", MOTION, [35, 3], seed=5)
    np.testing.assert_array_equal(chosen.compute(scheduler="processes").values, film.isel(frame=[35, 3]).values)
    np.testing.assert_array_equal(film.isel(frame=0).values, render(shining, "widefield-100x-oil", seed=5).values)


def test_a_camera_counts_the_photons_of_its_budget(scene: Scene) -> None:
    optics = INSTRUMENTS["widefield-100x-oil"]
    photons = render(scene, optics, noise=False).values
    counts = [render(scene, optics, seed=seed).values.astype(float) for seed in range(20)]
    gain = optics.camera.quantum_efficiency / optics.camera.electrons_per_count
    expected = optics.camera.offset_counts + photons * gain
    variance = photons * gain / optics.camera.electrons_per_count + 1.6**2 / optics.camera.electrons_per_count**2
    assert np.abs(np.mean(counts, axis=0) - expected).mean() < 2 * np.sqrt(variance.mean() / 20)
    assert photons.sum() == pytest.approx(len(scene.emitters_um) * optics.camera.photons_per_emitter, rel=0.15)


def test_drift_moves_the_image_by_the_stated_um(scene: Scene) -> None:
    drifting = Motion(drift_um=(0.109, -0.109, 0))  # one pixel of epi1 a frame
    photons = timelapse(scene, "epi1", drifting, [0, 3], noise=False, tolerance=1e-5).values
    assert np.abs(photons[1][:-3, 3:] - photons[0][3:, :-3]).max() < 1e-4 * photons[0].max()


def test_the_truth_of_every_frame_is_that_of_its_scene(scene: Scene) -> None:
    truth = timelapse_truth(scene, "epi1", MOTION, [0, 4], voxel_um=0.2, depth_um=3)
    assert truth.labels.chunks[0] == (1, 1)
    for number in (0, 4):
        now = moved(scene, MOTION, number)
        still, volume = masks(now, "epi1"), label_volume(now, 0.2, depth_um=3)
        here = truth.sel(frame=number)
        for name in ("instance_mask", "semantic", "labels"):
            np.testing.assert_array_equal(here[name].values, still[name].values)
        np.testing.assert_array_equal(here.volume.values, volume.values)
        np.testing.assert_allclose(here.volume_x, volume.x)
        np.testing.assert_array_equal(here.position_um.values, [item.position_um for item in now.placed])
    lapse = timelapse(scene, "epi1", MOTION, [0, 4])
    np.testing.assert_array_equal(truth.x, lapse.x)
    with pytest.raises(msl.UsageError, match="depth_um"):
        timelapse_truth(scene, "epi1", MOTION, 2, voxel_um=0.2)


def test_a_time_lapse_is_an_edition_that_opens_as_a_library(scene: Scene, library: msl.Library, tmp_path: Path) -> None:
    lapse = timelapse(scene, "epi1", MOTION, 3, seed=5)
    written = msl.write(edition_of(lapse), tmp_path / "lapse.zarr")
    assert written.state == "new"
    edition = msl.open(tmp_path / "lapse.zarr")
    assert edition.ids.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(edition.images.values[:, 0, 0], lapse.values)
    assert edition.attributes["provenance"]["motion"] == MOTION.to_dict()
    assert edition.license == "CC0-1.0"
    assert msl.write(edition_of(lapse), tmp_path / "lapse.zarr").state == "published"
    with pytest.raises(msl.UsageError, match="was simulated from"):
        library.with_edition(tmp_path / "lapse.zarr")
    with pytest.raises(msl.UsageError, match="no lazy time-lapse"):
        edition_of(lapse.compute())


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [(0, {}, "frames 0"), ([1, 1], {}, "different"), ([-1], {}, "frames"), (2, {"interval_s": 0}, "interval_s 0")],
)
def test_bad_arguments_say_what_is_allowed(scene: Scene, frames: object, options: dict, message: str) -> None:
    with pytest.raises(msl.UsageError, match=message):
        timelapse(scene, "epi1", MOTION, frames, **options)
