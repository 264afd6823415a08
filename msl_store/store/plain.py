"""Zarr arrays that belong to no library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import FormatError, MissingError
from msl_store.store.objects import local_path, normalized_url

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray


def read_array(url: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one Zarr array, of version 2 or 3, whole.

    Raises
    ------
    MissingError
        There is nothing at the URL.
    FormatError
        What is there is no Zarr array.
    """
    import zarr

    whole = normalized_url(url)
    path = local_path(whole)
    try:
        array = zarr.open_array(whole if path is None else path, mode="r")
    except FileNotFoundError as error:
        raise MissingError(f"{whole}: there is no Zarr array here; check the path") from error
    except (ValueError, KeyError) as error:
        raise FormatError(f"{whole}: {error}; name a Zarr array, not the group that holds it") from error
    return np.asarray(array[...])
