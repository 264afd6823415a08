"""Images of scenes: linear in the instances, on the scene's field, paired microscopes on the same emitters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beads import bead
from handmade import microscope, scene_of
from solids import sphere

import msl_store as msl
from msl_store.scenes import Scene, compose, field_of, pair, render


@pytest.fixture(scope="module")
def scene(library: msl.Library) -> Scene:
    return compose(library, library.ids[:4], field_um=5, seed=1, depth_um=4)


def test_a_scenes_image_is_the_sum_of_its_instances(scene: Scene) -> None:
    whole = render(scene, "epi1", z=[-0.5, 0.5], noise=False, tolerance=1e-5)
    parts = [
        render(replace(scene, placed=(item,)), "epi1", z=[-0.5, 0.5], noise=False, tolerance=1e-5)
        for item in scene.placed
    ]
    assert float(abs(sum(parts) - whole).max()) < 1e-4 * float(whole.max())


def test_the_image_covers_the_field_in_the_microscopes_pixels(scene: Scene) -> None:
    image = render(scene, "conf2", noise=False)
    assert image.dims == ("y", "x")
    assert image.dtype == np.float32
    assert image.shape == (103, 103)  # 5 um / 0.0488 um
    assert float(image.x[0] + image.x[-1]) == pytest.approx(0)
    np.testing.assert_allclose(np.diff(image.y), 0.0488)
    own = replace(scene, field_um=field_of("conf1"))
    assert render(own, "conf1", noise=False).shape == (128, 128)


def test_a_shape_is_imaged_where_it_lies() -> None:
    scene = scene_of(sphere(0.2, 2, (1.0, -0.6, 0.0)), field_um=(4, 6))
    image = render(scene, microscope(0.1), noise=False)
    assert image.sizes == {"y": 40, "x": 60}
    brightest = image.where(image > 0.3 * image.max(), 0)
    middle = {axis: float((brightest * brightest[axis]).sum() / brightest.sum()) for axis in ("x", "y")}
    assert middle == pytest.approx({"x": 1.0, "y": -0.6}, abs=0.05)


def test_the_same_seed_gives_the_same_counts(scene: Scene) -> None:
    counts = render(scene, "conf1", z=[-0.3, 0.3], seed=5)
    assert counts.dtype == np.uint16
    np.testing.assert_array_equal(counts, render(scene, "conf1", z=[-0.3, 0.3], seed=5))
    assert (counts != render(scene, "conf1", z=[-0.3, 0.3], seed=6)).any()
    assert counts.attrs["provenance"]["scene_digest"] == scene.digest


def test_noise_is_independent_between_planes_microscopes_and_scenes(library: msl.Library, scene: Scene) -> None:
    empty = replace(scene, placed=tuple(replace(item, emitters_um=np.empty((0, 3))) for item in scene.placed))
    other = replace(compose(library, library.ids[:4], field_um=5, seed=2), placed=empty.placed[:2])
    optics = [microscope(0.05, name) for name in ("a", "b")]
    fields = [
        *render(empty, optics[0], z=[-0.5, 0.5]).values,
        render(empty, optics[1]).values,
        render(other, optics[0], z=[0.5]).values[0],
    ]
    corner = np.corrcoef([field.astype(float).ravel() for field in fields])
    assert np.abs(corner - np.eye(4)).max() < 0.05  # 5 standard errors of 10,000 pixels


def test_planes_of_a_stack_share_one_scale(scene: Scene) -> None:
    stack = render(scene, "epi1", z=[0.0, 6.0], seed=1).values.astype(float)
    assert stack[1].max() < stack[0].max()
    assert np.percentile(stack[1], 1) == pytest.approx(np.percentile(stack[0], 1), abs=8)


def test_microscope_pairs_image_the_same_emitters(scene: Scene) -> None:
    both = pair(scene, ["conf1", "epi1"], noise=False)
    assert dict(both.sizes) == {"y_conf1": 72, "x_conf1": 72, "y_epi1": 46, "x_epi1": 46}
    np.testing.assert_array_equal(both.conf1.values, render(scene, "conf1", noise=False).values)
    # pixels of 0.1 and 0.3 um over 4.5 um: every third centre of the fine grid is one of the coarse grid
    field = replace(scene, field_um=(4.5, 4.5))
    grids = pair(field, [microscope(0.1, "fine"), microscope(0.3, "coarse")], noise=False, tolerance=1e-5)
    assert float(abs(grids.fine.values[1::3, 1::3] - grids.coarse.values).max()) < 1e-4 * float(grids.coarse.max())


def test_pairs_on_one_grid_align_pixel_by_pixel(scene: Scene) -> None:
    both = pair(scene, ["conf1", "conf2", "epi1"], pixel_um=0.07, noise=False)
    assert dict(both.sizes) == {"y": 72, "x": 72}
    stacked = both.to_array("microscope")
    assert stacked.dims == ("microscope", "y", "x")
    assert np.corrcoef([image.ravel() for image in stacked.values]).min() > 0.5
    with pytest.raises(msl.UsageError, match="two or more"):
        pair(scene, ["conf1", "conf1"])


def test_a_measured_psf_is_used_and_told(scene: Scene) -> None:
    psf = bead("epi1")
    own, measured = (render(scene, "epi1", noise=False, psf=one) for one in (None, psf))
    assert 0.001 < float(abs(own - measured).max() / own.max()) < 0.2
    assert measured.attrs["provenance"]["psf"] == {"epi1": psf.to_dict()}
    both = pair(scene, ["conf1", "epi1"], noise=False, psf={"epi1": psf})
    np.testing.assert_array_equal(both.epi1.values, measured.values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"z": []}, "focal planes"), ({"seed": -1}, "seed -1"), ({"tolerance": 1.0}, "tolerance")],
)
def test_bad_arguments_say_what_is_allowed(scene: Scene, arguments: dict, message: str) -> None:
    with pytest.raises(msl.UsageError, match=message):
        render(scene, "conf1", **arguments)
