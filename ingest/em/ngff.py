"""Zarr and OME-Zarr arrays as volumes (https://ngff.openmicroscopy.org, versions 0.4 and 0.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.em.units import in_nm
from ingest.em.volume import Box, Edges, Triple, checked_labels, digest_of
from msl_store.errors import FormatError
from msl_store.store import ZarrArray, locate, zarr_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from msl_store.store import Objects

_SPACE = ("z", "y", "x")


@dataclass(frozen=True)
class ZarrVolume:
    """A Zarr array as a volume; axes of extent 1 before the three of space are left out.

    Attributes
    ----------
    array : ZarrArray
        Where it is read.
    shape, chunk : tuple of 3 ints
        Extents in voxels, and of a chunk.
    dtype : numpy.dtype
        Of the labels.
    voxel_nm : tuple of 3 floats, or None
        As OME-Zarr metadata states it, of the array's group.
    digest : str
        Of the metadata.
    kept : tuple of int
        Which of the array's axes are those of the volume.
    """

    array: ZarrArray
    shape: Triple
    chunk: Triple
    dtype: np.dtype[Any]
    voxel_nm: Edges | None
    digest: str
    kept: tuple[int, ...] = (0, 1, 2)

    @property
    def name(self) -> str:
        """The array's URL."""
        return self.array.url

    def read(self, box: Box) -> NDArray[Any]:
        """Return the labels in a box."""
        index: list[slice | int] = [0] * len(self.array.shape)
        for axis, part in zip(self.kept, box.slices, strict=True):
            index[axis] = part
        return self.array.read(index)


def open_zarr(objects: Objects) -> ZarrVolume | None:
    """Open a Zarr array, or the finest level of an OME-Zarr image; None where no Zarr hierarchy is at the URL.

    Raises
    ------
    FormatError
        A group without an image, or an array that is no volume of labels.
    """
    node = zarr_node(objects)
    if node is None:
        return None
    if node.kind == "array":
        parent, _, name = objects.url.rpartition("/")
        above = locate(parent, objects.storage_options) if parent else objects
        group = zarr_node(above) if parent else None
        attributes = group.attributes if group is not None and group.kind == "group" else {}
        return zarr_volume(ZarrArray(objects), _edges(attributes, name), node.document)
    for dataset, _ in _datasets(node.attributes):
        path = str(dataset["path"])
        return zarr_volume(ZarrArray(objects, path), _edges(node.attributes, path), node.document)
    raise FormatError(
        f"{objects.url}: this Zarr group is no OME-Zarr image (its attributes have no multiscales); name the array in "
        f"it, as in {objects.url}/labels"
    )


def zarr_volume(array: ZarrArray, voxel_nm: Edges | None, document: bytes = b"") -> ZarrVolume:
    """Return a Zarr array as a volume."""
    extents = array.shape
    spare = len(extents) - 3
    if spare > 0 and all(extent == 1 for extent in extents[:spare]):
        kept = tuple(range(spare, len(extents)))
    else:
        kept = tuple(range(len(extents)))
    shape, dtype = checked_labels(array.url, [extents[axis] for axis in kept], array.dtype)
    first, second, third = (min(array.chunk[axis], extents[axis]) for axis in kept)
    digest = digest_of("zarr", list(shape), str(dtype), document)
    return ZarrVolume(array, shape, (first, second, third), dtype, voxel_nm, digest, kept)


def _datasets(attributes: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (dataset, its multiscale) of a group's OME-Zarr metadata, the finest first."""
    metadata = attributes.get("ome", attributes)
    for scales in metadata.get("multiscales", []):
        for dataset in scales.get("datasets", []):
            yield dataset, scales


def _edges(attributes: Mapping[str, Any], path: str) -> Edges | None:
    """Return the edges of a dataset's voxels from its scale, its multiscale's scale and the axes' units."""
    for dataset, scales in _datasets(attributes):
        axes = [axis for axis in scales.get("axes", []) if isinstance(axis, dict)]
        if dataset.get("path") != path or len(axes) < 3:
            continue
        scale = np.ones(len(axes))
        for transform in [*dataset.get("coordinateTransformations", []), *scales.get("coordinateTransformations", [])]:
            if transform.get("type") == "scale" and len(transform.get("scale", [])) == len(axes):
                scale = scale * np.asarray(transform["scale"], np.float64)
        space = [at for at, axis in enumerate(axes) if axis.get("type", "") == "space" or axis.get("name") in _SPACE]
        if len(space) == 3:
            return in_nm([scale[at] for at in space], [axes[at].get("unit") for at in space])
    return None
