"""What microscopes see of a scene: expected images and camera counts, of one microscope or several alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import xarray as xr

from msl_store.errors import UsageError
from msl_store.optics.camera import draw_levels
from msl_store.optics.exposure import counts_of, expected_photons
from msl_store.optics.microscope import get_microscope
from msl_store.scenes.scene import NOISE, SCALING, centres, checked_seed, fitted, stream
from msl_store.version import software

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.optics.measured import MeasuredPsf
    from msl_store.optics.microscope import Microscope
    from msl_store.scenes.scene import Scene


def render(
    scene: Scene,
    microscope: str | Microscope,
    *,
    z: Sequence[float] | None = None,
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
    psf: MeasuredPsf | None = None,
    reference: float | None = None,
) -> xr.DataArray:
    """Return the image, or the stack, that a microscope takes of a scene.

    The microscope keeps its optics and pixels; it has as many of them as cover the scene's field, about its middle.
    Emitters outside the field shine into it, each as bright as the scene's labelling makes it in the scene's frame. A
    microscope's camera turns photons into counts. Without one there is the published noise, whose offset and peak are
    drawn once a microscope, in the published ranges, for all planes and frames alike.

    Parameters
    ----------
    scene : Scene
        What to image; its emitters are those of every other image of it.
    microscope : str or Microscope
        A preset's name or a description.
    z : sequence of float, optional
        Focal planes in um above the middle of the scene; without it one image, focused on the middle, and no ``z``.
    noise : bool
        Camera counts (uint16), or the expected image (float32 photons).
    seed : int
        Chooses the noise; independent for different scenes, frames, planes and microscopes.
    tolerance : float
        Largest error of the expected image as a fraction of its maximum, 1e-6 to 0.1.
    psf : MeasuredPsf, optional
        In place of the microscope's own.
    reference : float, optional
        The expected value that becomes the peak of the published noise; the brightest pixel of all planes without it.
        Brighter ones exceed the peak in proportion. No matter to cameras.

    Returns
    -------
    xarray.DataArray
        Dims ([z,] y, x), coordinates in um from the middle of the field; attributes say how it was made.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    """
    checked_seed(seed)
    optics = fitted(microscope, scene)
    shared: dict[str, Any] = {"z": z, "noise": noise, "seed": seed, "tolerance": tolerance, "psf": psf}
    values = exposed(scene, optics, **shared, reference=reference)
    provenance = how_made(scene, optics, **shared)
    return labelled(values, optics, z=z, noise=noise, provenance=provenance)


def pair(
    scene: Scene,
    microscopes: Sequence[str | Microscope],
    *,
    z: Sequence[float] | None = None,
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
    psf: Mapping[str, MeasuredPsf] | None = None,
    pixel_um: float | None = None,
) -> xr.Dataset:
    """Return what two or more microscopes see of the same emitters, aligned.

    Parameters
    ----------
    scene, z, noise, seed, tolerance
        As `render` takes them.
    microscopes : sequence of str or Microscope
        Of different names.
    psf : mapping of str to MeasuredPsf, optional
        By the microscope's name.
    pixel_um : float, optional
        Gives every microscope these pixels, so that all images share one grid; nothing is resampled, for the engine
        images at any pixel size. Without it each has its own pixels, and its own dims ``y_NAME`` and ``x_NAME``, whose
        coordinates align the images in um.

    Returns
    -------
    xarray.Dataset
        One variable a microscope, by its name.

    Raises
    ------
    UsageError
        Fewer than two microscopes, two of one name, or another argument is outside what is allowed.
    """
    all_optics = [get_microscope(microscope) for microscope in microscopes]
    names = [optics.name for optics in all_optics]
    if len(names) < 2 or len(set(names)) != len(names):
        raise UsageError(f"microscopes {', '.join(names)}: allowed are two or more, of different names")
    images = {}
    for optics in all_optics:
        chosen = optics if pixel_um is None else replace(optics, pixel_um=pixel_um)
        own = (psf or {}).get(optics.name)
        image = render(scene, chosen, z=z, noise=noise, seed=seed, tolerance=tolerance, psf=own)
        image = image.drop_vars(["microscope", "pixel_um", "wavelength_um"])
        if pixel_um is None:
            image = image.rename({axis: f"{axis}_{optics.name}" for axis in ("y", "x")})
        images[optics.name] = image
    return xr.Dataset(images, attrs={"license": scene.source.get("license", "")})


def exposed(
    scene: Scene,
    optics: Microscope,
    *,
    z: Sequence[float] | None,
    noise: bool,
    seed: int,
    tolerance: float,
    psf: MeasuredPsf | None = None,
    reference: float | None = None,
    brightness: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """Return `render`'s values for a microscope that fits the field, shape ([z,] y, x).

    `brightness` is what `Scene.brightness` gives for the scene's frame, where it is known already.
    """
    photons = _photons(scene, optics, z, tolerance, psf, brightness)
    if not noise:
        return photons
    stack = photons if z is not None else photons[None]
    name = crc32(optics.name.encode())
    key = int(scene.digest[:16], 16)
    scale = {
        "levels": draw_levels(stream(SCALING, seed, int(scene.origin[:16], 16), name)),
        "brightest": (float(stack.max(initial=0.0)) if reference is None else reference) or None,
    }
    counts = np.empty(stack.shape, np.uint16)
    for plane, depth in enumerate(z if z is not None else (0.0,)):
        rng = stream(NOISE, seed, key, name, round(float(depth) * 1e6) % 2**64)
        counts[plane] = counts_of(stack[plane], optics, rng, seed=seed, **scale)
    return counts if z is not None else counts[0]


def brightest(
    scene: Scene, optics: Microscope, *, z: Sequence[float] | None, tolerance: float, psf: MeasuredPsf | None = None
) -> float:
    """Return the largest expected value of a pixel in any plane."""
    return float(_photons(scene, optics, z, tolerance, psf).max(initial=0.0))


def how_made(
    scene: Scene,
    optics: Microscope,
    *,
    z: Sequence[float] | None,
    noise: bool,
    seed: int,
    tolerance: float,
    psf: MeasuredPsf | None = None,
) -> dict[str, Any]:
    """Return everything that an image of a scene depends on, as JSON can hold it."""
    return {
        "source": scene.source.get("library", ""),
        "source_digest": f"scene {scene.digest}",
        "scene_digest": scene.digest,
        "frame": scene.frame,
        "motion": dict(scene.motion),
        "labelling": scene.labelling.to_dict(),
        "microscopes": [optics.to_dict()],
        "psf": {} if psf is None else {optics.name: psf.to_dict()},
        "views": ["0"],
        "rotations": [[np.eye(3).tolist()]],
        "z_um": None if z is None else [float(depth) for depth in z],
        "mode": "scene",
        "noise": noise,
        "seed": seed,
        "tolerance": tolerance,
        "software": software(),
    }


def labelled(
    values: Any,
    optics: Microscope,
    *,
    z: Sequence[float] | None,
    noise: bool,
    provenance: dict[str, Any],
    lead: dict[str, Any] | None = None,
) -> xr.DataArray:
    """Return images with coordinates; `lead` gives those of dims before ([z,] y, x)."""
    coords = {**(lead or {}), **grid(optics)}
    if z is not None:
        coords["z"] = ("z", [float(depth) for depth in z], {"units": "um", "long_name": "focal plane above the middle"})
    coords["microscope"] = optics.name
    for name in ("pixel_um", "wavelength_um"):
        coords[name] = ((), getattr(optics, name), {"units": "um"})
    dims = (*(lead or {}), *(("z",) if z is not None else ()), "y", "x")
    attributes = {"units": "count" if noise else "photon", "provenance": provenance}
    return xr.DataArray(values, coords, dims, "counts" if noise else "expected", attributes)


def grid(optics: Microscope) -> dict[str, Any]:
    """Return the coordinates of a microscope's pixel centres in um."""
    return {
        axis: (axis, centres(count, optics.pixel_um), {"units": "um"})
        for axis, count in zip(("y", "x"), optics.size_px, strict=True)
    }


def _photons(
    scene: Scene,
    optics: Microscope,
    z: Sequence[float] | None,
    tolerance: float,
    psf: MeasuredPsf | None,
    brightness: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    if z is not None and (len(z) == 0 or not np.isfinite(np.asarray(z, float)).all()):
        raise UsageError(f"z {z!r}: allowed is a list of focal planes in um, or None")
    images: NDArray[np.float32] = expected_photons(
        scene.emitters_um,
        optics,
        np.eye(3)[None],
        z_um=z,
        focus_um=0.0 if z is None else None,
        brightness=scene.brightness()[0] if brightness is None else brightness,
        psf=psf,
        tolerance=tolerance,
    )[0]
    return images
