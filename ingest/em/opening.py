"""From what a user names - a TIFF stack, a folder of slices, a Zarr array, an HDF5 file - to the volume meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.em.hdf5 import open_hdf5
from ingest.em.ngff import open_zarr
from ingest.em.slices import open_slices
from ingest.em.tiff import TiffVolume
from ingest.em.volume import checked_labels
from msl_store.errors import MissingError, UsageError
from msl_store.store import locate, locate_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from ingest.em.volume import Volume

TIFF = (".tif", ".tiff", ".btf", ".tf8")
HDF5 = (".h5", ".hdf5", ".hdf", ".he5")


def open_volume(
    url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, *, dataset: str | None = None
) -> Volume:
    """Open a volume of labels; only its metadata is read.

    Parameters
    ----------
    url : str or path
        A TIFF file, an HDF5 file, a Zarr array or OME-Zarr image (version 2 or 3), or a folder of TIFF or PNG slices;
        on a disk, ``s3://``, ``https://``, or any protocol of fsspec.
    storage_options : mapping, optional
        As `msl_store.open` takes them.
    dataset : str, optional
        The dataset's path in an HDF5 file.

    Returns
    -------
    Volume

    Raises
    ------
    MissingError
        Nothing is there.
    FormatError
        What is there is no volume of labels.
    UsageError
        An HDF5 file has several, and `dataset` names none; or `dataset` is given for something else.
    """
    objects, file = locate_file(url, storage_options)
    name = file.partition("?")[0].lower()
    if name.endswith(HDF5):
        return open_hdf5(objects, file, dataset)
    if dataset is not None:
        raise UsageError(f"{url}: --dataset names a part of an HDF5 file; name a Zarr array by its whole URL instead")
    if name.endswith(TIFF):
        volume = TiffVolume(objects, file)
        checked_labels(volume.name, volume.shape, volume.dtype)
        return volume
    place = locate(url, storage_options)
    found: Volume | None = open_zarr(place)
    if found is None and not place.url.startswith(("http://", "https://")):
        found = open_slices(place)
    if found is None:
        raise MissingError(
            f"{place.url}: there is no volume; allowed are a TIFF ({', '.join(TIFF)}) or HDF5 ({', '.join(HDF5)}) "
            "file, a Zarr array or OME-Zarr image, and a folder of TIFF or PNG slices"
        )
    return found
