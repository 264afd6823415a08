"""Image a volume with microsim, in an interpreter that has it: run by `imaging_peers.py`, since its pins are its own.

`python microsim_peer.py GIVEN.npz MADE.npz`: the first holds ``volume`` (z, y, x) of fluorophores, ``psf`` (odd sizes),
``edges`` of voxels in um, ``planes`` that are wanted and how often to ``repeat``; the second gets ``images`` of these
planes, per fluorophore, and the ``seconds`` of processor time of every repetition. Its fastest settings are chosen:
numpy in float32 on one thread (its JAX backend does not take these arrays, its CuPy one needs a GPU), no caches on
disk, no detector, the PSF at hand already, and no rescaling.
"""

import logging
import os
import sys
import time

os.environ["MICROSIM_CACHE"] = "0"

import numpy as np
from microsim import schema
from microsim.schema.modality import Widefield


def main() -> None:
    """Read, image, write."""
    given, made = sys.argv[1:]
    logging.disable(logging.INFO)
    with np.load(given) as arrays:
        volume, psf, edges, planes, repeat = (arrays[name] for name in ("volume", "psf", "edges", "planes", "repeat"))

    class Given(Widefield):
        """Any modality whose PSF is known."""

        def psf(self, **_: object) -> np.ndarray:
            """Return it."""
            return psf

    settings = schema.Settings(
        np_backend="numpy",
        cache=False,
        max_psf_radius_aus=None,
        float_dtype="float32",
        spectral_bin_threshold_percentage=0,
    )
    seconds, images, light = [], np.empty(0), 1.0
    options = {"modality": Given(), "settings": settings}
    schema.Simulation.from_ground_truth(volume[:2, :8, :8], tuple(edges), **options).optical_image()  # imports
    for _ in range(int(repeat)):
        began = time.process_time()
        simulation = schema.Simulation.from_ground_truth(volume, tuple(edges), **options)
        images = simulation.optical_image().values[0][planes]
        seconds.append(time.process_time() - began)
        light = float(simulation.filtered_emission_rates().sum())
    np.savez(made, images=images / light, seconds=seconds)


if __name__ == "__main__":
    main()
