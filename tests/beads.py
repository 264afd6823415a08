"""PSFs as beads would show them, for tests of measured PSFs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msl_store.optics.measured import MeasuredPsf, measured_psf
from msl_store.optics.microscope import get_microscope
from msl_store.optics.psf import point_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL_UM, STEP_UM = 0.05, 0.1


def bead_stack(name: str) -> NDArray[np.float32]:
    """The image of a point under a known microscope, shape (41, 41, 41)."""
    at = (np.arange(41) - 20) * PIXEL_UM
    radius, where = np.unique(np.hypot(at[:, None], at), return_inverse=True)
    depth = (np.arange(41) - 20) * STEP_UM
    values = point_spread(radius, depth, get_microscope(name), immersion_displacement_um=0.0)
    return values[where].transpose(2, 0, 1).astype(np.float32)


def bead(name: str) -> MeasuredPsf:
    """The PSF measured on it."""
    return measured_psf(bead_stack(name), get_microscope(name), pixel_um=PIXEL_UM, step_um=STEP_UM)
