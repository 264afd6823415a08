"""Stored arrays as xarray shows them: lazy, with dims, coordinates and units."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr

from msl_store.lazy import lazy_variable
from msl_store.optics.rotations import rotation_vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msl_store.contents import Contents
    from msl_store.store import Store

NOT_IN_A_TREE = frozenset({"instances/id", "instances/findings"})
"""Arrays that a tree shows otherwise: as a coordinate, and not at all (it is one text)."""


def rotations_of(store: Store) -> xr.DataArray:
    """Return the true rotation matrix of every image, dims (microscope, view, row, col)."""
    attributes = store.groups.get("images", {})
    path = store.array("images/rotation").path
    matrices = store.columns([path])[path]
    coords = {"microscope": [m["name"] for m in attributes["microscopes"]], "view": attributes["views"]}
    return xr.DataArray(matrices, coords, ("microscope", "view", "row", "col"), "rotation")


def images_of(store: Store, contents: Contents, rows: NDArray[np.int64]) -> xr.DataArray:
    """Return the images of some rows, lazy, dims (instance, microscope, view, [frame,] [z,] y, x)."""
    array = store.array(contents.image_path)
    attributes = store.groups["images"]
    matrices = rotations_of(store)
    vectors = rotation_vectors(matrices.values)
    coords: dict[str, Any] = {
        "instance": store.ids[rows],
        "microscope": matrices.microscope.values,
        "view": matrices.view.values,
        "present": (("instance", "microscope", "view"), contents.images_present[rows]),
    }
    for name in ("pixel_um", "wavelength_um"):
        coords[name] = ("microscope", [m[name] for m in attributes["microscopes"]], {"units": "um"})
    for axis in range(3):
        coords[f"rotation_{axis}"] = (("microscope", "view"), vectors[..., axis], {"units": "rad"})
    if "z" in array.dims:
        coords["z"] = ("z", attributes["z_um"], {"units": "um"})
    if "frame" in array.dims:
        coords["frame"] = attributes["frames"]
        coords["time_s"] = ("frame", attributes["time_s"], {"units": "s"})
    variable = lazy_variable(store, array, rows, partial(contents.present, array.path))
    return xr.DataArray(variable, coords=coords, name=array.path.partition("/")[2])


def tree_of(store: Store, contents: Contents, rows: NDArray[np.int64]) -> xr.DataTree:
    """Return everything of some rows, lazy, with the groups of the store; ragged arrays stay whole."""
    groups: dict[str, xr.Dataset] = {
        "/": xr.Dataset(coords={"instance": store.ids[rows]}, attrs=dict(store.attributes))
    }
    for group, attributes in store.groups.items():
        variables = {}
        for path, array in store.arrays.items():
            if array.path.startswith(f"{group}/") and path not in NOT_IN_A_TREE:
                chosen = rows if array.dims[0] == "instance" else None
                variables[path.partition("/")[2]] = lazy_variable(store, array, chosen, partial(contents.present, path))
        groups[f"/{group}"] = xr.Dataset(variables, attrs=attributes)
    return xr.DataTree.from_dict(groups)
