"""PSFs against the independent implementations of psfmodels, where it is installed."""

from dataclasses import replace

import numpy as np
import pytest

from msl_store.optics.microscope import Microscope
from msl_store.optics.psf import point_spread

psfmodels = pytest.importorskip("psfmodels")

STEP, SIDE = 0.05, 61
OIL = Microscope(
    name="oil", numerical_aperture=1.3, wavelength_um=0.6, pixel_um=STEP, n_sample=1.33, immersion_displacement_um=0.0
)


def theirs(function, depth, planes):
    h = function(
        zv=np.asarray(planes), nx=SIDE, dxy=STEP, pz=depth, wvl=0.6,
        params={"NA": 1.3, "ns": 1.33, "ni": 1.515, "ni0": 1.515, "ng": 1.515, "ng0": 1.515, "tg": 170, "tg0": 170,
                "ti0": 150},
        normalize=False,
    )  # fmt: skip
    return h[:, SIDE // 2, SIDE // 2 :]


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
@pytest.mark.parametrize("depth", [0.0, 2.0])
def test_psfs_are_those_of_psfmodels(model, depth):
    # they focus nominally on the emitter and move the stage by z; their radial tables are interpolated linearly,
    # which a per cent allows for
    planes = [-1.0, 0.0, 0.8, 2.0]
    expected = theirs(getattr(psfmodels, f"{model}_psf"), depth, planes)
    radius = STEP * np.arange(SIDE // 2 + 1)
    microscope = replace(OIL, psf=model)
    ours = np.array(
        [
            point_spread(
                radius, np.array([depth]), microscope, immersion_displacement_um=depth * (1 - 1.515 / 1.33) - plane
            )[:, 0]
            for plane in planes
        ]
    )
    scale = (ours * expected).sum() / (ours * ours).sum()
    assert np.abs(ours * scale - expected).max() < 0.01 * expected.max()


def test_the_focus_shifts_with_the_indices_as_in_psfmodels():
    stage = np.linspace(-1, 5, 121)
    expected = theirs(psfmodels.scalar_psf, 3.0, stage)[:, 0]
    ours = [
        point_spread(np.zeros(1), np.array([3.0]), OIL, immersion_displacement_um=3.0 * (1 - 1.515 / 1.33) - place)[
            0, 0
        ]
        for place in stage
    ]
    assert stage[np.argmax(ours)] == pytest.approx(stage[np.argmax(expected)], abs=0.051)
    # oil over water sees an emitter less deep than it lies
    assert 2.0 < stage[np.argmax(ours)] - 3.0 * (1 - 1.515 / 1.33) < 4.2
