"""The meshed objects of a volume as a source of instances, with every form that a library holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ingest.em.meshing import mesh_path
from ingest.em.volume import digest_of
from ingest.kind import LibraryKind
from ingest.record import Entry, Finding, Images, Listing, Record
from ingest.sampling import occupancy, point_cloud, signed_occupancy
from msl_store import schema
from msl_store.errors import UsageError
from msl_store.geometry.occupancy import Labels
from msl_store.geometry.voxels import voxel_grid
from msl_store.optics.exposure import emitters_of, expose
from msl_store.optics.microscope import PRESETS
from msl_store.optics.rotations import view_rotation
from msl_store.shapes import Mesh
from msl_store.store import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ingest.em.stages import Stage

_CLOUD, _QUERIES = range(2)
"""Purposes of an instance's random streams."""


@dataclass(frozen=True)
class Forms:
    """Which forms an instance has, and how they are made.

    Attributes
    ----------
    labels : {"exact", "published"}
        Whether occupancy says what is inside the mesh, or inside one that is inflated as the published ones were.
    sdf : bool
        With signed distances of the occupancy's points.
    grids : tuple of int
        Edges of the voxel grids: none, or of `msl_store.schema.GRID_EDGES`.
    images : bool
        With images under the three published microscopes: six views each, true rotations, all emitters, independent
        noise.
    seed : int
        Chooses points, emitters and noise, of each instance by its id.
    """

    labels: Labels = "exact"
    sdf: bool = True
    grids: tuple[int, ...] = ()
    images: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise UsageError(f"labels {self.labels!r}: allowed are {', '.join(get_args(Labels))}")
        unknown = set(self.grids) - set(schema.GRID_EDGES)
        if unknown:
            raise UsageError(f"grids {sorted(unknown)}: allowed are {', '.join(map(str, schema.GRID_EDGES))}")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: allowed is 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Return the forms as JSON types."""
        return {**asdict(self), "grids": sorted(set(self.grids))}

    def kind(self, voxel_um: float, provenance: Mapping[str, Any], *, border_column: bool = True) -> LibraryKind:
        """Return the kind of library that has these forms.

        Parameters
        ----------
        voxel_um : float
            The unit of its meshes.
        provenance : mapping
            What its root says of the volume.
        border_column : bool
            Whether its table says which objects touch the volume's border.
        """
        left_out = {f"voxel_grid/inside_{edge}" for edge in schema.GRID_EDGES if edge not in self.grids}
        if not self.grids:
            left_out.add("instances/has_voxel_grid")
        if not self.sdf:
            left_out |= {"sdf/distance", "instances/has_sdf"}
        if not self.images:
            left_out |= {spec.path for spec in schema.ARRAYS if spec.group == "images"} | {"instances/has_images"}
        if not border_column:
            left_out.add("instances/touches_border")
        arrays = tuple(spec for spec in (*schema.ARRAYS, *schema.FURTHER_ARRAYS) if spec.path not in left_out)
        turns = np.array([[view_rotation(view) for view in schema.VIEWS] for _ in schema.MICROSCOPES])
        images = {
            "mode": "corrected",
            "noise": "independent in every microscope, view and instance",
            "emitters": "all of them, and the focus is on the shape's middle",
            "seed": str(self.seed),
        }
        return LibraryKind("simulated", voxel_um, arrays, tuple(turns.tolist()), images, provenance)


@dataclass(frozen=True, eq=False)
class EMSource:
    """The meshed objects of a volume.

    Parameters
    ----------
    name : str
        The volume's.
    stage : Stage
        Where the meshes are.
    forms : Forms
        What to make of each.
    voxel_um : float
        The unit of the meshes in um.
    """

    name: str
    stage: Stage
    forms: Forms
    voxel_um: float

    def listing(self) -> Listing:
        """List the objects that have been meshed, and those that could not be."""
        numbers = sorted(self.stage.finished())
        return Listing(
            tuple(self._entry(number, data) for number, data in zip(numbers, self.stage.results(numbers), strict=True))
        )

    def _entry(self, number: int, data: bytes) -> Entry:
        _, facts = unpack(data, f"{self.stage.work.url}/{self.stage.folder}: object {number}")
        digest = digest_of(facts["digest"], self.forms.to_dict(), self.voxel_um)
        return Entry(number, self.name, facts["vertices"], facts["faces"], digest)

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        """Make some instances, one at a time in the order asked for."""
        for entry in entries:
            path = mesh_path(self.stage, entry.id)
            arrays, facts = unpack(self.stage.work.get(path), f"{self.stage.work.url}/{path}")
            if facts["reason"] is not None:
                finding = Finding(facts["place"], f"cannot be meshed: {facts['reason']}", entry.id)
                yield Record(entry.id, findings=(finding,), columns=facts["columns"])
            else:
                mesh = Mesh(arrays["vertices"], arrays["faces"])
                place = facts["place"]
                found = make_record(
                    entry.id, mesh, self.forms, voxel_um=self.voxel_um, columns=facts["columns"], place=place
                )
                marks = tuple(
                    Finding(place, f"its mesh is not watertight: {why}", entry.id) for why in facts["problems"]
                )
                yield replace(found, findings=marks + found.findings)


def make_record(
    number: int, mesh: Mesh, forms: Forms, *, voxel_um: float, columns: Mapping[str, Any], place: str
) -> Record:
    """Make every form of an instance from its mesh; one that cannot be made is None and has a finding."""
    findings: list[Finding] = []

    def tried(form: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except UsageError as error:
            findings.append(Finding(place, f"has no {form}: {error}", number))
            return None

    def rng(purpose: int) -> np.random.Generator:
        return np.random.default_rng([forms.seed, number, purpose])

    if forms.sdf:
        queries = tried("occupancy", lambda: signed_occupancy(mesh, rng(_QUERIES), labels=forms.labels))
        labelled, distance = queries or (None, None)
    else:
        labelled, distance = tried("occupancy", lambda: occupancy(mesh, rng(_QUERIES), labels=forms.labels)), None
    grids = None
    if forms.grids:
        grids = tried(
            "voxel grid", lambda: {e: voxel_grid(mesh.vertices, mesh.faces, e).inside for e in sorted(set(forms.grids))}
        )
    return Record(
        number,
        mesh=mesh,
        point_cloud=tried("point cloud", lambda: point_cloud(mesh, rng(_CLOUD))),
        occupancy=labelled,
        images=tried("images", lambda: _images(number, mesh, forms.seed, voxel_um)) if forms.images else None,
        findings=tuple(findings),
        sdf=distance,
        voxel_grid=grids,
        columns=columns,
    )


def _images(number: int, mesh: Mesh, seed: int, voxel_um: float) -> Images:
    """Image a mesh under every published microscope."""
    emitters = emitters_of(mesh.vertices_um(voxel_um), mesh.faces, instance=number, seed=seed)
    counts = [
        expose(emitters, PRESETS[name], schema.VIEWS, instance=number, mode="corrected", seed=seed)
        for name in schema.MICROSCOPES
    ]
    return Images(np.stack(counts), np.ones((len(schema.MICROSCOPES), len(schema.VIEWS)), np.bool_))
