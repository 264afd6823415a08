"""Points of every instance: occupancy queries with their answers, and points of the surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import MissingError
from msl_store.schema import BLOCK
from msl_store.store import Cut
from msl_store.stream.draws import Sampling
from msl_store.stream.form import Reader, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library

FRAME = ("occupancy/loc", "occupancy/scale")


@dataclass(frozen=True)
class Queries:
    """Occupancy queries and whether they are inside, in the normalized frame.

    Makes ``name`` (batch, n, 3) and ``name.inside`` (batch, n), bool; with `frame` also ``name.loc`` (batch, 3) and
    ``name.scale`` (batch,), float64 in voxels: raw = normalized * scale + loc.

    Attributes
    ----------
    n : int
        Queries of every instance, drawn anew every epoch without replacement: with up to 10,000 of them one chunk of
        ten is read, about 60 kB. The stored queries are independent and uniform in [-0.55, 0.55]^3, so those of one
        chunk are too: for what is drawn, see `msl_store.stream.draws.Sampling`.
    spread : int
        Draw from at least so many chunks.
    dtype : {"float32", "float16"}
        Type of the positions; float16 is how they are stored.
    frame : bool
        Whether the frame comes with them.
    """

    n: int = 2048
    spread: int = 1
    dtype: Literal["float32", "float16"] = "float32"
    frame: bool = False

    def of(self, library: Library) -> Reader:
        """Return what reads them."""
        return _QueryReader(library, self)


class _QueryReader(Reader):
    def __init__(self, library: Library, form: Queries) -> None:
        super().__init__(library.store, library.has_part("occupancy"))
        self._form = form
        self._rows = library.rows_of(library.ids)
        points = self.store.array("occupancy/points")
        self._bytes_chunk = self.store.array("occupancy/inside_bits").chunk[1]
        self._sampling = Sampling(points.shape[1], points.chunk[1], form.n, form.spread)
        self._frames: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        per_chunk = (6 + 1) * points.chunk[1]
        self._nbytes = self._sampling.chunks_read * per_chunk + form.n * (2 * np.dtype(form.dtype).itemsize * 3 + 2)

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        row = int(self._rows[place])
        chosen = self._sampling.chosen(rng)
        cuts, shifts = [], []
        for number, places in chosen:
            cuts.append(Cut("occupancy/points", (row, number, 0), (0, places)))
            byte, shift = np.divmod(places + number * self._sampling.chunk, 8)
            for part in np.unique(byte // self._bytes_chunk).tolist():
                mine = byte // self._bytes_chunk == part
                cuts.append(Cut("occupancy/inside_bits", (row, part), (0, byte[mine] - part * self._bytes_chunk)))
                shifts.append(shift[mine])
        block = row // BLOCK
        if self._form.frame and block not in self._frames:
            cuts += [Cut(FRAME[0], (block, 0)), Cut(FRAME[1], (block,))]
        return cuts, (row, [cut.path for cut in cuts], np.concatenate(shifts))

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        row, paths, shifts = chosen
        by_path: dict[str, list[NDArray[Any]]] = {}
        for path, value in zip(paths, values, strict=True):
            by_path.setdefault(path, []).append(value)
        answers = np.concatenate(by_path["occupancy/inside_bits"])
        sample: Sample = {
            "": np.concatenate(by_path["occupancy/points"]).astype(self._form.dtype, copy=False),
            ".inside": ((answers >> (7 - shifts).astype(np.uint8)) & 1).astype(np.bool_),
        }
        if self._form.frame:
            block, within = divmod(row, BLOCK)
            if FRAME[0] in by_path:
                self._frames[block] = by_path[FRAME[0]][0].copy(), by_path[FRAME[1]][0].copy()
            loc, scale = self._frames[block]
            sample |= {".loc": loc[within], ".scale": scale[within]}
        return sample

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * self._nbytes


@dataclass(frozen=True)
class Cloud:
    """Points of the surface, in the normalized frame.

    Makes ``name`` (batch, n, 3), float32, and with `normals` ``name.normals`` (batch, n, 3), outward unit normals.

    Attributes
    ----------
    n : int
        Points of every instance, drawn anew every epoch without replacement from as few chunks of 10,000 as will do:
        every stored point is equally likely. The points of a chunk are as uniform as all are where points are stored
        in a random order, as those of the sample and of an EM library are; see `msl_store.stream.draws.Sampling`.
    spread : int
        Draw from at least so many chunks, for point clouds that are stored in some spatial order.
    normals : bool
        Whether normals come with them; instances without normals are then left out.
    """

    n: int = 2048
    spread: int = 1
    normals: bool = False

    def of(self, library: Library) -> Reader:
        """Return what reads them."""
        return _CloudReader(library, self)


class _CloudReader(Reader):
    def __init__(self, library: Library, form: Cloud) -> None:
        super().__init__(library.store, library.has_part("normals" if form.normals else "point_cloud"))
        if form.normals and not self.has.any():
            raise MissingError(f"{library.url}: no point cloud has normals; ask for Cloud(normals=False)")
        self._paths = ("point_cloud/points", "point_cloud/normals")[: 1 + form.normals]
        self._rows = library.rows_of(library.ids)
        points = self.store.array(self._paths[0])
        self._sampling = Sampling(points.shape[1], points.chunk[1], form.n, form.spread)
        self._nbytes = 12 * len(self._paths) * (self._sampling.chunks_read * points.chunk[1] + 2 * form.n)

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        row = int(self._rows[place])
        chosen = self._sampling.chosen(rng)
        cuts = [Cut(path, (row, number, 0), (0, places)) for path in self._paths for number, places in chosen]
        return cuts, len(chosen)

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        parts = [np.concatenate(values[start : start + chosen]) for start in range(0, len(values), chosen)]
        return dict(zip(("", ".normals"), parts, strict=False))

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * self._nbytes
