"""xarray variables that read from a store what is indexed, and nothing before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from msl_store.store import Want

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from msl_store.store import Store, StoredArray


class StoredRows(BackendArray):
    """Some rows of a stored array, in the form that xarray indexes lazily."""

    def __init__(
        self,
        store: Store,
        array: StoredArray,
        rows: NDArray[np.int64] | None,
        present: Callable[[], NDArray[np.bool_] | None],
    ) -> None:
        self._store = store
        self._array = array
        self._rows = rows
        self._present = present
        self.shape = array.shape if rows is None else (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        index = [
            np.arange(*k.indices(extent)) if isinstance(k, slice) else np.asarray(k)
            for extent, k in zip(self.shape, key, strict=True)
        ]
        axes = [np.atleast_1d(positions) for positions in index]
        if self._rows is not None:
            axes[0] = self._rows[axes[0]]
        (values,) = self._store.read([Want(self._array.path, tuple(axes), self._present())])
        dropped = tuple(axis for axis, positions in enumerate(index) if np.ndim(positions) == 0)
        return values.squeeze(axis=dropped)


def lazy_variable(
    store: Store,
    array: StoredArray,
    rows: NDArray[np.int64] | None,
    present: Callable[[], NDArray[np.bool_] | None],
) -> xr.Variable:
    """Return a lazy variable over some rows of an array (all where `rows` is None), with its attributes.

    `present` tells, when something is read, which chunks the library has; see `Want`.
    """
    data = indexing.LazilyIndexedArray(StoredRows(store, array, rows, present))
    return xr.Variable(array.dims, data, dict(array.attributes))
