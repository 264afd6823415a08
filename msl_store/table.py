"""One row an instance: its columns as a table with units, and the instances that meet a condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from msl_store import schema
from msl_store.errors import UsageError
from msl_store.splits import SPLITS, refuse_overlap, split_of
from msl_store.store import Want

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.store import Store


def read_table(store: Store, rows: NDArray[np.int64]) -> xr.Dataset:
    """Return the columns of some rows: status, split, what they have, morphometrics, with units."""
    columns = [
        array
        for path, array in store.arrays.items()
        if array.dims[:1] == ("instance",)
        and array.shard is None
        and path.startswith(("instances/", "mesh/"))
        and path not in {"instances/id", "instances/digest"}
        and not path.endswith("_start")
    ]
    values = store.read([Want(array.path) for array in columns])
    meanings = {
        "status": schema.STATUS,
        "split": SPLITS,
        "origin": store.groups["instances"].get("origins", ()),
    }
    variables: dict[str, Any] = {}
    for array, column in zip(columns, values, strict=True):
        name = array.path.partition("/")[2]
        chosen = column[rows]
        if name in meanings:
            chosen = _named(meanings[name], chosen)
        stem = name.removesuffix("_um")
        for place in np.ndindex(*chosen.shape[1:]):
            numbered = "_".join([stem, *map(str, place)]) + name[len(stem) :]
            variables[numbered] = ("instance", chosen[(slice(None), *place)], dict(array.attributes))
    if "split" not in variables:
        variables["split"] = ("instance", _named(SPLITS, split_numbers(store, rows)), {"units": "1"})
    return xr.Dataset(variables, {"instance": ("instance", store.ids[rows])}, store.attributes)


def split_numbers(store: Store, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the split of some rows: as the store has it, or, of a library made before it had any, by the rule."""
    stored = store.columns(["instances/split"]).get("instances/split")
    return split_of(store.ids[rows].tolist()) if stored is None else stored[rows]


def split_masks(table: xr.Dataset, where: Mapping[str, str | None]) -> dict[str, NDArray[np.bool_]]:
    """Return which rows of a table are in each of some splits; see `msl_store.library.Library.splits`."""
    if not isinstance(where, Mapping):
        raise UsageError(f"splits {where!r}: allowed is a mapping of names to conditions, one of which may be None")
    matches = {name: matching(table, condition) for name, condition in where.items() if condition is not None}
    rest = [name for name, condition in where.items() if condition is None]
    if len(rest) > 1:
        raise UsageError(f"splits: {', '.join(rest)} are all to have the rest; allowed for one split only")
    taken = np.logical_or.reduce([np.zeros(table.sizes["instance"], np.bool_), *matches.values()])
    matches |= dict.fromkeys(rest, ~taken)
    refuse_overlap(matches, table.instance.values)
    return {name: matches[name] for name in where}


def _named(meanings: Any, numbers: NDArray[Any]) -> NDArray[Any]:
    named: NDArray[Any] = np.array(meanings, dtype=np.dtypes.StringDType())[numbers].astype(object)
    return named


def matching(table: xr.Dataset, where: str) -> NDArray[np.bool_]:
    """Return which rows of a table meet a condition, in the syntax of ``pandas.DataFrame.query``.

    Raises
    ------
    UsageError
        It is no condition on the table.
    """
    if not isinstance(where, str):
        raise UsageError(
            f"where: is of type {type(where).__name__}; allowed is a condition as text, as in 'volume_um3 > 2'; for a "
            "mask of your own, select(ids=library.ids[mask])"
        )
    frame = table.to_dataframe()
    try:
        found = frame.eval(where, engine="python")
    except Exception as error:
        raise UsageError(f"where={where!r}: {error}; columns: instance, {', '.join(frame.columns)}") from error
    matches = np.asarray(found)
    if matches.dtype != np.bool_ or matches.shape != (len(frame),):
        raise UsageError(f"where={where!r}: is no condition; allowed: a comparison such as 'volume_um3 > 2'")
    return matches
