"""Datasets of HDF5 files as volumes (the extra ``em``)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ingest.em.files import FileVolume, buffered
from ingest.em.units import in_nm
from ingest.em.volume import Box, Edges, Triple, checked_labels, digest_of
from msl_store.errors import FormatError, MissingError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.store import Objects

_BUFFER = 1 << 20
"""Bytes read together of a remote file: HDF5 reads its tables in small pieces."""

_LOCK = threading.Lock()
"""Opening is one at a time; HDF5 itself lets one thread read at a time."""


@dataclass(frozen=True)
class Hdf5Volume(FileVolume):
    """A dataset of an HDF5 file as a volume.

    Attributes
    ----------
    dataset : str
        The dataset's path in the file.
    """

    dataset: str

    DAMAGE: ClassVar[tuple[type[Exception], ...]] = (OSError, RuntimeError, ValueError)

    @cached_property
    def _dataset(self) -> Any:
        with _LOCK:
            return _opened(self.objects, self.file)[self.dataset]

    @property
    def name(self) -> str:
        """The file's URL and the dataset's path."""
        return f"{super().name}:{self.dataset}"

    @property
    def shape(self) -> Triple:
        """Extents in voxels."""
        return checked_labels(self.name, self._dataset.shape, self._dataset.dtype)[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        found: np.dtype[Any] = np.dtype(self._dataset.dtype)
        return found

    @property
    def chunk(self) -> Triple:
        """Extents of a chunk; a dataset without chunks is read row by row."""
        first, second, third = self._dataset.chunks or (1, 1, self.shape[2])
        return first, second, third

    @property
    def voxel_nm(self) -> Edges | None:
        """From the attribute ``element_size_um`` (z, y, x), as ilastik and the Fiji plugin write it."""
        edges = self._dataset.attrs.get("element_size_um")
        return None if edges is None or np.size(edges) != 3 else in_nm(np.ravel(edges).tolist(), ["um"] * 3)

    @property
    def digest(self) -> str:
        """Of the file's size and the dataset's type."""
        return digest_of("hdf5", self.objects.size(self.file), self.dataset, list(self.shape), str(self.dtype))

    def _read(self, box: Box) -> NDArray[Any]:
        return np.asarray(self._dataset[box.slices])


def open_hdf5(objects: Objects, file: str, dataset: str | None) -> Hdf5Volume:
    """Open a dataset; without a path, the file's only one of three axes.

    Raises
    ------
    FormatError
        The file is no HDF5 file, or the dataset no volume of labels.
    MissingError
        There is no such dataset.
    UsageError
        The file has several, and none is named.
    """
    place = f"{objects.url}/{file}"
    found: list[str] = []

    def note(path: str, node: Any) -> None:
        if getattr(node, "ndim", 0) == 3:
            found.append(f"/{path}")

    opened = _opened(objects, file)
    opened.visititems(note)
    if dataset is None:
        if len(found) != 1:
            raise UsageError(
                f"{place}: has {len(found)} datasets of three axes ({', '.join(found[:8])}); name one: --dataset PATH"
            )
        (dataset,) = found
    elif f"/{dataset.strip('/')}" not in found:
        raise MissingError(
            f"{place}: has no dataset {dataset} of three axes; it has {', '.join(found[:8]) or 'none'}: name another"
        )
    volume = Hdf5Volume(objects, file, f"/{dataset.strip('/')}")
    checked_labels(volume.name, volume.shape, volume.dtype)
    return volume


def _opened(objects: Objects, file: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UsageError("HDF5 files need h5py: pip install 'msl-store[em]'") from error
    folder = objects.path
    source: Any = folder / file if folder is not None else buffered(objects, file, _BUFFER)
    try:
        return h5py.File(source, "r")
    except FileNotFoundError as error:
        raise MissingError(f"{objects.url}/{file}: there is no such file; check the path") from error
    except OSError as error:
        raise FormatError(f"{objects.url}/{file}: is no HDF5 file that can be read ({error})") from error
