"""Commands of ``msl`` that make scenes: several instances in one field, at rest and in motion, with their truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msl_store.cache.sizes import size_text
from msl_store.cli_groups import grouped
from msl_store.cli_options import (
    Imaging,
    IntervalOption,
    MicroscopeOption,
    Selection,
    Storage,
    Url,
    lengths_of,
    microscopes_of,
)
from msl_store.console import JsonFlag, OverwriteFlag, SchedulerOption, progress_bar, say_size, show
from msl_store.errors import UsageError

if TYPE_CHECKING:
    import xarray as xr

    from msl_store.library import Library
    from msl_store.optics.microscope import Microscope
    from msl_store.scenes import Motion, Scene

ENDINGS = (".mp4", ".gif", ".ome.zarr", ".zarr")
"""What a time-lapse is written as."""

VoxelOption = Annotated[
    str | None, typer.Option(metavar="Z,Y,X", help="Also a volume of labels, with voxels of this edge in um.")
]


@dataclass(frozen=True, kw_only=True)
class Placing:
    """How instances are placed in a field."""

    field_um: Annotated[
        str | None,
        typer.Option(metavar="Y,X", help="Extent of the field in um; the first microscope's own where left out."),
    ] = None
    depth_um: Annotated[
        float | None, typer.Option(help="Thickness of the slab in um; without it all lie at one height.")
    ] = None
    overlap: Annotated[str, typer.Option(help="allow, forbid, or forbid_projected: not even above each other.")] = (
        "allow"
    )
    non_overlap: Annotated[bool, typer.Option("--non-overlap", help="Short for --overlap forbid.")] = False
    gap_um: Annotated[float, typer.Option(help="Least distance in um between shapes that may not overlap.")] = 0.0
    border: Annotated[
        str, typer.Option(help="inside: shapes lie whole in the field. cut: the border may cut them.")
    ] = "inside"
    turning: Annotated[str, typer.Option(help="free, axial (about the optical axis), or none.")] = "free"

    def compose(self, library: Library, optics: Microscope, imaging: Imaging) -> Scene:
        """Return the scene of all instances of a library."""
        from msl_store.scenes import compose, field_of

        extent: Any = lengths_of(self.field_um, "field-um", 2) or field_of(optics)
        rules: dict[str, Any] = {"border": self.border, "turning": self.turning, "gap_um": self.gap_um}
        rules["overlap"] = "forbid" if self.non_overlap else self.overlap
        return compose(
            library,
            library.ids,
            field_um=extent,
            depth_um=self.depth_um,
            labelling=imaging.labels,
            seed=imaging.seed,
            **rules,
        )


@grouped
def scene(
    *,
    url: Url,
    destination: Annotated[str, typer.Argument(help="The folder to write: a path or s3://bucket/name.")],
    microscope: MicroscopeOption = "conf1",
    selection: Selection,
    placing: Placing,
    imaging: Imaging,
    voxel_um: VoxelOption = None,
    closing_px: Annotated[int, typer.Option(min=0, help="Closes gaps of the emitters' masks.")] = 1,
    overwrite: OverwriteFlag = False,
    storage: Storage,
    as_json: JsonFlag = False,
) -> None:
    """Place instances in one field and write images (OME-Zarr), labels, masks (NPZ), poses (JSON) and a picture."""
    from msl_store.library import open_library
    from msl_store.scene_files import write_scene

    optics = microscopes_of(microscope)
    library = open_library(url, storage.source).select(**selection.arguments)
    placed = placing.compose(library, optics[0], imaging)
    voxel: Any = lengths_of(voxel_um, "voxel-um", 3)
    written = write_scene(
        placed,
        optics,
        destination,
        storage.target,
        psf=imaging.psfs(optics),
        voxel_um=voxel,
        closing_px=closing_px,
        overwrite=overwrite,
        **imaging.arguments,
    )
    result = {"instances": len(placed.placed), "files": list(written.paths), "stored_bytes": written.stored_bytes}
    text = (
        f"{destination}: {len(placed.placed)} instances; {', '.join(written.paths)}; {size_text(written.stored_bytes)}"
    )
    show(result, as_json=as_json, text=f"{text}; data licence {library.license}")


@grouped
def timelapse(
    *,
    url: Url,
    destination: Annotated[
        str, typer.Argument(help="A film (.mp4, .gif), OME-Zarr with labels (.ome.zarr), or an edition (.zarr).")
    ],
    frames: Annotated[int, typer.Option(min=1, help="How many frames.")] = 50,
    interval_s: IntervalOption = 1.0,
    fps: Annotated[float, typer.Option(help="Frames a second of a film.")] = 10.0,
    motion: Annotated[
        str | None, typer.Option(help="A JSON or YAML file of a Motion; other options change it.")
    ] = None,
    drift_um: Annotated[str | None, typer.Option(metavar="X,Y,Z", help="Drift in um a frame.")] = None,
    spin_deg: Annotated[float | None, typer.Option(help="Rotation in degrees a frame.")] = None,
    wander_um: Annotated[float | None, typer.Option(help="Random paths, standard deviation in um.")] = None,
    tumble_deg: Annotated[float | None, typer.Option(help="Random rotations, standard deviation in degrees.")] = None,
    deformation_um: Annotated[float | None, typer.Option(help="Smooth deformation, standard deviation in um.")] = None,
    microscope: MicroscopeOption = "conf1",
    selection: Selection,
    placing: Placing,
    imaging: Imaging,
    voxel_um: VoxelOption = None,
    scheduler: SchedulerOption = None,
    overwrite: OverwriteFlag = False,
    storage: Storage,
    as_json: JsonFlag = False,
) -> None:
    """Film instances that move, blink and bleach; a JSON file beside the film has the poses of every frame."""
    from msl_store.library import open_library
    from msl_store.scene_files import write_poses
    from msl_store.scenes import timelapse as film_of

    if not destination.endswith(ENDINGS):
        raise UsageError(f"{destination}: allowed are names that end in {', '.join(ENDINGS)}")
    optics = microscopes_of(microscope)
    if len(optics) != 1:
        raise UsageError(
            f"microscope {microscope!r}: allowed is one; film with the same seed and options for each other"
        )
    changes = {"drift_um": lengths_of(drift_um, "drift-um", 3), "spin_deg": spin_deg, "wander_um": wander_um}
    moving = _motion(motion, {**changes, "tumble_deg": tumble_deg, "deformation_um": deformation_um})
    library = open_library(url, storage.source).select(**selection.arguments)
    placed = placing.compose(library, optics[0], imaging)
    psf = imaging.psfs(optics).get(optics[0].name)
    images = film_of(placed, optics[0], moving, frames, psf=psf, interval_s=interval_s, **imaging.arguments)
    say_size(images.nbytes, destination)
    target, voxel = storage.target, lengths_of(voxel_um, "voxel-um", 3)
    with progress_bar("film", "frames") as update:
        shared: dict[str, Any] = {"scheduler": scheduler, "progress": update}
        if destination.endswith(".ome.zarr"):
            from msl_store.ome import write_ome

            labels = _labels(placed, moving, images, voxel, placing.depth_um)
            write_ome(images, destination, target, labels=labels, overwrite=overwrite, **shared)
        elif destination.endswith(".zarr"):
            from msl_store.edition import write_edition
            from msl_store.scenes import edition_of

            write_edition(edition_of(images), destination, target, overwrite=overwrite, **shared)
        else:
            from msl_store.scenes import write_movie

            write_movie(_computed(images, **shared), destination, fps=fps)
    times = dict(zip(images["frame"].values.tolist(), images["time_s"].values.tolist(), strict=True))
    beside = f"{destination.rstrip('/')}.json"
    write_poses(placed, moving, times, beside, target)
    result = {"frames": frames, "instances": len(placed.placed), "files": [destination, beside]}
    text = f"{destination}: {frames} frames of {len(placed.placed)} instances; poses in {beside}"
    show(result, as_json=as_json, text=f"{text}; data licence {library.license}")


def _motion(file: str | None, changes: dict[str, Any]) -> Motion:
    from msl_store.optics.description import read_file
    from msl_store.scenes import Motion

    base = Motion() if file is None else read_file(file, Motion)
    return Motion.from_dict({**base.to_dict(), **{name: value for name, value in changes.items() if value is not None}})


def _labels(
    scene: Scene, motion: Motion, images: xr.DataArray, voxel_um: Any, depth_um: float | None
) -> dict[str, xr.DataArray]:
    """Return the label images of every frame: both rules' and, with voxels, the volume."""
    from msl_store.optics.microscope import Microscope
    from msl_store.scenes import timelapse_truth

    if voxel_um is not None and depth_um is None:
        raise UsageError("voxel-um: give --depth-um with it, the depth of the volume of labels")
    optics = Microscope.from_dict(images.attrs["provenance"]["microscopes"][0])
    depth = None if voxel_um is None else depth_um
    truth = timelapse_truth(scene, optics, motion, images["frame"].values.tolist(), voxel_um=voxel_um, depth_um=depth)
    truth = truth.assign_coords(time_s=images["time_s"])
    labels = {str(rule): truth.labels.sel(rule=rule, drop=True) for rule in truth.rule.values}
    if voxel_um is not None:
        labels["volume"] = truth.volume.rename(volume_y="y", volume_x="x")
    return labels


def _computed(images: xr.DataArray, *, scheduler: str | None, progress: Any) -> xr.DataArray:
    """Return a film in memory, its frames computed side by side."""
    import numpy as np

    from msl_store.blockwise import run_blocks

    found: dict[int, Any] = {}

    def tell(outcome: Any) -> None:
        if outcome.value is not None:
            found[outcome.block] = outcome.value
            progress(len(found), images.sizes["frame"])

    frames = [images.data[place] for place in range(images.sizes["frame"])]
    tasks = {place: partial(frame.compute, scheduler="synchronous") for place, frame in enumerate(frames)}
    run_blocks(tasks, scheduler=scheduler, done=tell)
    return images.copy(data=np.stack([found[place] for place in sorted(found)]))
