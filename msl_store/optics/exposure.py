"""One shape's images under one microscope: emitters, rotations, optics, camera, all from one seed.

Random numbers come from independent streams, one a purpose: the emitters of (seed, instance), their brightness of the
same, the noise of (seed, instance, microscope, view, plane, frame), a chip's pixels of (seed, microscope). So an image
does not depend on which others are made with it, and two microscopes see the same emitters, blinking alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args
from zlib import crc32

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.camera import draw_levels, published_counts
from msl_store.optics.detector import detect
from msl_store.optics.imaging import expected_images
from msl_store.optics.labelling import Labelling, brightness_of, label
from msl_store.optics.psf import psf_of
from msl_store.optics.rotations import published_rotation, view_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.optics.gpu import DeviceName
    from msl_store.optics.lens import Psf
    from msl_store.optics.microscope import Microscope

Mode = Literal["corrected", "published"]

_EMITTERS, _NOISE, _FIELD, _BRIGHTNESS, _CHIP = range(5)
"""Purposes of the random streams."""

SHARED_NOISE = frozenset({"conf1"})
"""Microscopes whose published images all carry one noise field (measured correlation 1.00 over views, instances)."""


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


def emitters_of(
    vertices_um: NDArray[Any],
    faces: NDArray[Any],
    *,
    instance: int,
    seed: int,
    labelling: Labelling | None = None,
) -> NDArray[np.float64]:
    """Return a shape's emitters, shape (emitter, 3) in um, centred on their mean; the published ones by default."""
    points = label(vertices_um, faces, labelling or Labelling(), _stream(seed, instance, _EMITTERS))
    if len(points):
        points -= points.mean(axis=0)
    return points


def photons_per_unit(microscope: Microscope, psf: Psf | None = None) -> float:
    """Return the photons on a pixel for one unit of the expected image: the photon budget of the camera.

    An emitter's photons are spread over the image as its PSF is. Where a focus is scanned, one detector gets them.

    Raises
    ------
    UsageError
        The microscope has no camera.
    """
    if microscope.camera is None:
        raise UsageError(f"microscope {microscope.name} has no camera, so that its images have no photon budget")
    light = (psf or psf_of(microscope)).light_um2
    share = 1.0 if light is None else microscope.pixel_um**2 / light
    return microscope.camera.photons_per_emitter * share


def expected_photons(
    emitters_um: NDArray[np.float64],
    microscope: Microscope,
    rotations: NDArray[Any],
    *,
    psf: Psf | None = None,
    **options: Any,
) -> NDArray[np.float32]:
    """Return `msl_store.optics.imaging.expected_images` in the unit that `counts_of` takes.

    That is mean photons where the microscope has a camera, and else focal peaks of one emitter.
    """
    images = expected_images(emitters_um, microscope, rotations, psf=psf, **options)
    if microscope.camera is not None:
        images *= np.float32(photons_per_unit(microscope, psf))
    return images


def counts_of(
    photons: NDArray[Any],
    microscope: Microscope,
    rng: np.random.Generator,
    *,
    seed: int,
    **published: Any,
) -> NDArray[np.uint16]:
    """Return the counts of one image: those of the microscope's camera, or without one those of the published noise.

    Parameters
    ----------
    photons : ndarray, shape (y, x)
        As `expected_photons` gives them.
    microscope : Microscope
        Whose camera.
    rng : numpy.random.Generator
        Draws the noise.
    seed : int
        Chooses the chip, whose pixels are the same in every image of a microscope.
    **published
        What else `msl_store.optics.camera.published_counts` takes; no matter to cameras.
    """
    if microscope.camera is None:
        return published_counts(photons, rng, **published)
    chip = _stream(seed, 0, _CHIP, crc32(microscope.name.encode()))
    return detect(photons, microscope.camera, rng, pixel_rng=chip)


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
    labelling: Labelling | None = None,
    frames: int | None = None,
    psf: Psf | None = None,
    device: DeviceName = "cpu",
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
    labelling : Labelling, optional
        Brightness, blinking and bleaching of the emitters; without it all are alike.
    frames : int, optional
        Consecutive frames of a film. The emitters blink and bleach alike in every view and plane.
    psf : Psf, optional
        In place of the microscope's own, as of `msl_store.optics.imaging.expected_images`.
    device : {"cpu", "gpu", "auto"}
        Where images are computed, as of `msl_store.optics.imaging.expected_images`.

    Returns
    -------
    ndarray, shape (view, [frame,] [z,] y, x)
        With the axes for `frames` and `z_um` where these are given: uint16 counts, or without noise the expected
        image as float32, in mean photons where the microscope has a camera and else in focal peaks of one emitter.
        Frames without a camera are scaled as the first is, so that bleaching shows.
    """
    stream = _stream(seed, instance, _BRIGHTNESS)
    bright = brightness_of(labelling or Labelling(), len(emitters_um), stream, frames=frames)
    turns, published = rotations(microscope, views, mode), mode == "published"
    scales: dict[tuple[int, ...], dict[str, Any]] = {}
    film = []
    for number, one in enumerate(np.atleast_2d(bright)):
        images: NDArray[Any] = expected_photons(
            emitters_um,
            microscope,
            turns,
            z_um=z_um,
            focus_um=None if published or z_um is not None else 0.0,
            keep="above" if published else "all",
            brightness=one,
            psf=psf,
            tolerance=tolerance,
            device=device,
        )
        if noise:
            setting: dict[str, Any] = {"published": published, "instance": instance, "seed": seed}
            images = _counts(images, microscope, views, z_um or (0.0,), number, scales, **setting)
        film.append(images)
    return np.stack(film, axis=1) if frames is not None else film[0]


def _counts(
    photons: NDArray[Any],
    microscope: Microscope,
    views: Sequence[str],
    depths: Sequence[float],
    frame: int,
    scales: dict[tuple[int, ...], dict[str, Any]],
    *,
    published: bool,
    instance: int,
    seed: int,
) -> NDArray[np.uint16]:
    """Return the counts of one frame's views and planes; `scales` keeps how frame 0's were scaled for those after."""
    planes = photons.reshape(len(views), len(depths), *photons.shape[-2:])
    counts = np.empty(planes.shape, np.uint16)
    for place in np.ndindex(*planes.shape[:2]):
        name = f"{microscope.name}/{views[place[0]]}/{round(depths[place[1]] * 1e6)}" + (f"/{frame}" if frame else "")
        rng = _stream(seed, instance, _NOISE, crc32(name.encode()))
        if microscope.camera is None and place not in scales:
            scales[place] = {"levels": draw_levels(rng), "brightest": float(planes[place].max()) or None}
        field = _stream(seed, 0, _FIELD) if published and microscope.name in SHARED_NOISE else None
        counts[place] = counts_of(planes[place], microscope, rng, seed=seed, noise_rng=field, **scales.get(place, {}))
    return counts.reshape(photons.shape)


def _stream(*key: int) -> np.random.Generator:
    """Return the random stream of a key; streams of different keys are independent."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
