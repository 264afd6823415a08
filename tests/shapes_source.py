"""A source of procedural meshes without the other parts: quick to ingest, and all that simulation needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ingest.procedural import instance
from ingest.record import Entry, Finding, Listing, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from msl_store.shapes import Mesh


@lru_cache(maxsize=1024)
def mesh_of(kind: str, number: int) -> Mesh:
    return instance(kind, number, 0)


@dataclass(frozen=True)
class ShapesSource:
    """`count` instances with the ids 10, 20, ...; every 30th is without its mesh."""

    count: int
    kinds: tuple[str, ...] = ("dot",)
    name: str = "shapes"

    def listing(self) -> Listing:
        return Listing(tuple(self._entry(10 * (place + 1)) for place in range(self.count)))

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        for entry in entries:
            mesh = self._mesh(entry.id)
            if mesh is None:
                yield Record(entry.id, findings=(Finding(f"shapes: {entry.id}", "has no mesh", entry.id),))
            else:
                yield Record(entry.id, mesh=mesh)

    def _mesh(self, number: int) -> Mesh | None:
        return None if number % 300 == 0 else mesh_of(self.kinds[number // 10 % len(self.kinds)], number)

    def _entry(self, number: int) -> Entry:
        mesh = self._mesh(number)
        counts = (0, 0) if mesh is None else (len(mesh.vertices), len(mesh.faces))
        return Entry(number, "shapes", *counts, digest=f"{self.kinds}{number}")
