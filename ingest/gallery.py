"""The command ``msl gallery``: a shape of a library, or without one a procedural network, under every microscope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from msl_store.console import StorageOption, storage_options

NETWORK = 5
"""Number of the procedural network that is shown where no library is named."""


def gallery(
    picture: Annotated[Path, typer.Argument(help="The picture to write: .png, .pdf or .svg.")],
    library: Annotated[
        str | None, typer.Option(help="Take the shape from this library: a path, s3://, https://, or a .zip of one.")
    ] = None,
    instance: Annotated[int | None, typer.Option("--id", help="The instance's id in the library.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses emitters, noise and motion.")] = 0,
    option: StorageOption = None,
) -> None:
    """Draw one mitochondrion under every microscope, in focus and motion; without a library a procedural network."""
    from msl_store.errors import MissingError, UsageError
    from msl_store.gallery import plot_gallery
    from msl_store.panels import credit
    from msl_store.plot import save
    from msl_store.shapes import VOXEL_UM

    if (library is None) != (instance is None):
        raise UsageError("--library and --id: one without the other; give both, or neither for a procedural network")
    if library is None or instance is None:
        from ingest import procedural

        mesh = procedural.instance("network", NETWORK, 0)
        figure = plot_gallery(mesh, name="A network", licence="procedural, not part of 3DMSL", seed=seed)
    else:
        from msl_store.library import open_library

        opened = open_library(library, storage_options(option))
        (found,) = opened.instances([instance], parts=("mesh",))
        if found.mesh is None or not len(found.mesh.faces):
            raise MissingError(f"{opened.url}: instance {instance} has no mesh, which a gallery is made from")
        figure = plot_gallery(
            found.mesh,
            voxel_um=float(opened.attributes.get("voxel_um", VOXEL_UM)),
            name=f"Instance {instance}",
            licence=credit(opened),
            instance=instance,
            seed=seed,
        )
    print(save(figure, picture))
