"""Simulate microscopes on every instance of a library with dask, straight from the store, and write new editions."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from msl_store import schema
from msl_store.errors import UsageError
from msl_store.layout import blocks_of
from msl_store.library import Library
from msl_store.optics.description import read_description
from msl_store.optics.exposure import checked_mode, emitters_of, expose, rotations
from msl_store.optics.microscope import Microscope, get_microscope
from msl_store.schema import BLOCK
from msl_store.shapes import VOXEL_UM
from msl_store.version import software

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.optics.exposure import Mode
    from msl_store.store import Store


def simulate(
    library: Library,
    microscope: str | Microscope,
    *,
    views: Sequence[str] = schema.VIEWS,
    z: Sequence[float] | None = None,
    mode: Mode = "corrected",
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> xr.DataArray:
    """Return the images that a microscope would take of every instance, lazily.

    Nothing is read or computed until the result is: then one dask task a block of 64 instances reads their meshes from
    the store, wherever the worker is, and images them. The same seed gives the same bits whatever the scheduler, the
    order or the number of workers, and whatever else is simulated with an image.

    Parameters
    ----------
    library : Library
        With meshes.
    microscope : str or Microscope
        A preset's name (``conf1``, ``conf2``, ``epi1``), an instrument's (``confocal-60x-oil``, ...; see
        `msl_store.optics.instruments`) or a description.
    views : sequence of str
        Rotations by name, of ``0 x90 x180 y90 y180 z90``.
    z : sequence of float, optional
        Focal planes in um above each shape's middle; without it, one image a view and no dimension ``z``.
    mode : {"corrected", "published"}
        ``corrected``: true rotations, all emitters, independent noise, focus on the shape's middle. ``published``: as
        the published images were made, with their rotations, dropped half, focus and noise, as measured on them.
    noise : bool
        Camera counts (uint16), or the expected image without noise (float32 photons).
    seed : int
        Chooses emitters and noise; not negative.
    tolerance : float
        Largest error of the expected image as a fraction of its maximum, 1e-6 to 0.1.

    Returns
    -------
    xarray.DataArray
        Dims (instance, view, [z,] y, x), backed by dask. ``present`` is False for instances without a mesh, whose
        images are zeros (NaN without noise). Attributes record everything the images depend on.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    """
    import dask.array as da

    optics = get_microscope(microscope)
    _check(views, z, seed, tolerance)
    mode = checked_mode(mode)
    planes = None if z is None else tuple(float(depth) for depth in z)
    provenance = {
        "source": library.url,
        "source_digest": library.digest,
        "microscope": optics.to_dict(),
        "views": list(views),
        "rotations": rotations(optics, views, mode).tolist(),
        "z_um": planes if planes is None else list(planes),
        "mode": mode,
        "noise": noise,
        "seed": seed,
        "tolerance": tolerance,
        "software": software(),
        **({"source_lineage": list(library.lineage[1:])} if len(library.lineage) > 1 else {}),
    }
    shape = (len(views), *(() if planes is None else (len(planes),)), *optics.size_px)
    rows = library.rows_of(library.ids)
    chunks = (blocks_of(len(rows)), *((extent,) for extent in shape))
    dtype = np.dtype(np.uint16 if noise else np.float32)
    work = partial(
        _simulate_rows,
        store=library.store,
        microscope=optics,
        views=tuple(views),
        z_um=planes,
        mode=mode,
        noise=noise,
        seed=seed,
        tolerance=tolerance,
    )
    data = da.map_blocks(
        work,
        da.from_array(rows, chunks=BLOCK, name=f"rows-{_token(rows.tolist(), {})}"),
        dtype=dtype,
        chunks=chunks,
        new_axis=list(range(1, 1 + len(shape))),
        meta=np.empty((0,) * (1 + len(shape)), dtype),
        name=f"simulate-{_token(rows.tolist(), provenance)}",
    )
    dims = ("instance", "view", *(() if planes is None else ("z",)), "y", "x")
    has_mesh = np.asarray(library.has_part("mesh"))
    coords: dict[str, Any] = {
        "instance": library.ids,
        "view": list(views),
        "microscope": optics.name,
        "pixel_um": ((), optics.pixel_um, {"units": "um"}),
        "wavelength_um": ((), optics.wavelength_um, {"units": "um"}),
        "present": (("instance", "view"), np.repeat(has_mesh[:, None], len(views), axis=1)),
    }
    if planes is not None:
        coords["z"] = ("z", list(planes), {"units": "um", "long_name": "focal plane above the shape's middle"})
    attributes = {
        "units": "count" if noise else "photon",
        "license": library.license,
        "citation": library.attributes.get("citation", ""),
        "provenance": provenance,
    }
    return xr.DataArray(data, coords, dims, "counts" if noise else "expected", attributes)


def read_microscope(name: str) -> Microscope:
    """Return a known microscope by its name, or the one that a JSON or YAML file describes.

    Raises
    ------
    UsageError
        No microscope has the name, or the file is not what `msl_store.optics.description.write_description` writes.
    """
    if not name.endswith((".json", ".yaml", ".yml")):
        return get_microscope(name)
    try:
        return read_description(Path(name).read_text())
    except (OSError, UsageError) as error:
        raise UsageError(f"{name}: {error}") from error


def _check(views: Sequence[str], z: Sequence[float] | None, seed: int, tolerance: float) -> None:
    unknown = [view for view in views if view not in schema.VIEWS]
    if isinstance(views, str) or unknown or not views or len(set(views)) != len(views):
        raise UsageError(f"views {views!r}: allowed is a list of some of {', '.join(schema.VIEWS)}, each once")
    if z is not None and (len(z) == 0 or not np.isfinite(np.asarray(z, float)).all()):
        raise UsageError(f"z {z!r}: allowed is a list of focal planes in um, or None")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: allowed is 0 to 2**63 - 1")
    if not 1e-6 <= tolerance <= 0.1:
        raise UsageError(f"tolerance {tolerance}: allowed is 1e-6 to 0.1")


def _token(rows: Sequence[int], provenance: dict[str, Any]) -> str:
    """Return a name for a dask layer that depends on what it computes alone."""
    from dask.base import tokenize

    return str(tokenize(list(rows), json.dumps(provenance, sort_keys=True)))


def _simulate_rows(
    rows: NDArray[np.int64],
    *,
    store: Store,
    microscope: Microscope,
    views: Sequence[str],
    z_um: Sequence[float] | None,
    mode: Mode,
    noise: bool,
    seed: int,
    tolerance: float,
) -> NDArray[Any]:
    """Simulate one block: read its meshes together, then one instance at a time."""
    library = Library(store, rows)
    planes = () if z_um is None else (len(z_um),)
    shape = (len(rows), len(views), *planes, *microscope.size_px)
    out = np.zeros(shape, np.uint16) if noise else np.full(shape, np.nan, np.float32)
    for place, instance in enumerate(library.instances(parts=("mesh",), batch=BLOCK)):
        if instance.mesh is None:
            continue
        voxel_um = float(library.attributes.get("voxel_um", VOXEL_UM))
        emitters = emitters_of(
            instance.mesh.vertices_um(voxel_um), instance.mesh.faces, instance=instance.id, seed=seed
        )
        out[place] = expose(
            emitters,
            microscope,
            views,
            instance=instance.id,
            z_um=z_um,
            mode=mode,
            noise=noise,
            seed=seed,
            tolerance=tolerance,
        )
    return out
