"""From an EM segmentation to a library: objects, meshes, records, in one resumable run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ingest.em.meshing import Meshing, Recipe, mesh_objects
from ingest.em.objects import Segmentation, Segmented, segment
from ingest.em.source import EMSource, Forms
from ingest.em.stages import Stage
from ingest.em.volume import digest_of, voxel_size
from ingest.repack import Progress, Report, ingest
from msl_store.errors import MissingError, UsageError
from msl_store.store import held, locate, make_way, open_store, zarr_node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ingest.em.volume import Edges, Volume
    from msl_store.blockwise import Scheduler
    from msl_store.store import Objects

WORK = "_unpublished/em"
"""Where intermediate results lie below an unfinished library; gone once it is published."""

UNTITLED: Mapping[str, Any] = {"title": "Mitochondria of an EM volume", "license": "not stated"}


@dataclass(frozen=True)
class Plan:
    """Everything that a library made from a volume depends on, besides the volume.

    Attributes
    ----------
    segmentation : Segmentation
        How the volume becomes objects.
    recipe : Recipe
        How objects become meshes.
    forms : Forms
        What is made of each mesh.
    voxel_nm : sequence of 3 floats, optional
        Edges of the volume's voxels in nm, before downsampling; those of its metadata where it is not given.
    """

    segmentation: Segmentation = field(default_factory=Segmentation)
    recipe: Recipe = field(default_factory=Recipe)
    forms: Forms = field(default_factory=Forms)
    voxel_nm: Sequence[float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON types."""
        return {
            "segmentation": self.segmentation.to_dict(),
            "recipe": self.recipe.to_dict(),
            "forms": self.forms.to_dict(),
        }


def prepare(
    volume: Volume,
    work: Objects,
    plan: Plan,
    *,
    ids: Sequence[int] | None = None,
    limit: int | None = None,
    scheduler: Scheduler = None,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _all: None,
) -> tuple[EMSource, Segmented]:
    """Find and mesh the objects of a volume; return them as a source, and what was found.

    Parameters
    ----------
    volume : Volume
        The labels.
    work : Objects
        Where intermediate results are kept; a run at the same place goes on where this one stops.
    plan : Plan
        What to do.
    ids, limit
        Only these objects, or only the first.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it.
    progress : callable
        Called with a stage's name, the pieces of work done and their number.

    Raises
    ------
    MissingError
        The volume has no object that is kept, or not those asked for.
    UsageError
        The volume has no voxel size and none is given, or an option is not allowed.
    """
    fine = voxel_size(volume, plan.voxel_nm)
    factor = plan.segmentation.downsample
    edges: Edges = (fine[0] * factor[0], fine[1] * factor[1], fine[2] * factor[2])
    segmented = segment(volume, work, plan.segmentation, scheduler=scheduler, progress=progress)
    rows = _chosen_rows(volume, segmented, ids, limit)
    meshing = Meshing(plan.recipe, edges)
    stage = Stage(work, "meshes", digest_of(segmented.digest, plan.recipe.to_dict(), list(edges)))
    mesh_objects(segmented, meshing, rows, stage, name=volume.name, scheduler=scheduler, progress=progress)
    return EMSource(volume.name, stage, plan.forms, meshing.voxel_um), segmented


def _chosen_rows(volume: Volume, segmented: Segmented, ids: Sequence[int] | None, limit: int | None) -> list[int]:
    components = segmented.components
    if not len(components):
        raise MissingError(
            f"{volume.name}: holds no object to keep ({segmented.found} found, before dust and border were left out): "
            "check the labels, --dust and --border"
        )
    rows = list(range(len(components)))
    if ids is not None:
        row_of = {number: row for row, number in enumerate(components.ids.tolist())}
        missing = sorted(set(ids) - set(row_of))
        if missing:
            raise MissingError(
                f"{volume.name}: has no object {', '.join(map(str, missing[:5]))}; it has {len(rows)}, "
                f"{components.ids[0]} to {components.ids[-1]}"
            )
        rows = sorted(row_of[number] for number in set(ids))
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: allowed is 1 or more")
    return rows[:limit]


def ingest_volume(
    volume: Volume,
    target: Objects,
    plan: Plan | None = None,
    *,
    ids: Sequence[int] | None = None,
    limit: int | None = None,
    attributes: Mapping[str, Any] = UNTITLED,
    work: Objects | None = None,
    scheduler: Scheduler = None,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _all: None,
) -> Report:
    """Make a library of a volume, or go on where an earlier run of the same thing stopped.

    Parameters
    ----------
    volume : Volume
        From `ingest.em.opening.open_volume`.
    target : Objects
        Where the library goes.
    plan : Plan, optional
        What to do.
    ids, limit
        Only these objects, or only the first.
    attributes : mapping
        What the library's root says of the data: title, license, citation.
    work : Objects, optional
        Where intermediate results are kept, also afterwards. Without it they lie below the target until the library is
        published.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it. Workers must reach the volume, the work place and the target.
    overwrite : bool
        Replace another library at the target.
    progress : callable
        Called with a stage's name (``volume``, ``labels``, ``joins``, ``meshes``, ``library``), how much of it is done,
        and how much there is.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        The target holds something else, the volume has no voxel size, or an option is not allowed.
    BusyError
        Another run is writing to the target.
    MissingError
        The volume has no object that is kept, or not those asked for.
    """
    began = time.perf_counter()
    plan = plan or Plan()
    fine = voxel_size(volume, plan.voxel_nm)
    asked = {"ids": None if ids is None else sorted(set(ids)), "limit": limit, "attributes": dict(attributes)}
    digest = digest_of(volume.digest, list(fine), plan.to_dict(), asked)
    found = zarr_node(target)
    if found is not None and not overwrite and found.attributes.get("volume", {}).get("plan") == digest:
        return Report("published", len(open_store(target.url, target.storage_options).ids))
    if not overwrite:
        make_way(target, overwrite=False)
    place = work or locate(f"{target.url}/{WORK}", target.storage_options)
    with held(place):
        if overwrite:
            make_way(target, overwrite=True)
        source, segmented = prepare(volume, place, plan, ids=ids, limit=limit, scheduler=scheduler, progress=progress)
        segmentation = plan.segmentation
        provenance = {
            "volume": {
                "name": volume.name,
                "shape": list(volume.shape),
                "dtype": str(volume.dtype),
                "voxel_nm": list(fine),
                **plan.to_dict(),
                "objects_found": segmented.found,
                "objects_kept": len(segmented.components),
                "plan": digest,
            }
        }
        kind = plan.forms.kind(source.voxel_um, provenance, border_column=segmentation.border != "keep")

        def tell(state: Progress) -> None:
            progress("library", state.instances, state.all_instances)

        report = ingest(
            source, target, ids=ids, limit=limit, attributes=attributes, kind=kind, scheduler=scheduler, progress=tell
        )
    if work is None:
        for path, _ in place.list():
            place.delete(path)
    return replace(report, seconds=time.perf_counter() - began)
