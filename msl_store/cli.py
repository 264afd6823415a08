"""The command-line tool ``msl``."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from msl_store.cache.sizes import size_text
from msl_store.cli_cache import app as cache_app
from msl_store.cli_groups import grouped
from msl_store.cli_images import microscopes, ome
from msl_store.cli_library import info, subset, verify
from msl_store.cli_options import Imaging, IntervalOption, MicroscopeOption, Selection, Storage, Url, microscopes_of
from msl_store.cli_scenes import scene, timelapse
from msl_store.console import (
    JsonFlag,
    OverwriteFlag,
    SchedulerOption,
    StorageOption,
    names_of,
    progress_bar,
    run,
    say_size,
    show,
    storage_options,
    tool,
)

app = tool("Use libraries of the 3D Mitochondria Shape Library. The published data is CC BY-NC 4.0.")

app.add_typer(cache_app, name="cache")


@app.command()
@grouped
def simulate(
    *,
    url: Url,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="Where the edition goes: a path or s3://bucket/name.zarr.")
    ],
    microscope: MicroscopeOption,
    views: Annotated[str, typer.Option(help="Rotations, as in 0,x90.")] = "0,x90,x180,y90,y180,z90",
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a film; emitters blink and bleach.")] = None,
    interval_s: IntervalOption = 1.0,
    imaging: Imaging,
    mode: Annotated[
        str, typer.Option(help="corrected, or published: as the published images were made.")
    ] = "corrected",
    selection: Selection,
    device: Annotated[
        str, typer.Option(help="What images: cpu, gpu (a CUDA device), or auto, the gpu where a worker has one.")
    ] = "cpu",
    scheduler: SchedulerOption = None,
    overwrite: OverwriteFlag = False,
    storage: Storage,
    as_json: JsonFlag = False,
) -> None:
    """Image every instance under microscopes, into a new edition; run it again to finish what was interrupted."""
    from msl_store.edition import write_edition
    from msl_store.library import open_library
    from msl_store.optics.exposure import checked_mode
    from msl_store.optics.gpu import checked_device
    from msl_store.simulation import simulate as images_of

    library = open_library(url, storage.source).select(**selection.arguments)
    optics = microscopes_of(microscope)
    images = images_of(
        library,
        optics,
        views=names_of(views) or [],
        frames=frames,
        interval_s=interval_s,
        labelling=imaging.labels,
        psf=imaging.psfs(optics),
        mode=checked_mode(mode),
        device=checked_device(device),
        **imaging.arguments,
    )
    say_size(images.nbytes, destination)
    with progress_bar("simulate", "blocks") as update:
        written = write_edition(
            images, destination, storage.target, scheduler=scheduler, overwrite=overwrite, progress=update
        )
    count = images.size // (images.sizes["y"] * images.sizes["x"])
    text = (
        f"{destination}: nothing to do, this edition is complete ({written.instances} instances)"
        if written.state == "published"
        else f"{destination}: {count} images of {written.instances} instances, {size_text(written.stored_bytes)} "
        f"in {written.seconds:.1f} s; data licence {library.license}"
    )
    show({**asdict(written), "images": count}, as_json=as_json, text=text)


@app.command()
def plot(
    url: Url,
    instance: Annotated[int, typer.Argument(help="The instance's id.")],
    picture: Annotated[Path, typer.Argument(help="The picture to write: .png, .pdf or .svg.")],
    option: StorageOption = None,
) -> None:
    """Draw one instance: mesh, point cloud, occupancy and images."""
    from msl_store.library import open_library
    from msl_store.plot import plot_instance, save

    save(plot_instance(open_library(url, storage_options(option)), instance), picture)
    print(picture)


@app.command()
def cite(
    url: Annotated[str | None, typer.Argument(help="A library; the published dataset where left out.")] = None,
    option: StorageOption = None,
) -> None:
    """Print how to cite the data, and its licence."""
    if url is not None:
        from msl_store.library import open_library

        library = open_library(url, storage_options(option))
        print(library.attributes.get("citation", "the library names no citation"))
        print(f"Licence: {library.license}")
        return
    print(BIBTEX)


for command in (info, subset, verify, scene, timelapse, microscopes, ome):
    app.command()(command)


BIBTEX = """\
@data{JX6JXF_2024,
  author    = {Punnakkal, Abhinanda Ranjit and Jadhav, Suyog S and Celeste, Aaron Vaughn and Horsch, Alexander
               and Agarwal, Krishna and Prasad, Dilip K},
  publisher = {DataverseNO},
  title     = {{3DMSL - 3D Mitochondria Shape Library for Optical Microscopy}},
  year      = {2024},
  version   = {V1},
  doi       = {10.18710/JX6JXF},
  url       = {https://doi.org/10.18710/JX6JXF},
  note      = {CC BY-NC 4.0}
}"""


def main() -> None:
    """Run the tool, with the commands that other packages add (entry points of the group ``msl_store.commands``)."""
    for point in entry_points(group="msl_store.commands"):
        app.command(point.name)(point.load())
    run(app)
