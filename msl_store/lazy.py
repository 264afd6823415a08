"""xarray variables that read from a store what is indexed, and nothing before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from msl_store.store import Want

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

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
        if isinstance(key, indexing.VectorizedIndexer):
            return self._read_points(indexing.LazilyVectorizedIndexedArray(cast("Any", self), key).key.tuple)
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read the outer product of some positions along every dimension."""
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

    def _read_points(self, key: tuple[NDArray[np.int64], ...]) -> NDArray[Any]:
        """Read point by point: `key` has an array a dimension, and together they broadcast to the shape of the result.

        A dimension that varies along an axis of its own, as a slice does, is read as in an outer product. The points
        of the others are gathered by the chunk that they lie in, so that each chunk is read once and no other is.
        """
        if self._rows is not None:
            key = (self._rows[key[0]], *key[1:])
        shape = np.broadcast_shapes(*(k.shape for k in key))
        own = _own_axes(key)
        joint = [dim for dim in range(len(key)) if dim not in own]
        over = [axis for axis in range(len(shape)) if axis not in own.values()]
        points = [np.broadcast_to(key[dim], shape)[_first_of(own.values(), len(shape))].ravel() for dim in joint]
        outer = {dim: key[dim].ravel() for dim in own}
        found = np.empty((len(points[0]) if points else 1, *map(len, outer.values())), self.dtype)
        groups = list(_by_chunk(points, [self._array.chunk[dim] for dim in joint])) if len(found) else []
        wants, picks = [], []
        for members in groups:
            unique = [np.unique(positions[members], return_inverse=True) for positions in points]
            index = {**outer, **{dim: positions for dim, (positions, _) in zip(joint, unique, strict=True)}}
            wants.append(Want(self._array.path, tuple(index[dim] for dim in sorted(index)), self._present()))
            picks.append(tuple(inverse for _, inverse in unique))
        for members, pick, values in zip(groups, picks, self._store.read(wants), strict=True):
            found[members] = np.moveaxis(values, joint, range(len(joint)))[pick]
        found = found.reshape([shape[axis] for axis in over] + [len(positions) for positions in outer.values()])
        return np.moveaxis(found, range(found.ndim), [*over, *own.values()])


def _own_axes(key: Sequence[NDArray[np.int64]]) -> dict[int, int]:
    """Return the dimensions that vary along one axis of the result on which no other does, each with that axis."""
    varies = [[axis for axis, extent in enumerate(k.shape) if extent != 1] for k in key]
    together = [axis for axes in varies for axis in axes]
    return {dim: axes[0] for dim, axes in enumerate(varies) if len(axes) == 1 and together.count(axes[0]) == 1}


def _first_of(axes: Collection[int], ndim: int) -> tuple[Any, ...]:
    """Return the index that takes the first position along some axes, and everything along the others."""
    return tuple(0 if axis in axes else slice(None) for axis in range(ndim))


def _by_chunk(points: Sequence[NDArray[np.int64]], extents: Sequence[int]) -> Iterator[NDArray[np.int64]]:
    """Yield the places of the points of one chunk after the other; without any dimension, one place."""
    if not points:
        yield np.zeros(1, np.int64)
        return
    numbers = np.stack([positions // extent for positions, extent in zip(points, extents, strict=True)])
    flat = np.ravel_multi_index(tuple(numbers), tuple((numbers.max(axis=1) + 1).tolist()))
    order = np.argsort(flat, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(flat[order])) + 1)


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
