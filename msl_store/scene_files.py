"""A scene as files: images with their labels as OME-Zarr, masks as NPZ, the scene and its poses as JSON, a picture."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.ome import write_ome
from msl_store.panels import draw_image, new_figure, write_licence
from msl_store.scenes import label_volume, masks, moved, poses, render
from msl_store.store import locate, locate_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from msl_store.optics.measured import MeasuredPsf
    from msl_store.optics.microscope import Microscope
    from msl_store.scenes import Motion, Scene

EDGE_IN = 3.6
"""Width of an image in the picture."""


@dataclass(frozen=True)
class SceneFiles:
    """What was written: paths below the target, and bytes."""

    paths: tuple[str, ...]
    stored_bytes: int


def write_scene(
    scene: Scene,
    microscopes: Sequence[Microscope],
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    z: Sequence[float] | None = None,
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
    psf: Mapping[str, MeasuredPsf] | None = None,
    voxel_um: float | tuple[float, float, float] | None = None,
    closing_px: int = 1,
    overwrite: bool = False,
) -> SceneFiles:
    """Image a scene and write images and truth into one folder.

    For every microscope NAME there are ``NAME.ome.zarr``, the image or stack with the label images ``silhouette``,
    ``emitters`` and, with `voxel_um`, ``volume``; and ``NAME_masks.npz``, what `msl_store.scenes.masks` returns, each
    instance's own mask among it, since labels cannot show what overlaps. ``preview.png`` shows all images with
    outlines. ``scene.json`` comes last: `msl_store.scenes.recompose` makes the scene of it; its instances are in the
    order of the labels, from 1.

    Parameters
    ----------
    scene : Scene
        At rest.
    microscopes : sequence of Microscope
        Of different names.
    url, storage_options
        The folder, as `msl_store.open` takes them.
    z, noise, seed, tolerance
        As `msl_store.scenes.render` takes them.
    psf : mapping of str to MeasuredPsf, optional
        By the microscope's name.
    voxel_um, closing_px
        As `msl_store.scenes.label_volume` and `msl_store.scenes.masks` take them.
    overwrite : bool
        Replace a scene at the target.

    Raises
    ------
    UsageError
        An argument is outside what is allowed, the target holds a scene, or matplotlib is not installed.
    """
    names = [optics.name for optics in microscopes]
    if not names or len(set(names)) != len(names) or any("/" in name for name in names):
        raise UsageError(f"microscopes {', '.join(names)}: allowed are one or more, of different names without slashes")
    target = locate(url, storage_options)
    if not overwrite and target.exists("scene.json"):
        raise UsageError(f"{target.url}: holds a scene; choose another target, or pass --overwrite to replace it")
    target.delete("scene.json")
    volume = {} if voxel_um is None else {"volume": label_volume(scene, voxel_um)}
    images, truths, written = [], [], 0
    for optics in microscopes:
        own = (psf or {}).get(optics.name)
        image = render(scene, optics, z=z, noise=noise, seed=seed, tolerance=tolerance, psf=own)
        image.attrs.update({name: scene.source.get(name, "") for name in ("license", "citation")})
        truth = masks(scene, optics, closing_px=closing_px)
        labels = {str(rule): truth.labels.sel(rule=rule, drop=True).drop_vars("pixel_um") for rule in truth.rule.values}
        written += write_ome(
            image,
            f"{target.url}/{optics.name}.ome.zarr",
            storage_options,
            labels={**labels, **volume},
            overwrite=overwrite,
        )
        images.append(image)
        truths.append(truth)
    files = {f"{name}_masks.npz": _masks(truth) for name, truth in zip(names, truths, strict=True)}
    files["preview.png"] = _preview(images, truths, str(scene.source.get("license", "")))
    files["scene.json"] = json.dumps(scene.to_dict(), indent=1).encode()
    for name, data in files.items():
        target.put(name, data)
        written += len(data)
    return SceneFiles((*(f"{name}.ome.zarr" for name in names), *files), written)


def write_poses(
    scene: Scene,
    motion: Motion,
    times_s: Mapping[int, float],
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a scene, its motion and the poses of its frames, whose times are given by their numbers, as one JSON file.

    ``(raw_um - loc_um) @ rotation + position_um`` takes an instance's mesh to where it is, a deformation apart.
    """
    frames = []
    for number, time_s in times_s.items():
        where = poses(moved(scene, motion, number))
        instances = [
            {
                "id": int(one.id),
                "rotation": one.rotation.values.tolist(),
                "position_um": one.position_um.values.tolist(),
            }
            for one in (where.isel(instance=place) for place in range(where.sizes["instance"]))
        ]
        frames.append({"frame": number, "time_s": time_s, "instances": instances})
    document = {"scene": scene.to_dict(), "motion": motion.to_dict(), "frames": frames}
    objects, name = locate_file(url, storage_options)
    objects.put(name, json.dumps(document, indent=1).encode())


def _masks(truth: xr.Dataset) -> bytes:
    """Return the truth's arrays as an NPZ."""
    held = io.BytesIO()
    arrays: dict[str, Any] = {str(name): values.values for name, values in truth.variables.items()}
    np.savez_compressed(held, **arrays)
    return held.getvalue()


def _preview(images: Sequence[xr.DataArray], truths: Sequence[xr.Dataset], licence: str) -> bytes:
    """Return a PNG of all images, the middle plane of stacks, with every instance's outline."""
    try:
        figure = new_figure(EDGE_IN * len(images), EDGE_IN * 1.1)
        from matplotlib import colormaps
    except ImportError as error:
        raise UsageError(f"preview: {error}; install it with: pip install 'msl-store[plot]'") from error
    for place, (image, truth) in enumerate(zip(images, truths, strict=True)):
        axes = figure.add_subplot(1, len(images), place + 1)
        flat = image.isel(z=image.sizes["z"] // 2) if "z" in image.dims else image
        name, pixel_um, wavelength_um = (image[key].item() for key in ("microscope", "pixel_um", "wavelength_um"))
        draw_image(axes, flat.values, pixel_um=pixel_um, wavelength_um=wavelength_um, title=name)
        for number, mask in enumerate(truth.instance_mask.sel(rule="silhouette").values):
            if mask.any() and min(mask.shape) > 1:
                colour = colormaps["tab20"](number % 20)
                axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.7)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.05, top=0.93, wspace=0.02)
    write_licence(figure, licence)
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=150)
    return held.getvalue()
