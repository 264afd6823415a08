"""Readers that intake imports by name when a catalog's entry is a whole library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr
from intake.readers.datatypes import Zarr
from intake.readers.readers import BaseReader

from msl_store.intake_entry import location_of
from msl_store.library import open_library

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msl_store.library import Library


class LibraryReader(BaseReader):  # type: ignore[misc]
    """Read a catalog's entry as a `msl_store.Library`.

    ``catalog["3dmsl/library"].read()``; options that a catalog must not hold, such as credentials, are given there:
    ``.read(storage_options={"key": ..., "secret": ...})``.
    """

    imports: ClassVar[set[str]] = {"msl_store"}
    implements: ClassVar[set[type]] = {Zarr}
    output_instance = "msl_store.library:Library"

    def _read(self, data: Zarr, *, storage_options: Mapping[str, Any] | None = None) -> Library:
        return _opened(data, storage_options)


class TreeReader(BaseReader):  # type: ignore[misc]
    """Read a catalog's entry as an ``xarray.DataTree`` of every group, in dask chunks that follow the shards.

    It is `msl_store.Library.tree`, so instances are labelled by their ids and a missing chunk is an error. `chunks`
    holds the dask chunks of some groups by dimension and overrides the catalog's; a group that it does not name stays
    lazy without dask, as ``mesh`` does, where a slice of the long arrays then reads that slice alone.
    """

    imports: ClassVar[set[str]] = {"msl_store"}
    implements: ClassVar[set[type]] = {Zarr}
    output_instance = "xarray:DataTree"

    def _read(
        self,
        data: Zarr,
        *,
        chunks: Mapping[str, Mapping[str, int]],
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.DataTree:
        tree = _opened(data, storage_options).tree
        nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
        return xr.DataTree.from_dict(
            {path: nodes[path].chunk(chunks[path[1:]]) if path[1:] in chunks else nodes[path] for path in nodes}
        )


def _opened(data: Zarr, storage_options: Mapping[str, Any] | None) -> Library:
    url, options = location_of(data)
    return open_library(url, {**options, **(storage_options or {})})
