"""One row an instance: its columns as a table with units, and the instances that meet a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from msl_store import schema
from msl_store.errors import UsageError
from msl_store.splits import SPLITS, split_of
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
        if array.dims == ("instance", "axis"):
            stem = name.removesuffix("_um")
            for axis in range(chosen.shape[1]):
                variables[f"{stem}_{axis}_um"] = ("instance", chosen[:, axis], dict(array.attributes))
        else:
            variables[name] = ("instance", chosen, dict(array.attributes))
    if "split" not in variables:
        variables["split"] = ("instance", _named(SPLITS, split_of(store.ids[rows].tolist())), {"units": "1"})
    return xr.Dataset(variables, {"instance": ("instance", store.ids[rows])}, store.attributes)


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
    frame = table.to_dataframe()
    try:
        found = frame.eval(where, engine="python")
    except Exception as error:
        raise UsageError(f"where={where!r}: {error}; columns: {', '.join(frame.columns)}") from error
    matches = np.asarray(found)
    if matches.dtype != np.bool_ or matches.shape != (len(frame),):
        raise UsageError(f"where={where!r}: is no condition; allowed: a comparison such as 'volume_um3 > 2'")
    return matches
