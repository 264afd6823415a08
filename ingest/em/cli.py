"""The commands of ``msl-ingest`` for EM volumes."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from ingest.outcome import ReportOption, tell_outcome
from msl_store.cache.sizes import size_text
from msl_store.console import (
    JsonFlag,
    OverwriteFlag,
    SchedulerOption,
    StorageOption,
    ids_of,
    progress_bar,
    say_size,
    storage_options,
)

Downsample = Annotated[str, typer.Option(help="Voxels that become one: a number, or one an axis, as in 1,3,3.")]
Connectivity = Annotated[int, typer.Option(help="Voxels are joined by faces (6), also edges (18), also corners (26).")]
Border = Annotated[str, typer.Option(help="Objects cut by the volume's border: mark (a column says so), keep or drop.")]
Recipe = Annotated[str, typer.Option(help="fast, or paper: constrained smoothing, as the published meshes were made.")]
Labels = Annotated[str, typer.Option(help="Occupancy: exact, or published (of slightly inflated meshes).")]
Block = Annotated[int, typer.Option(help="Edge of a block in voxels: bounds the memory and changes nothing else.")]
Scratch = Annotated[str | None, typer.Option(help="Keep intermediate results here; else below the library, and not.")]


def em(
    source: Annotated[
        str, typer.Argument(help="TIFF stack, HDF5 file, Zarr or OME-Zarr array, folder of TIFF or PNG slices; or URL.")
    ],
    library: Annotated[str, typer.Argument(help="Where the library goes: a path or s3://bucket/name.zarr.")],
    voxel_size: Annotated[str | None, typer.Option(help="Edges of a voxel in nm: z,y,x, as in 8,8,8.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Path of the dataset in an HDF5 file.")] = None,
    downsample: Downsample = "1",
    connectivity: Connectivity = 26,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="Every label is one object; its id is the label.")
    ] = False,
    dust: Annotated[int, typer.Option(min=0, help="Leave out objects of fewer voxels (after downsampling).")] = 2000,
    border: Border = "mark",
    dilate: Annotated[float, typer.Option(min=0, help="Grow objects by a ball of this radius, in voxels.")] = 0.0,
    fill: Annotated[bool, typer.Option(help="Fill voids within objects.")] = True,
    recipe: Recipe = "fast",
    decimate: Annotated[float | None, typer.Option(help="Fraction of the faces to keep.")] = None,
    largest: Annotated[int, typer.Option(min=1, help="Set aside objects whose crop has more voxels.")] = 2**26,
    labels: Labels = "exact",
    grids: Annotated[str | None, typer.Option(help="Voxel grids by their edges, as in 64,32.")] = None,
    sdf: Annotated[bool, typer.Option(help="With signed distances.")] = True,
    images: Annotated[bool, typer.Option(help="With 18 images under conf1, conf2 and epi1.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Chooses points, emitters and noise.")] = 0,
    block: Block = 256,
    ids: Annotated[str | None, typer.Option(help="Only these objects, as in 1,5,10-20.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first objects.")] = None,
    work: Scratch = None,
    scheduler: SchedulerOption = None,
    title: Annotated[str | None, typer.Option(help="The library's title.")] = None,
    license_name: Annotated[str | None, typer.Option("--license", help="The data's licence, as CC-BY-4.0.")] = None,
    report: ReportOption = None,
    overwrite: OverwriteFlag = False,
    option: StorageOption = None,
    source_option: Annotated[
        list[str] | None,
        typer.Option("--source-option", metavar="KEY=VALUE", help="Storage option of the volume. Repeatable."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a library of an EM segmentation of any size; run it again to finish what was interrupted.

    The axes of the volume are those of the meshes, in its order. Exit code 6 means: done, but something was set aside.
    """
    from ingest.em.library import UNTITLED, Plan, ingest_volume
    from ingest.em.meshing import Recipe as MeshRecipe
    from ingest.em.objects import Segmentation
    from ingest.em.opening import open_volume
    from ingest.em.source import Forms
    from msl_store.store import locate

    plan = Plan(
        Segmentation(
            _triple("--downsample", downsample),
            connectivity,  # type: ignore[arg-type]
            by_label,
            dust,
            border,  # type: ignore[arg-type]
            block,
        ),
        MeshRecipe(recipe, dilate, fill, decimate, largest),  # type: ignore[arg-type]
        Forms(labels, sdf, tuple(ids_of(grids) or ()), images, seed),  # type: ignore[arg-type]
        None if voxel_size is None else _numbers("--voxel-size", voxel_size),
    )
    attributes = {
        **UNTITLED,
        **({"title": title} if title else {}),
        **({"license": license_name} if license_name else {}),
    }
    options = storage_options(option)
    volume = open_volume(source, storage_options(source_option), dataset=dataset)
    say_size(math.prod(volume.shape) * volume.dtype.itemsize, source)
    with progress_bar("em", "steps") as update:
        found = ingest_volume(
            volume,
            locate(library, options),
            plan,
            ids=ids_of(ids),
            limit=limit,
            attributes=attributes,
            work=None if work is None else locate(work, options if "://" in work else None),
            scheduler=scheduler,
            overwrite=overwrite,
            progress=lambda stage, done, everything: update(done, everything, stage),
        )
    tell_outcome(found, library, licence=attributes["license"], report=report, as_json=as_json)


def sample_volume(
    destination: Annotated[str, typer.Argument(help="Where the OME-Zarr image goes: a path or s3://bucket/name.zarr.")],
    size: Annotated[
        str, typer.Option(help="Voxels of 24 nm along every axis, or along each, as in 256,512,512.")
    ] = "512",
    seed: Annotated[int, typer.Option(min=0, help="Chooses the shapes.")] = 0,
    labelled: Annotated[bool, typer.Option("--labelled", help="Numbers, as of an instance segmentation.")] = False,
    scheduler: SchedulerOption = None,
    option: StorageOption = None,
) -> None:
    """Write a made-up EM segmentation, block by block: rods, rings, branched and networks, dust, cut at the borders."""
    from ingest.em.synthetic import write_sample_volume
    from msl_store.store import locate

    shape = _triple("--size", size)
    say_size(math.prod(shape) * (4 if labelled else 1), destination)
    with progress_bar("volume", "blocks") as update:
        written = write_sample_volume(
            locate(destination, storage_options(option)),
            shape,
            seed=seed,
            labelled=labelled,
            scheduler=scheduler,
            progress=update,
        )
    print(f"{destination}: {' x '.join(map(str, shape))} voxels, {size_text(written)}")


def _numbers(name: str, text: str) -> list[float]:
    from msl_store.errors import UsageError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{name} {text!r}: allowed are numbers, as in 8,8,8") from None


def _triple(name: str, text: str) -> tuple[int, int, int]:
    """Return a whole number for every axis, given as one or as three."""
    from msl_store.errors import UsageError

    found = _numbers(name, text)
    if len(found) not in (1, 3) or any(number != int(number) for number in found):
        raise UsageError(f"{name} {text!r}: allowed are one whole number, or three, as in 1,3,3")
    first, second, third = (int(number) for number in (found if len(found) == 3 else found * 3))
    return first, second, third
