"""One instance in memory, and what every source of instances offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from msl_store.shapes import Mesh, Occupancy, PointCloud


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong with a source.

    Attributes
    ----------
    place : str
        Archive and member, as in ``part3.zip: 920/raw_mesh.off``.
    reason : str
        What was wrong, what was allowed, and the remedy.
    instance : int or None
        The instance it belongs to, where that is known.
    """

    place: str
    reason: str
    instance: int | None = None

    def __str__(self) -> str:
        """Return ``place: reason``."""
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Images:
    """The microscope images of one instance.

    Attributes
    ----------
    counts : ndarray of uint16, shape (microscope, view, y, x)
        Camera counts; zeros where `present` is False.
    present : ndarray of bool, shape (microscope, view)
        Which images the source has.
    """

    counts: NDArray[np.uint16]
    present: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Record:
    """Everything that one instance has; a part that is missing or damaged is None and has a finding.

    Attributes
    ----------
    id : int
        The instance's id.
    mesh, point_cloud, occupancy, images
        Its parts.
    findings : tuple of Finding
        What was wrong with it.
    sdf : ndarray of float16, shape (n_query,), or None
        Signed distances of the occupancy's points in the normalized frame, where the source has them.
    voxel_grid : mapping of int to ndarray of bool, or None
        By their edge n, grids of shape (n, n, n) in the normalized frame, where the source has them.
    columns : mapping of str to value
        Further columns of the library's table that this instance has a value in.
    """

    id: int
    mesh: Mesh | None = None
    point_cloud: PointCloud | None = None
    occupancy: Occupancy | None = None
    images: Images | None = None
    findings: tuple[Finding, ...] = ()
    sdf: NDArray[np.float16] | None = None
    voxel_grid: Mapping[int, NDArray[np.bool_]] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One instance as its source lists it, known without reading any body.

    Attributes
    ----------
    id : int
        The instance's 3DMSL id.
    origin : str
        The archive or volume that holds it.
    vertex_count, face_count : int
        Of its mesh, from the header; 0 where there is no readable mesh.
    digest : str
        Changes when the source's bytes for this instance change.
    """

    id: int
    origin: str
    vertex_count: int
    face_count: int
    digest: str


@dataclass(frozen=True)
class Listing:
    """What a source holds: entries in the order of their ids, and what was wrong at first sight."""

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...] = field(default=())


class Source(Protocol):
    """Where instances come from. Sources pickle, so that a worker can read its own block."""

    @property
    def name(self) -> str:
        """What provenance calls this source: a path, URL or DOI."""

    def listing(self) -> Listing:
        """List the instances without reading bodies."""

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        """Read some instances, one at a time in the order asked for; damage becomes findings, not exceptions."""
