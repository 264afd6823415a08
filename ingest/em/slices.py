"""Folders of slices as volumes: one TIFF or PNG a slice, in the natural order of their names."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.em.tiff import open_tiff
from ingest.em.volume import Box, Edges, Triple, checked_labels, digest_of
from msl_store.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.store import Objects

SUFFIXES = (".tif", ".tiff", ".png")


@dataclass(frozen=True)
class SliceFolder:
    """Some images of one size as a volume, the first at position 0 of axis 0.

    Attributes
    ----------
    objects : Objects
        The folder.
    files : tuple of str
        The slices, in order.
    shape : tuple of 3 ints
        Slices, rows, columns.
    dtype : numpy.dtype
        Of the labels.
    digest : str
        Of the slices' names and sizes.
    """

    objects: Objects
    files: tuple[str, ...]
    shape: Triple
    dtype: np.dtype[Any]
    digest: str

    @property
    def name(self) -> str:
        """The folder's URL."""
        return self.objects.url

    @property
    def chunk(self) -> Triple:
        """One whole slice."""
        return (1, self.shape[1], self.shape[2])

    @property
    def voxel_nm(self) -> Edges | None:
        """None: a slice does not say how far the next one is."""
        return None

    def read(self, box: Box) -> NDArray[Any]:
        """Return the labels in a box."""
        out = np.empty(box.shape, self.dtype)
        for plane, z in zip(out, range(box.start[0], box.stop[0]), strict=True):
            values = _decoded(self.objects, self.files[z])
            if values.shape != self.shape[1:] or values.dtype != self.dtype:
                raise FormatError(
                    f"{self.name}/{self.files[z]}: is {values.dtype} {values.shape}, the first slice "
                    f"{self.dtype} {self.shape[1:]}; all slices must be alike"
                )
            plane[:] = values[box.slices[1:]]
        return out


def open_slices(objects: Objects) -> SliceFolder | None:
    """Open a folder of slices; None where there is no image in it (not in folders below it).

    Slices are ordered by their names, numbers in them by value: ``s2.png`` comes before ``s10.png``.

    Raises
    ------
    FormatError
        Images of several kinds, or the first one is no slice of labels.
    """
    listed = [
        (path, size)
        for path, size in objects.list()
        if path.lower().endswith(SUFFIXES) and "/" not in path and not path.startswith(".")
    ]
    if not listed:
        return None
    kinds = {path.lower().rpartition(".")[2].replace("tiff", "tif") for path, _ in listed}
    if len(kinds) > 1:
        raise FormatError(f"{objects.url}: holds {' and '.join(sorted(kinds))} images; keep slices of one kind there")
    listed.sort(key=lambda item: _natural(item[0]))
    files = tuple(path for path, _ in listed)
    first = _decoded(objects, files[0])
    shape, dtype = checked_labels(f"{objects.url}/{files[0]}", (len(files), *first.shape), first.dtype)
    return SliceFolder(objects, files, shape, dtype, digest_of("slices", listed, list(shape), str(dtype)))


def _natural(name: str) -> list[int | str]:
    """Return what names are ordered by: text and numbers in turn."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _decoded(objects: Objects, file: str) -> NDArray[Any]:
    """Return one slice."""
    data = objects.get(file)
    place = f"{objects.url}/{file}"
    if file.lower().endswith(".png"):
        import imagecodecs

        try:
            return np.asarray(imagecodecs.png_decode(data))
        except (imagecodecs.PngError, ValueError) as error:
            raise FormatError(f"{place}: is no PNG image that can be read ({error})") from error
    with open_tiff(io.BytesIO(data), place) as tiff:
        try:
            values = np.asarray(tiff.pages[0].asarray())
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"{place}: cannot be decoded ({error}); fetch it again") from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)
