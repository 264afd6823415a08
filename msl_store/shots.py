"""Which images a figure shows, stored or simulated, each with its title and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from msl_store.contents import Instance
    from msl_store.library import Library

PLANES = 5
"""At most this many planes of a z stack are shown."""


SCALES = ("pixel_um", "wavelength_um")
"""Coordinates of images that a shot needs."""


@dataclass(frozen=True, eq=False)
class Shot:
    """An image of a montage, shape (y, x), or None where it is missing."""

    title: str
    pixel_um: float
    wavelength_um: float
    values: NDArray[Any] | None


def stored_shot(library: Library, found: Instance, number: int, view: str) -> Shot:
    """Return a stored image of an instance, by its microscope's number and view.

    Of a stack that is the middle plane, of a film the first frame.
    """
    microscope = library.microscopes[number]
    title = f"{microscope['name']}  {view}"
    values = None
    if found.images is not None and found.present is not None and view in library.views:
        place = (number, library.views.index(view))
        values = found.images[place] if found.present[place] else None
    if values is not None and "frame" in library.images.dims:
        values = values[0]
    if values is not None and values.ndim == 3:
        middle = len(values) // 2
        title += f"\n{plane_title(library.images['z'].values[middle])}"
        values = values[middle]
    return Shot(title, microscope["pixel_um"], microscope["wavelength_um"], values)


def simulated_shots(images: xr.DataArray, ids: Sequence[int], view: str) -> dict[int, list[Shot]]:
    """Compute what is shown of simulated images, by instance; `UsageError` where they lack one.

    `images` are as `msl_store.simulate` returns them; of a z stack `PLANES` planes at most, the first and last among
    them; of a film the first frame.
    """
    lacking = sorted(set(ids) - set(images["instance"].values.tolist()))
    if lacking:
        raise UsageError(f"images: have no instance {lacking[0]}; simulate the library that holds those shown")
    chosen = images.sel(instance=list(ids), view=view)
    chosen = chosen.isel(frame=0) if "frame" in chosen.dims else chosen
    chosen = chosen if "microscope" in chosen.dims else chosen.expand_dims("microscope")
    mode = images.attrs.get("provenance", {}).get("mode", "simulated")
    planes = [""]
    if "z" in chosen.dims:
        places = np.unique(np.linspace(0, chosen.sizes["z"] - 1, min(PLANES, chosen.sizes["z"])).round().astype(int))
        chosen = chosen.isel(z=places)
        planes = [f"\n{plane_title(depth)}" for depth in chosen["z"].values]
    names = chosen["microscope"].values.tolist()
    titles = [f"{name}  {view}  {mode}{plane}" for name in names for plane in planes]
    lengths = [np.repeat(np.broadcast_to(chosen[name].values, len(names)), len(planes)) for name in SCALES]
    stacks = chosen.transpose("instance", "microscope", ...).values.reshape(len(ids), len(titles), *chosen.shape[-2:])
    present = np.repeat(np.reshape(chosen["present"].values, (len(ids), -1)), len(planes), axis=1)
    return {
        instance: [
            Shot(caption, float(pixel_um), float(wavelength_um), values if there else None)
            for caption, pixel_um, wavelength_um, values, there in zip(titles, *lengths, stack, here, strict=True)
        ]
        for instance, stack, here in zip(ids, stacks, present, strict=True)
    }


def plane_title(depth_um: float) -> str:
    """Return what a focal plane is called, by its depth.

    >>> plane_title(-0.5), plane_title(0.0)
    ('z = -0.5 \N{MICRO SIGN}m', 'z = 0')
    """
    return f"z = {depth_um:+g} \N{MICRO SIGN}m" if depth_um else "z = 0"
