"""One object's mesh from its voxels: cropped, dilated, filled, smoothed, repaired, and the solid within it measured."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ingest.em.objects import Place, Segmented, place_of
from ingest.em.volume import Edges, digest_of
from msl_store.errors import UsageError
from msl_store.geometry.decimate import decimated
from msl_store.geometry.meshing import mesh_of_mask
from msl_store.geometry.morphometrics import measure_solid
from msl_store.geometry.repair import repaired
from msl_store.geometry.skeleton import skeleton_of_mesh
from msl_store.shapes import Mesh
from msl_store.store import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.em.stages import Stage
    from msl_store.blockwise import Scheduler

RecipeName = Literal["fast", "paper"]

MARGIN = 2
"""Voxels of outside around an object's crop, so that its coordinates are positive, as those of published meshes are."""

LARGEST = 2**26
"""Voxels of the largest crop that is meshed (a cube of 406)."""

BYTES_A_VOXEL: Mapping[RecipeName, int] = {"fast": 12, "paper": 80}
"""Memory that a voxel of a crop takes at the most while it is meshed (10 and 75 were measured)."""

SKELETON_VOXELS = 2**23
"""Voxels in which a skeleton is measured at the most: coarser ones than the volume's where a crop has more.

It takes some 50 bytes for each (measured), so 420 MB.
"""


@dataclass(frozen=True)
class Recipe:
    """How voxels become a mesh.

    Attributes
    ----------
    name : {"fast", "paper"}
        ``paper``: constrained smoothing, as the published meshes were made. ``fast``: a Gaussian of one voxel, some
        fifty times faster, but it wears away what is thinner than about three voxels.
    dilate : float
        Radius of a centred ball by which objects grow first, in units of the smallest edge of a voxel.
    fill : bool
        Fill voids within an object, which have no way out.
    decimate : float, optional
        Fraction of the faces to keep.
    largest : int
        Voxels of the largest crop that is meshed; larger objects are set aside. It bounds the memory:
        `BYTES_A_VOXEL` bytes for each.
    """

    name: RecipeName = "fast"
    dilate: float = 0.0
    fill: bool = True
    decimate: float | None = None
    largest: int = LARGEST

    def __post_init__(self) -> None:
        if self.name not in get_args(RecipeName):
            raise UsageError(f"recipe {self.name!r}: allowed are {', '.join(get_args(RecipeName))}")
        if not (math.isfinite(self.dilate) and self.dilate >= 0):
            raise UsageError(f"dilate {self.dilate}: allowed are radii of 0 voxels or more")
        if self.decimate is not None and not 0 < self.decimate <= 1:
            raise UsageError(f"decimate {self.decimate}: allowed are fractions of the faces, above 0 and up to 1")
        if self.largest < 1:
            raise UsageError(f"largest {self.largest}: allowed is 1 voxel or more")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Meshing:
    """How the objects of a volume are meshed.

    Attributes
    ----------
    recipe : Recipe
        What to do.
    edges_nm : tuple of 3 floats
        Edges of a voxel in nm. The smallest is the unit of the meshes, so that every mesh has true proportions.
    """

    recipe: Recipe
    edges_nm: Edges

    @property
    def voxel_um(self) -> float:
        """The unit of the meshes in um."""
        return min(self.edges_nm) / 1000

    @property
    def proportions(self) -> NDArray[np.float64]:
        """Edges of a voxel in the unit of the meshes, shape (axis,); 1 is the smallest."""
        return np.asarray(self.edges_nm) / min(self.edges_nm)

    def margin(self) -> list[int]:
        """Return how many voxels of outside an object's crop has along each axis."""
        return [MARGIN + math.ceil(self.recipe.dilate / side) for side in self.proportions.tolist()]

    def mesh(self, place: Place) -> tuple[Mesh, tuple[str, ...], dict[str, Any]]:
        """Crop and mesh one object.

        Returns
        -------
        mesh : Mesh
            Faces outwards, vertices float32 in the library's unit; 0 is the centre of the crop's first voxel.
        problems : tuple of str
            Why it is not watertight; empty where it is.
        columns : dict
            What the mesh encloses, by columns of the library's table; empty where it is not watertight.

        Raises
        ------
        UsageError
            The object cannot be meshed: it is too large, or nothing of it is left.
        """
        margin = self.margin()
        voxels = math.prod(side + 2 * m for side, m in zip(place.box.shape, margin, strict=True))
        if voxels > self.recipe.largest:
            raise UsageError(
                f"its crop has {voxels} voxels, and {self.recipe.largest} are allowed: downsample the volume, or allow "
                f"more with --largest (about {BYTES_A_VOXEL[self.recipe.name]} bytes of memory each)"
            )
        mask = self.solid(place.crop(margin))
        mesh = mesh_of_mask(mask, smoothing="constrained" if self.recipe.name == "paper" else "gaussian")
        vertices, faces = mesh.vertices * self.proportions, mesh.faces.astype(np.int64)
        if self.recipe.decimate is not None:
            vertices, faces = decimated(vertices, faces, ratio=self.recipe.decimate)
        vertices, faces, repair = repaired(vertices.astype(np.float32), faces)
        found = Mesh(vertices.astype(np.float32), faces.astype(np.uint32))
        return found, repair.problems, self.measured(found) if repair.watertight else {}

    def measured(self, mesh: Mesh) -> dict[str, Any]:
        """Measure the solid within a mesh, by columns of the library's table."""
        solid = measure_solid(mesh.vertices, mesh.faces, voxel_um=self.voxel_um)
        columns = {"principal_axes": solid.axes, "principal_length_um": solid.axis_lengths_um}
        try:
            sides = mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)
            edge = max(1.0, float(sides.prod(dtype=np.float64) / SKELETON_VOXELS) ** (1 / 3))
            lines = skeleton_of_mesh(mesh.vertices, mesh.faces, voxel_um=self.voxel_um, edge=edge)
        except UsageError:  # too thin to hold a voxel's centre
            return columns
        return {
            **columns,
            "skeleton_length_um": lines.length_um,
            "branch_count": lines.branch_count,
            "end_count": lines.end_count,
            "mean_radius_um": lines.mean_radius_um,
        }

    def solid(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask dilated and without voids, as the recipe says."""
        if self.recipe.dilate > 0:
            from scipy.ndimage import distance_transform_edt

            # A ball about each voxel's centre: everything that is no farther from the object than its radius.
            mask = distance_transform_edt(~mask, sampling=self.proportions) <= self.recipe.dilate
        if self.recipe.fill:
            import fill_voids

            mask = fill_voids.fill(mask).astype(np.bool_, copy=False)
        return mask


def mesh_object(meshing: Meshing, place: Place, stage: Stage, number: int, columns: dict[str, Any], name: str) -> None:
    """Mesh one object and write the mesh with what is known of it; why there is none, where it cannot be meshed."""
    start = np.array(place.box.start) - meshing.margin()
    facts: dict[str, Any] = {
        "columns": {**columns, "origin_um": (start * np.asarray(meshing.edges_nm) / 1000).tolist()},
        "reason": None,
        "problems": [],
        "place": name,
    }
    vertices, faces = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32)
    try:
        mesh, problems, measured = meshing.mesh(place)
        vertices, faces = mesh.vertices, mesh.faces
        facts["problems"] = list(problems)
        facts["columns"].update(measured)
    except UsageError as error:
        facts["reason"] = str(error)
    facts |= {"vertices": len(vertices), "faces": len(faces)}
    body = pack({"vertices": vertices, "faces": faces}, facts)
    stage.work.put(mesh_path(stage, number), body)
    stage.finish(number, pack({}, {**facts, "digest": digest_of(body)}))


def mesh_path(stage: Stage, number: int) -> str:
    """Return where an object's mesh lies."""
    return stage.path(f"mesh/{number:012d}")


def mesh_objects(
    segmented: Segmented,
    meshing: Meshing,
    rows: Sequence[int],
    stage: Stage,
    *,
    name: str,
    scheduler: Scheduler,
    progress: Callable[[str, int, int], None],
) -> None:
    """Mesh some objects, by their rows in the components, each resumable by itself."""
    components = segmented.components
    edges_um = np.asarray(meshing.edges_nm) / 1000
    tasks = {}
    for row in rows:
        number = int(components.ids[row])
        columns = {
            "label": int(components.value[row]),
            "voxel_count": int(components.voxels[row]),
            "touches_border": bool(components.touches_border[row]),
            "centroid_um": (components.centroid[row] * edges_um).tolist(),
        }
        place = place_of(segmented, row)
        tasks[number] = partial(mesh_object, meshing, place, stage, number, columns, f"{name}: object {number}")
    stage.run(tasks, scheduler=scheduler, progress=progress)
