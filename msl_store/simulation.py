"""Simulate microscopes on every instance of a library with dask, straight from the store, and write new editions."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from msl_store import schema
from msl_store.experiment import planned
from msl_store.layout import blocks_of, part_rows
from msl_store.library import Library, refuse_no_library
from msl_store.schema import BLOCK
from msl_store.shapes import VOXEL_UM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.experiment import Experiment
    from msl_store.optics.exposure import Mode
    from msl_store.optics.gpu import DeviceName
    from msl_store.optics.labelling import Labelling
    from msl_store.optics.measured import MeasuredPsf
    from msl_store.optics.microscope import Microscope
    from msl_store.store import Store


def simulate(
    library: Library,
    microscope: str | Microscope | Sequence[str | Microscope],
    *,
    views: Sequence[str] = schema.VIEWS,
    z: Sequence[float] | None = None,
    frames: int | None = None,
    interval_s: float = 1.0,
    labelling: str | Labelling | None = None,
    psf: MeasuredPsf | Mapping[str, MeasuredPsf] | None = None,
    mode: Mode = "corrected",
    noise: bool = True,
    seed: int = 0,
    tolerance: float = 1e-3,
    device: DeviceName = "cpu",
) -> xr.DataArray:
    """Return the images that one microscope or several would take of every instance, lazily.

    Nothing is read or computed until the result is: then one dask task a block of 64 instances (of fewer, where their
    images take over 256 MB) reads their meshes from the store, wherever the worker is, labels each once and images it
    under every microscope. The same seed gives the same bits whatever the scheduler, the order or the number of
    workers, and whatever else is simulated with an image.

    Parameters
    ----------
    library : Library
        With meshes.
    microscope : str, Microscope or a sequence of them
        A preset's name (``conf1``, ``conf2``, ``epi1``), an instrument's (``confocal-60x-oil``, ...; see
        `msl_store.optics.instruments`) or a description. A sequence gives images the dimension ``microscope``; its
        members have different names and images of the same ``size_px``.
    views : sequence of str
        Rotations by name, of ``0 x90 x180 y90 y180 z90``.
    z : sequence of float, optional
        Focal planes in um above each shape's middle; without it, one image a view and no dimension ``z``.
    frames : int, optional
        Consecutive frames of a film, in which emitters blink and bleach as the labelling says; without it, no dimension
        ``frame``, and they do neither.
    interval_s : float
        Seconds from frame to frame.
    labelling : str or Labelling, optional
        Where emitters are and how they shine, or the name of one of `msl_store.optics.labelling.LABELLINGS`; that of
        the published images where it is not given.
    psf : MeasuredPsf or mapping of str to MeasuredPsf, optional
        In place of the microscope's own; where there are several, by their names.
    mode : {"corrected", "published"}
        ``corrected``: true rotations, all emitters, independent noise, focus on the shape's middle. ``published``: as
        the published images were made, with their rotations, dropped half, focus and noise, as measured on them.
    noise : bool
        Camera counts (uint16), or the expected image without noise (float32 photons).
    seed : int
        Chooses emitters and noise; not negative.
    tolerance : float
        Largest error of the expected image as a fraction of its maximum, 1e-6 to 0.1.
    device : {"cpu", "gpu", "auto"}
        What images, wherever the tasks run: the processor; a CUDA device (``pip install "msl-store[gpu]"`` there); or
        that where a worker has one. Images of another device agree within the tolerance, not to the last bit.

    Returns
    -------
    xarray.DataArray
        Dims (instance, [microscope,] view, [frame,] [z,] y, x), backed by dask. ``present`` is False for instances
        without a mesh, or with an open one where the labelling fills shapes; their images are zeros (NaN without
        noise). Attributes record everything the images depend on.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    """
    import dask.array as da

    experiment = planned(
        microscope, views=views, z=z, frames=frames, interval_s=interval_s, labelling=labelling, psf=psf, mode=mode,
        noise=noise, seed=seed, tolerance=tolerance, device=device,
    )  # fmt: skip
    refuse_no_library(library)
    lineage = {"source_lineage": list(library.lineage[1:])} if len(library.lineage) > 1 else {}
    provenance = {
        "source": library.url,
        "source_digest": library.digest,
        **lineage,
        **experiment.provenance(),
    }
    sizes, dtype = experiment.sizes, experiment.dtype
    rows = library.rows_of(library.ids)
    part = part_rows(math.prod(sizes.values()) * dtype.itemsize)
    data = da.map_blocks(
        partial(_simulate_rows, store=library.store, experiment=experiment),
        da.from_array(rows, chunks=part, name=f"rows-{_token(rows.tolist(), {'part': part})}"),
        dtype=dtype,
        chunks=(blocks_of(len(rows), part), *((extent,) for extent in sizes.values())),
        new_axis=list(range(1, 1 + len(sizes))),
        meta=np.empty((0,) * (1 + len(sizes)), dtype),
        name=f"simulate-{_token(rows.tolist(), provenance)}",
    )
    attributes = {
        "units": "count" if noise else "photon",
        "license": library.license,
        "citation": library.attributes.get("citation", ""),
        "provenance": provenance,
    }
    name = "counts" if noise else "expected"
    return xr.DataArray(data, _coordinates(library, experiment), ("instance", *sizes), name, attributes)


def _coordinates(library: Library, experiment: Experiment) -> dict[str, Any]:
    sizes, optics = experiment.sizes, experiment.microscopes
    whose = ("microscope",) if experiment.several else ()
    lead = ("instance", *whose, "view")
    present = np.zeros((len(library), *(sizes[dim] for dim in lead[1:])), np.bool_)
    present[_imaged(library, experiment.labelling)] = True
    coords: dict[str, Any] = {
        "instance": library.ids,
        "microscope": [one.name for one in optics] if experiment.several else optics[0].name,
        "view": list(experiment.views),
        "present": (lead, present),
    }
    for name in ("pixel_um", "wavelength_um"):
        values = [getattr(one, name) for one in optics]
        coords[name] = (whose, values if experiment.several else values[0], {"units": "um"})
    if experiment.frames is not None:
        numbers = np.arange(experiment.frames)
        coords["frame"] = numbers
        coords["time_s"] = ("frame", numbers * experiment.interval_s, {"units": "s"})
    if experiment.z_um is not None:
        about = {"units": "um", "long_name": "focal plane above the shape's middle"}
        coords["z"] = ("z", list(experiment.z_um), about)
    return coords


def _imaged(library: Library, labelling: Labelling) -> NDArray[np.bool_]:
    """Return which instances can be labelled so."""
    meshes = np.asarray(library.has_part("mesh"))
    if not labelling.fills:
        return meshes
    volumes: NDArray[np.float64] = library.store.columns(["instances/volume_um3"])["instances/volume_um3"]
    return meshes & np.isfinite(volumes[library.rows_of(library.ids)])


def _token(rows: Sequence[int], provenance: Mapping[str, Any]) -> str:
    """Return a name for a dask layer that depends on what it computes alone."""
    from dask.base import tokenize

    return str(tokenize(list(rows), json.dumps(provenance, sort_keys=True)))


def _simulate_rows(rows: NDArray[np.int64], *, store: Store, experiment: Experiment) -> NDArray[Any]:
    """Simulate some instances: read their meshes together, then one at a time."""
    library = Library(store, rows)
    out = np.full((len(rows), *experiment.sizes.values()), 0 if experiment.noise else np.nan, experiment.dtype)
    imaged = _imaged(library, experiment.labelling)
    voxel_um = float(library.attributes.get("voxel_um", VOXEL_UM))
    for place, instance in enumerate(library.instances(parts=("mesh",), batch=BLOCK)):
        if instance.mesh is not None and imaged[place]:
            vertices = instance.mesh.vertices_um(voxel_um)
            experiment.image(vertices, instance.mesh.faces, instance.id, out[place])
    return out
