"""Options that several commands of ``msl`` take, the groups that they come in, and what their texts mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msl_store.console import First, Ids, Split, StorageOption, ids_of, storage_options
from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msl_store.optics.labelling import Labelling
    from msl_store.optics.measured import MeasuredPsf
    from msl_store.optics.microscope import Microscope

Url = Annotated[str, typer.Argument(metavar="URL", help="The library: a path, s3://, https://, or a .zip of one.")]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Only instances for which this holds, as in 'volume_um3 > 2 and genus == 0' (columns of Library.table).",
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Storage option of the destination; the library's where left out."),
]
MicroscopeOption = Annotated[
    str,
    typer.Option(help="conf1, conf2, epi1, an instrument (see `msl microscopes`), or a JSON or YAML file; or a list."),
]
LabellingOption = Annotated[
    str | None,
    typer.Option(
        help="outer-membrane, matrix or both, with changes as in matrix,per_um3=500,bleach_frames=20; or a JSON or "
        "YAML file."
    ),
]
PsfOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]FILE",
        help="A measured PSF (z, y, x): a TIFF stack or a Zarr array; for several microscopes once each, by name.",
    ),
]
PsfVoxelOption = Annotated[
    str | None,
    typer.Option(metavar="Z,YX", help="Voxel of the measured PSFs in um: distance of planes, edge of pixels."),
]
ZOption = Annotated[str | None, typer.Option(help="Focal planes in um above the middle, as in -0.5,0,0.5.")]
IntervalOption = Annotated[float, typer.Option(help="Seconds from frame to frame.")]
NoiseFlag = Annotated[bool, typer.Option(help="Camera counts, or photons without noise.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Chooses emitters, noise and whatever else is random.")]
ToleranceOption = Annotated[float, typer.Option(help="Largest error, as a fraction of an image's maximum.")]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which instances of a library."""

    ids: Ids = None
    first: First = None
    where: Where = None
    split: Split = None

    @property
    def arguments(self) -> dict[str, Any]:
        """As `msl_store.library.Library.select` takes them."""
        return {"ids": ids_of(self.ids), "first": self.first, "where": self.where, "split": self.split}


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a library is reached, and the place that something is written to."""

    option: StorageOption = None
    target_option: TargetOption = None

    @property
    def source(self) -> dict[str, Any]:
        """Storage options of the library."""
        return storage_options(self.option)

    @property
    def target(self) -> dict[str, Any]:
        """Storage options of the destination."""
        return self.source if self.target_option is None else storage_options(self.target_option)


@dataclass(frozen=True, kw_only=True)
class Imaging:
    """How microscopes image."""

    z: ZOption = None
    labelling: LabellingOption = None
    psf: PsfOption = None
    psf_voxel_um: PsfVoxelOption = None
    noise: NoiseFlag = True
    seed: SeedOption = 0
    tolerance: ToleranceOption = 1e-3

    @property
    def arguments(self) -> dict[str, Any]:
        """As what images takes them: focal planes, noise, seed and tolerance."""
        return {"z": numbers_of(self.z, "z"), "noise": self.noise, "seed": self.seed, "tolerance": self.tolerance}

    @property
    def labels(self) -> Labelling | None:
        """The labelling, where one is given."""
        return labelling_of(self.labelling)

    def psfs(self, microscopes: Sequence[Microscope]) -> dict[str, MeasuredPsf]:
        """Return the measured PSFs, by the names of their microscopes."""
        return psfs_of(self.psf, self.psf_voxel_um, microscopes)


def numbers_of(text: str | None, what: str) -> list[float] | None:
    """Return numbers given as ``-0.5,0,0.5``; None where nothing is given.

    >>> numbers_of("-0.5,0", "z")
    [-0.5, 0.0]
    """
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} {text!r}: allowed are numbers, as in -0.5,0,0.5") from None


def lengths_of(text: str | None, what: str, count: int) -> tuple[float, ...] | None:
    """Return one length, or so many, as that many numbers; None where nothing is given.

    >>> lengths_of("14", "field-um", 2)
    (14.0, 14.0)
    """
    numbers = numbers_of(text, what)
    if numbers is None:
        return None
    if len(numbers) not in (1, count):
        raise UsageError(f"{what} {text!r}: allowed are one number or {count}")
    return tuple(numbers if len(numbers) == count else numbers * count)


def microscopes_of(text: str) -> list[Microscope]:
    """Return microscopes given by names and files with descriptions, with commas between."""
    from msl_store.optics.description import find_description
    from msl_store.optics.microscope import Microscope, get_microscope

    return [find_description(name.strip(), Microscope, get_microscope) for name in text.split(",")]


def labelling_of(text: str | None) -> Labelling | None:
    """Return a labelling given by its name, with fields changed, or by a file; None where nothing is given."""
    from msl_store.optics.description import find_description
    from msl_store.optics.labelling import Labelling, get_labelling

    if text is None:
        return None
    name, *changes = (part.strip() for part in text.split(","))
    values = find_description(name, Labelling, get_labelling).to_dict()
    for change in changes:
        field, _, value = change.partition("=")
        try:
            values[field] = json.loads(value)
        except ValueError:
            raise UsageError(f"labelling {text!r}: {change!r} is no change; allowed is field=number") from None
    return Labelling.from_dict(values)


def psfs_of(
    files: Sequence[str] | None, voxel_um: str | None, microscopes: Sequence[Microscope]
) -> dict[str, MeasuredPsf]:
    """Return the measured PSFs in files, by the names of their microscopes."""
    if not files:
        return {}
    voxel = lengths_of(voxel_um, "psf-voxel-um", 2)
    if voxel is None:
        raise UsageError("psf: its voxel is not known; give --psf-voxel-um, as in 0.1,0.065 (planes, pixels)")
    by_name = {optics.name: optics for optics in microscopes}
    found = {}
    for given in files:
        name, equals, path = given.partition("=")
        if not equals and len(by_name) == 1:
            name, path = next(iter(by_name)), given
        if name not in by_name or not path:
            raise UsageError(f"psf {given!r}: allowed is NAME=FILE, with a name of {', '.join(by_name)}")
        found[name] = _measured(path, by_name[name], pixel_um=voxel[1], step_um=voxel[0])
    return found


def _measured(path: str, microscope: Microscope, *, pixel_um: float, step_um: float) -> MeasuredPsf:
    from msl_store.optics.measured import measured_psf, read_measured_psf
    from msl_store.store import ZarrArray, locate

    if path.lower().endswith((".tif", ".tiff")):
        return read_measured_psf(path, microscope, pixel_um=pixel_um, step_um=step_um)
    array = ZarrArray(locate(path))
    stack = array.read([slice(None)] * len(array.shape))
    return measured_psf(stack, microscope, pixel_um=pixel_um, step_um=step_um)
