"""TIFF stacks as volumes: one file, plain, BigTIFF, ImageJ or OME, only the strips or tiles wanted are read."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ingest.em.files import FileVolume, buffered
from ingest.em.units import in_nm
from ingest.em.volume import Box, Edges, Triple, checked_labels, digest_of
from msl_store.errors import FormatError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BUFFER = 1 << 16
"""Bytes read together for a page's directory."""

_LOCK = threading.Lock()
"""Directories of pages are read by one thread at a time; pixels are not."""


@dataclass(frozen=True)
class TiffVolume(FileVolume):
    """The first series of a TIFF file as a volume."""

    DAMAGE: ClassVar[tuple[type[Exception], ...]] = (ValueError, RuntimeError, IndexError, TypeError)

    @cached_property
    def _tiff(self) -> Any:
        return open_tiff(buffered(self.objects, self.file, _BUFFER), self.name)

    @cached_property
    def _series(self) -> Any:
        with _LOCK:
            return self._tiff.series[0]

    @cached_property
    def shape(self) -> Triple:
        """Extents in voxels: page, row, column."""
        axes, extents = self._series.axes, self._series.shape
        if "S" in axes:
            raise FormatError(f"{self.name}: is a colour image (axes {axes}); allowed are stacks of grey labels")
        kept = [extent for extent in extents[:-2] if extent > 1] or [1]
        return checked_labels(self.name, [*kept, *extents[-2:]], self._series.dtype)[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        found: np.dtype[Any] = np.dtype(self._series.dtype).newbyteorder("=")
        return found

    @property
    def chunk(self) -> Triple:
        """Extents of a tile or strip; where pixels lie plainly in the file, of a row."""
        page, (_, rows, columns) = self._series.keyframe, self.shape
        if self._plain is not None:
            return (1, 1, columns)
        if page.is_tiled:
            return (1, min(page.tilelength, rows), min(page.tilewidth, columns))
        return (1, min(page.rowsperstrip, rows), columns)

    @cached_property
    def _plain(self) -> int | None:
        """Where the pixels start, when they lie in the file one after the other and uncompressed."""
        start = self._series.dataoffset
        return None if start is None or not self._series.keyframe.is_memmappable else int(start)

    @property
    def voxel_nm(self) -> Edges | None:
        """From OME-TIFF's physical sizes, or ImageJ's resolution, spacing and unit."""
        tiff = self._tiff
        if tiff.ome_metadata:
            return _ome_edges(tiff.ome_metadata)
        if tiff.imagej_metadata:
            tags, found = self._series.keyframe.tags, tiff.imagej_metadata
            across = [_inverse(tags.get(name)) for name in ("YResolution", "XResolution")]
            return in_nm([found.get("spacing"), *across], [found.get("unit")] * 3)
        return None

    @property
    def digest(self) -> str:
        """Of the file's size and the stack's type."""
        return digest_of("tiff", self.objects.size(self.file), list(self.shape), str(self.dtype))

    def _read(self, box: Box) -> NDArray[Any]:
        out = np.zeros(box.shape, self.dtype)
        if self._plain is not None:
            self._read_plain(box, out, self._plain)
        else:
            self._read_segments(box, out)
        return out

    def _read_plain(self, box: Box, out: NDArray[Any], start: int) -> None:
        stored = np.dtype(self._tiff.byteorder + self.dtype.char)
        _, rows, columns = self.shape
        across = columns * stored.itemsize
        lines = [(z * rows + box.start[1]) * across + start for z in range(box.start[0], box.stop[0])]
        parts = self.objects.get_ranges(self.file, [(line, line + box.shape[1] * across) for line in lines])
        for plane, part in zip(out, parts, strict=True):
            plane[:] = np.frombuffer(part, stored).reshape(-1, columns)[:, box.slices[2]]

    def _read_segments(self, box: Box, out: NDArray[Any]) -> None:
        page = self._series.keyframe
        _, high, wide = self.chunk
        per_row = -(-self.shape[2] // wide)
        wanted = [
            row * per_row + column
            for row in range(box.start[1] // high, -(-box.stop[1] // high))
            for column in range(box.start[2] // wide, -(-box.stop[2] // wide))
        ]
        named = list(self._named(range(box.start[0], box.stop[0]), wanted))
        parts = self.objects.get_ranges(self.file, [(start, stop) for _, _, start, stop in named])
        for (z, segment, _, _), data in zip(named, parts, strict=True):
            decoded, at, _ = page.decode(bytes(data), segment, _fullsize=page.is_tiled)
            if decoded is None:
                continue
            # tifffile names the place as (sample, depth, row, column, sample), extents as (depth, row, column, sample).
            values = decoded[0, :, :, 0]
            here = Box((z, at[2], at[3]), (z + 1, at[2] + values.shape[0], at[3] + values.shape[1])).common(box)
            _, own_rows, own_columns = here.seen_from((z, at[2], at[3])).slices
            out[here.seen_from(box.start).slices] = values[own_rows, own_columns]

    def _named(self, planes: range, segments: list[int]) -> Iterator[tuple[int, int, int, int]]:
        """Yield (plane, segment, first byte, byte after the last) of some segments; empty ones are left out."""
        for z in planes:
            with _LOCK:
                page = self._series.pages[z]
            if page is None:
                raise FormatError(
                    f"{self.name}: plane {z} is in another file (an OME-TIFF of several files); make one file of them, "
                    "or name the folder of slices"
                )
            for segment in segments:
                start, count = page.dataoffsets[segment], page.databytecounts[segment]
                if count:
                    yield z, segment, start, start + count


def open_tiff(source: Any, name: str) -> Any:
    """Return a ``tifffile.TiffFile``; `FormatError` where the source is none."""
    import tifffile

    try:
        return tifffile.TiffFile(source)
    except MissingError:
        raise
    except (tifffile.TiffFileError, struct.error, IndexError, KeyError, ValueError) as error:
        raise FormatError(f"{name}: is no TIFF file that can be read ({error})") from error


def _ome_edges(xml: str) -> Edges | None:
    import tifffile

    images = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    pixels = (images[0] if isinstance(images, list) else images).get("Pixels", {})
    # The unit of the OME schema (2016-06) where none is stated is the micrometre.
    return in_nm(
        [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"],
        [pixels.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"],
    )


def _inverse(tag: Any) -> float | None:
    """Return the length of a pixel from a tag of pixels a unit, which TIFF stores as numerator and denominator."""
    if tag is None or not tag.value[0]:
        return None
    return float(tag.value[1] / tag.value[0])
