"""Libraries made up for tests: records from a seed, a source that holds them, and the library they become."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.record import Entry, Finding, Images, Listing, Record
from ingest.repack import ingest
from msl_store import schema
from msl_store.library import Library, open_library
from msl_store.shapes import Mesh, Occupancy, PointCloud
from msl_store.store import locate

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from msl_store.contents import Instance

PERIOD = 500
"""Points repeat after this many, so that the full-size arrays of many instances compress in no time."""

IMAGES_SHAPE = (len(schema.MICROSCOPES), len(schema.VIEWS), *schema.IMAGE_SHAPE)


@dataclass(frozen=True)
class HeldSource:
    """A source of records in memory; pickles, as sources do.

    Attributes
    ----------
    held : tuple of Record
        In the order of their ids.
    name : str
        What provenance calls it.
    edition : str
        Part of every entry's digest: another one is a source whose bytes have changed.
    """

    held: tuple[Record, ...]
    name: str = "made up"
    edition: str = "a"

    def listing(self) -> Listing:
        """List the records."""
        return Listing(tuple(map(self._entry, self.held)))

    def _entry(self, record: Record) -> Entry:
        vertices, faces = (0, 0) if record.mesh is None else (len(record.mesh.vertices), len(record.mesh.faces))
        return Entry(record.id, f"part{record.id % 2}.zip", vertices, faces, f"{self.edition}{record.id}")

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        """Return the records of some entries."""
        by_id = {record.id: record for record in self.held}
        return (by_id[entry.id] for entry in entries)


def made_mesh(rng: np.random.Generator, vertices: int) -> Mesh:
    """A triangle mesh of that many vertices (3 or more): a closed double fan, so that it has a volume."""
    positions = rng.uniform(1, 400, (vertices, 3)).astype(np.float32)
    rim = np.arange(2, vertices)
    after = np.roll(rim, -1)
    upper = np.stack([np.zeros_like(rim), rim, after], axis=1)
    lower = np.stack([np.ones_like(rim), after, rim], axis=1)
    return Mesh(positions, np.concatenate([upper, lower]).astype(np.uint32))


def _repeated(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.tile(values, (-(-schema.SAMPLES // len(values)), *(1,) * (values.ndim - 1)))[: schema.SAMPLES]


def made_cloud(rng: np.random.Generator, *, normals: bool) -> PointCloud:
    """A point cloud of the schema's size."""
    points, directions = rng.uniform(-0.5, 0.5, (2, PERIOD, 3)).astype(np.float32)
    return PointCloud(_repeated(points), _repeated(directions) if normals else None)


def made_occupancy(rng: np.random.Generator) -> Occupancy:
    """An occupancy of the schema's size."""
    points = _repeated(rng.uniform(-0.55, 0.55, (PERIOD, 3)).astype(np.float16))
    bits = np.packbits(_repeated(rng.random(PERIOD) < 0.3))
    return Occupancy(points, bits, rng.uniform(0, 500, 3), float(rng.uniform(50, 90)))


def made_images(rng: np.random.Generator, present: np.ndarray[Any, np.dtype[np.bool_]]) -> Images:
    """Images where `present` is True, zeros elsewhere."""
    counts = rng.poisson(60, IMAGES_SHAPE).astype(np.uint16)
    counts[~present] = 0
    return Images(counts, present)


def made_record(instance: int, *, parts: str = "mcnoi", vertices: int = 30, missing: Sequence[Any] = ()) -> Record:
    """A record with the parts named: m(esh), c(loud), n(ormals), o(ccupancy), i(mages but `missing`)."""
    rng = np.random.default_rng(instance)
    present = np.ones(IMAGES_SHAPE[:2], np.bool_)
    for place in missing:
        present[place] = False
    return Record(
        instance,
        made_mesh(rng, vertices) if "m" in parts else None,
        made_cloud(rng, normals="n" in parts) if "c" in parts else None,
        made_occupancy(rng) if "o" in parts else None,
        made_images(rng, present) if "i" in parts else None,
        ()
        if set("mcoi") <= set(parts)
        else (Finding(f"part{instance % 2}.zip: {instance}/", "lacks parts", instance),),
    )


def many_records() -> tuple[Record, ...]:
    """Seventy records over two blocks: most lack something, two lack everything, block 1 has no occupancy."""
    records = []
    for row in range(70):
        parts = "".join(
            part
            for part, there in {
                "m": row % 7 != 3,
                "c": row % 5 == 1,
                "n": row % 2 == 1,
                "o": row % 6 == 1 and row < schema.BLOCK,
                "i": row % 9 != 8,
            }.items()
            if there and row != 12
        )
        missing: list[Any] = [(1, 3)] if row % 4 == 3 else [2] if row % 4 == 2 else []
        vertices = {1: 20_000, 7: 16_384, 65: 16_385}.get(row, 20 + row)
        records.append(made_record(instance_of(row), parts=parts, vertices=vertices, missing=missing))
    return tuple(records)


def instance_of(row: int) -> int:
    """The id of a row of `many_records`: ids have gaps."""
    return 10 + row + row // 10


WHOLE = instance_of(1)
"""An instance of `many_records` that has every part, and two chunks of vertices."""


def build(records: Sequence[Record], url: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Library:
    """Ingest records into a library at a URL and open it."""
    ingest(HeldSource(tuple(records)), locate(url, options), scheduler="synchronous")
    return open_library(url, options)


@cache
def made_records() -> dict[int, Record]:
    """The records of `many_records` by id, made once a process."""
    return {record.id: record for record in many_records()}


def shown() -> list[int]:
    """The ids of `made_records` that have anything, so that a library shows them."""
    return [
        instance
        for instance, record in made_records().items()
        if any(a is not None for a in arrays_of(record).values())
    ]


@cache
def built() -> Path:
    """The folder of a library of `many_records`, built once a process; read it only."""
    folder = Path(tempfile.mkdtemp(prefix="small-library-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(tuple(made_records().values()), folder / "small.zarr")
    return folder / "small.zarr"


def record_of(found: Instance) -> Record:
    """What a library gives of an instance as a record, findings left out."""
    images = None if found.images is None or found.present is None else Images(found.images, found.present)
    return Record(found.id, found.mesh, found.point_cloud, found.occupancy, images)


def contents(library: Library) -> dict[int, Record]:
    """Everything in a library, what was set aside included, as the records that it was made from."""
    return {found.id: record_of(found) for found in library.with_set_aside().instances()}


def arrays_of(record: Record) -> dict[str, np.ndarray[Any, Any] | None]:
    """Every array of a record by name, None where the record has none."""
    mesh, cloud, occupancy, images = record.mesh, record.point_cloud, record.occupancy, record.images
    return {
        "vertices": None if mesh is None else mesh.vertices,
        "faces": None if mesh is None else mesh.faces,
        "points": None if cloud is None else cloud.points,
        "normals": None if cloud is None else cloud.normals,
        "queries": None if occupancy is None else occupancy.points,
        "bits": None if occupancy is None else occupancy.inside_bits,
        "loc": None if occupancy is None else occupancy.loc,
        "scale": None if occupancy is None else np.float64(occupancy.scale),
        "counts": None if images is None else images.counts,
        "present": None if images is None else images.present,
    }


def assert_same(found: Record, expected: Record) -> None:
    """Fail unless two records hold the same arrays, dtypes included."""
    assert found.id == expected.id
    pairs = zip(arrays_of(found).items(), arrays_of(expected).values(), strict=True)
    for (name, one), other in pairs:
        assert (one is None) == (other is None), f"{expected.id}: {name}"
        if one is not None:
            np.testing.assert_array_equal(one, other, err_msg=f"{expected.id}: {name}", strict=True)


def sums(library: Library, ids: Sequence[int]) -> list[tuple[float, ...]]:
    """A few numbers that depend on every array of some instances; for comparing what processes read."""
    found = []
    for record in library.instances(ids):
        mesh, cloud, images = record.mesh, record.point_cloud, record.images
        found.append(
            (
                0.0 if mesh is None else float(mesh.vertices.sum(dtype=np.float64)) + float(mesh.faces.sum()),
                0.0 if cloud is None else float(cloud.points.sum(dtype=np.float64)),
                0.0 if images is None else float(images.sum()),
            )
        )
    return found
