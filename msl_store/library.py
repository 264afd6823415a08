"""A library, or a subset of one: instances by id, their table, their shapes, their images.

Nothing but the metadata is read when a library opens. The columns that say what each instance has are read together at
first need; shapes and images when they are asked for.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.contents import PARTS, Contents, Instance, absence, check_parts
from msl_store.errors import MissingError, UsageError
from msl_store.intake_entry import location_of
from msl_store.labelled import images_of, rotations_of, tree_of
from msl_store.members import Members
from msl_store.splits import SPLITS
from msl_store.store import open_store
from msl_store.table import matching, read_table, split_masks, split_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from msl_store.shapes import Mesh, Occupancy, PointCloud
    from msl_store.store import Store, Want
    from msl_store.store.caching import CacheChoice


class Library(Members):
    """A library at a URL, or a subset of one; open one with `msl_store.open`.

    A library pickles as its URL, options and selection, so dask workers open it anew.
    """

    def __init__(self, store: Store, rows: NDArray[np.int64] | None = None, *, edition: Library | None = None) -> None:
        super().__init__(store, rows)
        self._contents = Contents(store)
        self._edition = edition

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._store, self._chosen, self._edition)

    def __repr__(self) -> str:
        title = self._store.attributes.get("title", "library")
        return f"<Library {title!r}: {len(self)} instances at {self.url}; {self.license}>"

    @property
    def edition(self) -> Library | None:
        """The edition that gives the images, where one was joined by `with_edition`."""
        return self._edition

    def select(
        self,
        *,
        ids: ArrayLike | None = None,
        first: int | None = None,
        where: str | None = None,
        split: str | None = None,
    ) -> Library:
        """Return a subset, which is a library again.

        Parameters
        ----------
        ids : sequence of int, optional
            These instances, in this order.
        where : str, optional
            A condition on the columns of `table`, in the syntax of ``pandas.DataFrame.query``, as in
            ``"volume_um3 > 2 and genus == 0"``.
        split : {"train", "val", "test"}, optional
            Those of a split, which is frozen: see `msl_store.splits`.
        first : int, optional
            At most this many, from the start of what the others leave.

        Raises
        ------
        MissingError
            An id is not in the library.
        UsageError
            An id is given twice, `first` is negative, `where` is no condition on the table, or there is no such split.
        """
        rows = self._rows if ids is None else self.rows_of(ids)
        twice, times = np.unique(rows, return_counts=True)
        if len(twice) != len(rows):
            raise UsageError(
                f"{self.url}: id {self._store.ids[twice[times > 1][0]]} is given twice; allowed: once each"
            )
        if first is not None and (not isinstance(first, int | np.integer) or first < 0):
            raise UsageError(f"first={first!r}: allowed is 0 or more")
        if split is not None and split not in SPLITS:
            raise UsageError(f"split={split!r}: allowed are {', '.join(SPLITS)}; see also Library.splits")
        matches = np.ones(len(self), np.bool_) if where is None else matching(self.table, where)
        if split is not None:
            matches = matches & (split_numbers(self._store, self._rows) == SPLITS.index(split))
        if not matches.all():
            rows = rows[np.isin(rows, self._rows[matches])]
        return Library(self._store, np.ascontiguousarray(rows[:first], np.int64), edition=self._edition)

    def splits(self, where: Mapping[str, str | None] | None = None) -> dict[str, Library]:
        """Return subsets that have no instance in common.

        Parameters
        ----------
        where : mapping of str to str or None, optional
            The condition of each split, as `select` takes it; one split may have None, for all that the others leave.
            Without it, the frozen ``train``, ``val`` and ``test``.

        Raises
        ------
        UsageError
            An instance would be in two splits, or a condition is none.
        """
        if where is None:
            return {name: self.select(split=name) for name in SPLITS}
        masks = split_masks(self.table, where)
        return {name: self.select(ids=self.ids[mask]) for name, mask in masks.items()}

    @cached_property
    def table(self) -> xr.Dataset:
        """One row an instance: status, what it has, morphometrics, with units; ``.to_dataframe()`` for pandas."""
        return read_table(self._store, self._rows)

    def with_set_aside(self) -> Library:
        """Return the whole library, including instances that were set aside because no part of them was good."""
        return Library(self._store, np.arange(len(self._store.ids)))

    def mesh(self, instance: int) -> Mesh:
        """Return one instance's mesh in EM voxels (vertices float32, faces uint32)."""
        return self._part(instance, "mesh")  # type: ignore[no-any-return]

    def point_cloud(self, instance: int) -> PointCloud:
        """Return one instance's point cloud, in the normalized frame."""
        return self._part(instance, "point_cloud")  # type: ignore[no-any-return]

    def occupancy(self, instance: int) -> Occupancy:
        """Return one instance's query points and whether each is inside, in the normalized frame."""
        return self._part(instance, "occupancy")  # type: ignore[no-any-return]

    def sdf(self, instance: int) -> NDArray[np.float16]:
        """Return the signed distances of one instance's occupancy points, shape (n_query,): negative inside.

        In the normalized frame, as the points are; only libraries made from EM volumes have them.
        """
        return self._part(instance, "sdf")  # type: ignore[no-any-return]

    def voxel_grid(self, instance: int, edge: int = 64) -> NDArray[np.bool_]:
        """Return which voxels of the normalized frame's cube [-0.55, 0.55]^3 are inside, shape (edge, edge, edge).

        Only libraries made from EM volumes have grids, of the edges that were asked for.
        """
        grids: Mapping[int, NDArray[np.bool_]] = self._part(instance, "voxel_grid")
        if edge not in grids:
            raise MissingError(f"{self.url}: has no voxel grid of edge {edge}; it has {', '.join(map(str, grids))}")
        return grids[edge]

    def instance(self, instance: int) -> Instance:
        """Return everything that one instance has."""
        return next(self.instances([instance]))

    def _part(self, instance: int, part: str) -> Any:
        found = getattr(next(self.instances([instance], parts=(part,))), part)
        if found is None:
            sources = self.attributes.get("derived_from", ())
            raise MissingError(f"{self.url}: {absence(instance, part, self.findings, sources)}")
        return found

    def instances(
        self, ids: ArrayLike | None = None, *, parts: Sequence[str] = PARTS, batch: int = 16
    ) -> Iterator[Instance]:
        """Yield instances in memory, a batch at a time read in two round trips.

        Parameters
        ----------
        ids : sequence of int, optional
            Which, in which order; all by default.
        parts : sequence of str
            Of ``mesh``, ``point_cloud``, ``occupancy``, ``images``, ``sdf``, ``voxel_grid``.
        batch : int
            Instances read together; whole ones take about 7 MB each in memory.
        """
        check_parts(parts)
        rows = self._rows if ids is None else self.rows_of(ids)
        for start in range(0, len(rows), batch):
            yield from self._contents.read(rows[start : start + batch].tolist(), parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of `PARTS` its instances may have: those that the library has arrays for."""
        return self._contents.parts

    def wants(self, parts: Sequence[str]) -> Iterator[tuple[Store, list[Want]]]:
        """Yield what reading some parts of all instances, and all columns, takes: batches, each of one store."""
        yield from ((self._store, wants) for wants in self._contents.batches(self._rows.tolist(), parts))
        if self._edition is not None:
            yield from self._edition.select(ids=self.ids).wants([part for part in parts if part == "images"])

    def has_part(self, part: str) -> NDArray[np.bool_]:
        """Return which instances have a part, shape (instance,): one of `PARTS`, or ``normals``."""
        return self._contents.has(part)[self._rows]

    @property
    def microscopes(self) -> list[dict[str, Any]]:
        """The microscopes of the images, each as ``Microscope.to_dict`` gives it, in the images' order."""
        return list(self._store.groups.get("images", {}).get("microscopes", []))

    @property
    def views(self) -> list[str]:
        """Names of the images' views, in the images' order."""
        return list(self._store.groups.get("images", {}).get("views", []))

    @property
    def imaged(self) -> Library:
        """The library that holds these instances' images: itself, or its edition's part."""
        return self if self._edition is None else self._edition.select(ids=self.ids)

    @property
    def image_path(self) -> str:
        """The array of this library's own images: ``images/counts``, or ``images/expected`` of a noise-free edition."""
        return self._contents.image_path

    @property
    def images_present(self) -> NDArray[np.bool_]:
        """Which images of this library's own there are, shape (instance, microscope, view)."""
        return self._contents.images_present[self._rows]

    @cached_property
    def rotations(self) -> xr.DataArray:
        """The true rotation matrix of every image, dims (microscope, view, row, col): rotated = (p - mean) @ R."""
        return rotations_of(self._store)

    @cached_property
    def images(self) -> xr.DataArray:
        """The images, lazy, dims (instance, microscope, view, [frame,] [z,] y, x).

        Coordinates give each microscope's ``pixel_um`` and ``wavelength_um``, each image's true rotation as the
        rotation vector ``rotation_0``, ``rotation_1``, ``rotation_2`` (axis times angle in radians, so that a shape
        turns by it; matrices in `rotations`), and ``present``: an image that is not present is all zeros (NaN in a
        noise-free edition), and no request is made for it. What is indexed is read in two round trips at most.
        """
        if self._edition is not None:
            return self.imaged.images
        return images_of(self._store, self._contents, self._rows)

    @cached_property
    def tree(self) -> xr.DataTree:
        """Everything, lazy, as an ``xarray.DataTree`` with the groups of the store.

        Ragged arrays (``mesh/vertices``, ``mesh/faces``) stay whole in a subset; the starts and counts are its own.
        """
        return tree_of(self._store, self._contents, self._rows)

    def with_edition(
        self,
        url: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None = None,
        *,
        cache: CacheChoice = None,
    ) -> Library:
        """Return the instances that an edition (opened as `msl_store.open` does) has too, with its images; by id.

        The edition may have been simulated from this library, from one that this is a subset of, from a subset of this
        one, or from another subset of the same library: an id means the same instance in all of them.

        Raises
        ------
        UsageError
            The edition was simulated from another library.
        """
        edition = open_library(url, storage_options, cache=cache)
        attributes = edition.attributes
        source = attributes.get("source_digest")
        known = {source, *attributes.get("provenance", {}).get("source_lineage", ())} - {None, ""}
        if known.isdisjoint(self.lineage):
            raise UsageError(
                f"{edition.url}: was simulated from a library with digest {source}, {self.url} has {self.digest}; "
                "join it with the library it came from, or a subset of that"
            )
        both = [instance for instance in self.ids.tolist() if instance in edition]
        return Library(self._store, self.rows_of(both) if both else self._rows[:0], edition=edition)


def refuse_no_library(found: object) -> None:
    """Raise `UsageError` for what is no library, such as a URL that was not opened."""
    if not isinstance(found, Library):
        raise UsageError(f"{found!r}: is no library; allowed is what msl_store.open or Library.select returns")


def _reopened(store: Store, rows: NDArray[np.int64] | None, edition: Library | None) -> Library:
    return Library(store, rows, edition=edition)


def open_library(url: Any, storage_options: Mapping[str, Any] | None = None, *, cache: CacheChoice = None) -> Library:
    """Open a library in one request.

    Parameters
    ----------
    url : str, path or intake entry
        ``s3://bucket/3dmsl.zarr``, ``https://...``, a path, ``memory://...``, any of them ending in ``.zip``, or an
        entry of a catalog that ``msl-ingest catalog`` wrote.
    storage_options : mapping, optional
        As s3fs and fsspec take them: ``anon``, ``key``, ``secret``, ``token``, ``profile``, ``role_arn``,
        ``endpoint_url``, ``client_kwargs``.
    cache : Cache or False, optional
        Keeps what is read, for all processes that use it. Where none is given, the one that the environment variables
        ``MSL_CACHE`` (a folder) and ``MSL_CACHE_LIMIT`` name, for libraries that are not on this machine's disk; with
        False, none.

    Raises
    ------
    MissingError
        Nothing is there, or the library is not finished.
    FormatError
        What is there is no library, or one of a newer schema.
    NetworkError
        The server cannot be reached or refuses, and no cache holds the library.
    """
    if not isinstance(url, str | os.PathLike):
        url, found = location_of(url)
        storage_options = {**found, **(storage_options or {})}
    return Library(open_store(url, storage_options, cache=cache))
