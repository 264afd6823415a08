"""One shape's images under one microscope: emitters, rotations, optics, camera, all from one seed.

Random numbers come from independent streams, one a purpose: the emitters of (seed, instance), the noise of (seed,
instance, microscope, view, plane). So an image does not depend on which others are made with it, and two microscopes
see the same emitters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args
from zlib import crc32

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.camera import published_counts
from msl_store.optics.emitters import sample_emitters
from msl_store.optics.imaging import expected_images
from msl_store.optics.rotations import published_rotation, view_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.optics.microscope import Microscope

Mode = Literal["corrected", "published"]

_EMITTERS, _NOISE, _FIELD = range(3)
"""Purposes of the random streams."""

SHARED_NOISE = frozenset({"conf1"})
"""Microscopes whose published images all carry one noise field (DESIGN: correlation 1.00 over views, instances)."""


def checked_mode(mode: str) -> Mode:
    """Return a mode, or raise `UsageError` naming those there are."""
    if mode not in get_args(Mode):
        raise UsageError(f"mode {mode!r}: allowed are {', '.join(get_args(Mode))}")
    return mode  # type: ignore[return-value]


def rotations(microscope: Microscope, views: Sequence[str], mode: Mode) -> NDArray[np.float64]:
    """Return the rotation of every view, shape (view, 3, 3), acting on row vectors from the right.

    In published mode these are the rotations that the published images really have, not what their names say.
    """
    if mode == "published":
        return np.array([published_rotation(microscope.name, view) for view in views])
    return np.array([view_rotation(view) for view in views])


def emitters_of(vertices_um: NDArray[Any], faces: NDArray[Any], *, instance: int, seed: int) -> NDArray[np.float64]:
    """Return a shape's emitters, shape (emitter, 3) in um, centred on their mean."""
    points: NDArray[np.float64] = sample_emitters(vertices_um, faces, _stream(seed, instance, _EMITTERS))
    points -= points.mean(axis=0)
    return points


def expose(
    emitters_um: NDArray[np.float64],
    microscope: Microscope,
    views: Sequence[str],
    *,
    instance: int,
    z_um: Sequence[float] | None = None,
    mode: Mode = "corrected",
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> NDArray[Any]:
    """Return one shape's images under one microscope.

    Parameters
    ----------
    emitters_um : ndarray, shape (emitter, 3)
        As `emitters_of` returns them.
    microscope : Microscope
        Optics, pixels and camera.
    views : sequence of str
        Names of the rotations.
    instance : int
        The instance's id, which chooses the noise.
    z_um : sequence of float, optional
        Focal planes in um above the shape's middle; without it one image a view, focused on the middle (in published
        mode as the published images are, with the immersion displaced).
    mode : {"corrected", "published"}
        ``published`` has the published rotations, drops emitters below the middle, and repeats conf1's one noise
        field; ``corrected`` has true rotations, all emitters, independent noise.
    noise : bool
        Camera counts, or the expected image without noise.
    seed : int
        Chooses emitters and noise.
    tolerance : float
        Largest error of the expected image, as a fraction of its maximum.

    Returns
    -------
    ndarray, shape (view, y, x), or (view, z, y, x) with `z_um`
        uint16 counts, or float32 photons without noise.
    """
    published = mode == "published"
    expected = expected_images(
        emitters_um,
        microscope,
        rotations(microscope, views, mode),
        z_um=z_um,
        focus_um=None if published or z_um is not None else 0.0,
        keep="above" if published else "all",
        tolerance=tolerance,
    )
    if not noise:
        return expected
    planes = expected if z_um is not None else expected[:, None]
    counts = np.empty(planes.shape, np.uint16)
    for v, view in enumerate(views):
        for p, depth in enumerate(z_um or (0.0,)):
            name = [crc32(f"{microscope.name}/{view}/{round(depth * 1e6)}".encode())]
            scaling = _stream(seed, instance, _NOISE, *name)
            field = _stream(seed, 0, _FIELD) if published and microscope.name in SHARED_NOISE else None
            counts[v, p] = published_counts(planes[v, p], scaling, noise_rng=field)
    return counts if z_um is not None else counts[:, 0]


def _stream(*key: int) -> np.random.Generator:
    """Return the random stream of a key; streams of different keys are independent."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
