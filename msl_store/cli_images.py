"""Commands of ``msl`` that write a library's images as OME-Zarr, and list microscopes."""

from __future__ import annotations

from typing import Annotated

import typer

from msl_store.cache.sizes import size_text
from msl_store.cli_groups import grouped
from msl_store.cli_options import Storage, Url
from msl_store.console import JsonFlag, OverwriteFlag, say_size, show
from msl_store.errors import UsageError


def microscopes(
    describe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print this one as YAML (JSON with --json), to start one's own.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the microscopes that are known by name, with their sources; or describe one."""
    from msl_store.optics.description import write_description
    from msl_store.optics.instruments import INSTRUMENTS
    from msl_store.optics.microscope import PRESETS, get_microscope

    if describe is not None:
        print(write_description(get_microscope(describe), "json" if as_json else "yaml"), end="")
        return
    known = [*PRESETS.values(), *INSTRUMENTS.values()]
    lines = []
    for one in known:
        noise = "published noise" if one.camera is None else one.camera.chip
        source = one.source or "recovered from the published images"
        lines.append(
            f"{one.name}\n    {one.modality}, NA {one.numerical_aperture:g} {one.immersion}, {one.wavelength_um:g} um, "
            f"pixel {one.pixel_um:g} um, {noise}\n    {source}"
        )
    show([one.to_dict() for one in known], as_json=as_json, text="\n".join(lines))


@grouped
def ome(
    *,
    url: Url,
    destination: Annotated[
        str, typer.Argument(help="The OME-Zarr group to write: a path or s3://bucket/name.ome.zarr.")
    ],
    instance: Annotated[
        int | None, typer.Option("--id", help="Which instance; a time-lapse of a scene is written whole without it.")
    ] = None,
    view: Annotated[str | None, typer.Option(help="Which rotation; the first where left out.")] = None,
    microscope: Annotated[
        str | None, typer.Option(help="Which microscope; all, as channels, where left out and pixels are the same.")
    ] = None,
    levels: Annotated[int, typer.Option(min=1, help="Resolutions, each half as fine as the one before.")] = 1,
    overwrite: OverwriteFlag = False,
    storage: Storage,
    as_json: JsonFlag = False,
) -> None:
    """Write the images, stack or film of one instance as OME-Zarr 0.5, which napari and other viewers open."""
    from msl_store.library import open_library
    from msl_store.ome import write_ome

    library = open_library(url, storage.source)
    images = library.images.sel(view=_known(view or library.views[0], library.views, "view"))
    if microscope is not None:
        names = [known["name"] for known in library.microscopes]
        images = images.sel(microscope=_known(microscope, names, "microscope"))
    provenance = library.attributes.get("provenance", {})
    if instance is not None:
        library.rows_of(instance)  # refuses an id that is not there
        images = images.sel(instance=instance)
    elif provenance.get("mode") == "scene":
        images = images.rename(instance="frame")
        times = images["frame"].values * provenance.get("interval_s", 1.0)
        images = images.assign_coords(time_s=("frame", times, {"units": "s"}))
    else:
        raise UsageError(
            f"{library.url}: holds {len(library)} instances; give one with --id, as in --id {library.ids[0]}"
        )
    if instance is not None and not images["present"].values.all():
        raise UsageError(
            f"{library.url}: instance {instance} has not all of these images; choose another or a microscope"
        )
    images.attrs.update(provenance=provenance, license=library.license)
    say_size(images.nbytes, destination)
    written = write_ome(images, destination, storage.target, levels=levels, overwrite=overwrite)
    text = f"{destination}: {' x '.join(f'{extent} {dim}' for dim, extent in images.sizes.items())}"
    show(
        {"sizes": dict(images.sizes), "stored_bytes": written},
        as_json=as_json,
        text=f"{text}, {size_text(written)}; data licence {library.license}",
    )


def _known(name: str, names: list[str], what: str) -> str:
    if name not in names:
        raise UsageError(f"{what} {name!r}: allowed are {', '.join(names)}")
    return name
