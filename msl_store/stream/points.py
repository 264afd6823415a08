"""Points of every instance: occupancy queries with their answers, and points of the surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import MissingError
from msl_store.schema import BLOCK
from msl_store.store import Cut
from msl_store.stream.draws import Sampling
from msl_store.stream.form import Reader, Sample, refuse_no_integer, refuse_unknown, refuse_without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library


QueryType = Literal["float32", "float16"]


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
    dtype: QueryType = "float32"
    frame: bool = False

    def __post_init__(self) -> None:
        refuse_unknown(self, dtype=QueryType)
        refuse_no_integer(self, "n", "spread")

    def of(self, library: Library) -> Reader:
        """Return what reads them."""
        return _QueryReader(library, self)


class QueryPoints:
    """Which queries are drawn of a library's instances, and where they are stored."""

    def __init__(self, library: Library, n: int, spread: int) -> None:
        refuse_without(library, "occupancy")
        self.has = library.has_part("occupancy")
        self._rows = library.rows_of(library.ids)
        points = library.store.array("occupancy/points")
        self._sampling = Sampling(points.shape[1], points.chunk[1], n, spread)
        self.chunk_points = self._sampling.chunks_read * points.chunk[1]

    def chosen(self, place: int, rng: np.random.Generator) -> tuple[int, list[tuple[int, NDArray[np.int64]]]]:
        """Return an instance's row, and (number of a chunk, places in it) of the queries drawn."""
        return int(self._rows[place]), self._sampling.chosen(rng)

    def cuts(self, path: str, row: int, chosen: Sequence[tuple[int, NDArray[np.int64]]]) -> list[Cut]:
        """Return what to read of an array with a chunk for every chunk of ``occupancy/points``."""
        inner = (0,) if path == "occupancy/points" else ()
        return [Cut(path, (row, number, *inner), (0, self._sampling.taken(places))) for number, places in chosen]


class _QueryReader(Reader):
    def __init__(self, library: Library, form: Queries) -> None:
        self._form = form
        self._points = QueryPoints(library, form.n, form.spread)
        super().__init__(library.store, self._points.has)
        self._frames: dict[int, Sequence[NDArray[Any]]] = {}

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        row, chosen = self._points.chosen(place, rng)
        cuts = self._points.cuts("occupancy/points", row, chosen)
        # a chunk of answers holds those of a chunk of points, eight a byte
        cuts += [Cut("occupancy/inside_bits", (row, number), (0,)) for number, _ in chosen]
        block = row // BLOCK
        if self._form.frame and block not in self._frames:
            cuts += [Cut("occupancy/loc", (block, 0)), Cut("occupancy/scale", (block,))]
        return cuts, (row, chosen)

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        row, parts = chosen
        points, answers = values[: len(parts)], values[len(parts) : 2 * len(parts)]
        inside = [np.unpackbits(own)[places] for own, (_, places) in zip(answers, parts, strict=True)]
        sample: Sample = {
            "": tuple(own.astype(self._form.dtype, copy=False) for own in points),
            ".inside": tuple(own.view(np.bool_) for own in inside),
        }
        if self._form.frame:
            block, within = divmod(row, BLOCK)
            if len(values) > 2 * len(parts):
                self._frames[block] = values[2 * len(parts) :]
            loc, scale = self._frames[block]
            sample |= {".loc": loc[within], ".scale": scale[within]}
        return sample

    def nbytes(self, places: NDArray[np.int64]) -> int:
        width = 3 * np.dtype(self._form.dtype).itemsize
        return len(places) * (7 * self._points.chunk_points + self._form.n * (2 * width + 2))


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

    def __post_init__(self) -> None:
        refuse_no_integer(self, "n", "spread")

    def of(self, library: Library) -> Reader:
        """Return what reads them."""
        return _CloudReader(library, self)


class _CloudReader(Reader):
    def __init__(self, library: Library, form: Cloud) -> None:
        refuse_without(library, "point_cloud")
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
        taken = [(number, self._sampling.taken(places)) for number, places in chosen]
        cuts = [Cut(path, (row, number, 0), (0, places)) for path in self._paths for number, places in taken]
        return cuts, len(chosen)

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        parts = [tuple(values[start : start + chosen]) for start in range(0, len(values), chosen)]
        return dict(zip(("", ".normals"), parts, strict=False))

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * self._nbytes
