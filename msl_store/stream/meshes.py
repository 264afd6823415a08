"""Meshes of every instance: padded to the largest of the batch, joined into one, or as lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.shapes import Mesh, normalize
from msl_store.store import Cut
from msl_store.stream.form import Reader, Sample, refuse_unknown, refuse_without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library

Layout = Literal["padded", "packed", "list"]
Frame = Literal["raw", "normalized"]


@dataclass(frozen=True)
class Meshes:
    """Whole meshes.

    Makes ``name.vertices`` (float32) and ``name.faces`` (int32), ``name.vertex_count`` and ``name.face_count``
    (batch,), and in the normalized frame also ``name.loc`` (batch, 3) and ``name.scale`` (batch,), float64, in voxels.

    Attributes
    ----------
    layout : {"padded", "packed", "list"}
        ``padded``: (batch, most, 3), filled up with vertices of 0 and faces of -1. ``packed``: (all, 3), one instance
        after the other, faces naming the vertices of the whole. ``list``: a list of arrays.
    frame : {"raw", "normalized"}
        Positions in EM voxels; or, as the points of clouds and queries are, (raw - loc) / scale with the centre and the
        longest side of the mesh's bounding box.
    """

    layout: Layout = "padded"
    frame: Frame = "raw"

    def __post_init__(self) -> None:
        refuse_unknown(self, layout=Layout, frame=Frame)

    def of(self, library: Library) -> Reader:
        """Return what reads them."""
        return _MeshReader(library, self)


class MeshCuts:
    """What to read of the meshes of a library: whole chunks, which no two instances share."""

    def __init__(self, library: Library) -> None:
        refuse_without(library, "mesh")
        self.has = library.has_part("mesh")
        columns = {dim: library.store.columns([f"mesh/{dim}_start", f"mesh/{dim}_count"]) for dim in ("vertex", "face")}
        rows = library.rows_of(library.ids)
        self.counts = {dim: own[f"mesh/{dim}_count"][rows] for dim, own in columns.items()}
        self._starts = {dim: own[f"mesh/{dim}_start"][rows] for dim, own in columns.items()}
        self._arrays = {dim: library.store.array(path) for dim, path in PATHS.items()}

    def of(self, place: int) -> list[Cut]:
        """Return the cuts of one instance's vertices, then of its faces."""
        cuts: list[Cut] = []
        for dim, path in PATHS.items():
            extent = self._arrays[dim].chunk[0]
            first, left = int(self._starts[dim][place]) // extent, int(self.counts[dim][place])
            cuts += [
                Cut(path, (first + number, 0), (slice(0, left - number * extent),))
                for number in range(-(-left // extent))
            ]
        return cuts

    def joined(self, place: int, values: Sequence[NDArray[Any]]) -> Mesh:
        """Return the mesh of an instance from the values of its cuts."""
        chunks = -(-int(self.counts["vertex"][place]) // self._arrays["vertex"].chunk[0])
        return Mesh(np.concatenate(values[:chunks]), np.concatenate(values[chunks:]))

    def nbytes(self, places: NDArray[np.int64]) -> int:
        """Return how many bytes of chunks some instances have."""
        return sum(
            int((-(-self.counts[dim][places] // array.chunk[0])).sum()) * array.chunk[0] * 12
            for dim, array in self._arrays.items()
        )


PATHS = {"vertex": "mesh/vertices", "face": "mesh/faces"}


class _MeshReader(Reader):
    def __init__(self, library: Library, form: Meshes) -> None:
        self._form = form
        self._cuts = MeshCuts(library)
        super().__init__(library.store, self._cuts.has)

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:  # noqa: ARG002 - nothing is drawn
        return self._cuts.of(place), place

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        mesh = self._cuts.joined(chosen, values)
        vertices = mesh.vertices
        frame: Sample = {}
        if self._form.frame == "normalized":
            loc, scale = mesh.box()
            vertices = normalize(vertices, loc, scale).astype(np.float32)
            frame = {".loc": loc, ".scale": np.float64(scale)}
        counts = {".vertex_count": np.int64(len(vertices)), ".face_count": np.int64(len(mesh.faces))}
        return {".vertices": vertices, ".faces": mesh.faces.view(np.int32), **counts, **frame}

    def stacked(self, samples: Sequence[Sample]) -> Sample:
        ragged = {name: [sample[name] for sample in samples] for name in (".vertices", ".faces")}
        even = super().stacked([{k: v for k, v in sample.items() if k not in ragged} for sample in samples])
        if self._form.layout == "padded":
            return {".vertices": _padded(ragged[".vertices"], 0), ".faces": _padded(ragged[".faces"], -1), **even}
        if self._form.layout == "packed":
            first = np.cumsum(even[".vertex_count"]) - even[".vertex_count"]
            faces = [own + np.int32(start) for own, start in zip(ragged[".faces"], first, strict=True)]
            return {".vertices": np.concatenate(ragged[".vertices"]), ".faces": np.concatenate(faces), **even}
        return {**ragged, **even}

    def nbytes(self, places: NDArray[np.int64]) -> int:
        vertices, faces = (self._cuts.counts[dim][places] for dim in PATHS)
        held = 2 * 12 * int(vertices.sum() + faces.sum())
        if self._form.layout == "padded":
            held = len(places) * 12 * int(vertices.max() + faces.max()) + held // 2
        return self._cuts.nbytes(places) + held


def _padded(arrays: Sequence[NDArray[Any]], fill: int) -> NDArray[Any]:
    out = np.full((len(arrays), max(map(len, arrays)), 3), fill, arrays[0].dtype)
    for place, own in enumerate(arrays):
        out[place, : len(own)] = own
    return out
