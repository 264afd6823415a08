"""Point clouds as PLY, the published form of `pointcloud.ply`: ASCII or binary of either byte order.

The format is Greg Turk's "The PLY Polygon File Format" (1994): a text header that lists elements and their properties,
then the elements' values in that order. The element ``vertex`` with ``x y z`` and, where present, ``nx ny nz`` is
read; other properties and elements are skipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.formats.table import read_table, split_lines
from msl_store.errors import FormatError
from msl_store.schema import SAMPLES
from msl_store.shapes import PointCloud

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "double": "f8", "float32": "f4", "float64": "f8",
}  # fmt: skip
_STRUCT = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I"}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_HEAD_BYTES = 65536
_COORDINATES = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")


@dataclass(frozen=True)
class _Property:
    name: str
    type: str
    length_type: str | None  # of a list: the type of its length


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[_Property, ...]

    @property
    def has_list(self) -> bool:
        return any(item.length_type for item in self.properties)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, every list empty."""
        return sum(np.dtype(item.length_type or item.type).itemsize for item in self.properties)


def read_ply(data: bytes, *, samples: int | None = SAMPLES) -> PointCloud:
    """Read a point cloud from PLY.

    Parameters
    ----------
    data : bytes
        The whole file.
    samples : int or None, optional
        How many points there must be; None allows any number from 1 on.

    Returns
    -------
    PointCloud
        float32; normals where the file has all three components of them.

    Raises
    ------
    FormatError
        If this is no PLY, a needed property is missing, the count differs, the file is cut short, or a number is no
        finite float32.
    """
    order, elements, start = _header(data)
    at = next((index for index, element in enumerate(elements) if element.name == "vertex"), None)
    if at is None:
        raise FormatError("has no element vertex; a point cloud needs one with the properties x, y and z")
    vertex = elements[at]
    _check_vertex(vertex, samples)
    names = [item.name for item in vertex.properties]
    columns = [names.index(name) for name in _COORDINATES]
    if set(_NORMAL) <= set(names):
        columns += [names.index(name) for name in _NORMAL]
    if order:
        values = _binary_values(data, _skip(data, start, elements[:at], order), vertex, order, columns)
    else:
        values = _text_values(data[start:], elements[: at + 1], columns)
    points = _narrow(values[:3], "point")
    return PointCloud(points, _narrow(values[3:], "normal") if len(values) == 6 else None)


def _narrow(columns: list[NDArray[Any]], what: str) -> NDArray[np.float32]:
    """Return three columns as float32 rows; raise FormatError where one is not finite."""
    rows = np.empty((len(columns[0]), 3), np.float32)
    with np.errstate(over="ignore"):
        for at, column in enumerate(columns):
            rows[:, at] = column
    finite = np.isfinite(rows)
    if not finite.all():
        row = int(finite.all(axis=1).argmin())
        raise FormatError(f"{what} {row} is {[float(column[row]) for column in columns]}; finite float32 is allowed")
    return rows


def _header(data: bytes) -> tuple[str, list[_Element], int]:
    """Return the byte order ('' for text), the elements, and where their values start."""
    head = data[:_HEAD_BYTES]
    if head[:4] not in (b"ply\n", b"ply\r"):
        raise FormatError(f"starts with {head[:12]!r}; a PLY file starts with a line ply")
    mark = head.find(b"\nend_header")
    end = head.find(b"\n", mark + 1)
    if mark < 0 or end < 0:
        raise FormatError(f"has no line end_header in its first {_HEAD_BYTES} bytes; the file is cut short or damaged")
    order, elements = None, list[_Element]()
    for line in head[3:mark].decode("latin-1").splitlines():
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", kind, "1.0"] if kind in _ORDERS:
                order = _ORDERS[kind]
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 19:
                elements.append(_Element(name, int(count), ()))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1] = _with_property(elements[-1], _Property(name, _TYPES[kind], None))
            case ["property", "list", length, kind, name] if (
                elements and kind in _TYPES and _TYPES.get(length) in _STRUCT
            ):
                elements[-1] = _with_property(elements[-1], _Property(name, _TYPES[kind], _TYPES[length]))
            case _:
                raise FormatError(
                    f"has the header line {line[:60]!r}; allowed: format (ascii, binary_little_endian or "
                    "binary_big_endian, 1.0), element, property, comment, obj_info"
                )
    if order is None:
        raise FormatError("has no format line in its header: ascii, binary_little_endian or binary_big_endian")
    return order, elements, end + 1


def _with_property(element: _Element, item: _Property) -> _Element:
    return _Element(element.name, element.count, (*element.properties, item))


def _check_vertex(vertex: _Element, samples: int | None) -> None:
    """Raise FormatError unless the element has coordinates, plain values, and the right number of rows."""
    missing = set(_COORDINATES) - {item.name for item in vertex.properties}
    if missing:
        raise FormatError(f"has no vertex property {', '.join(sorted(missing))}; a point needs x, y and z")
    if vertex.has_list:
        raise FormatError("has a list among the properties of its vertices; plain numbers are allowed")
    if vertex.count != samples if samples is not None else vertex.count == 0:
        raise FormatError(f"has {vertex.count} points, {'at least 1' if samples is None else samples} are allowed")


def _binary_values(data: bytes, start: int, vertex: _Element, order: str, columns: list[int]) -> list[NDArray[Any]]:
    """Return the wanted properties of binary vertices."""
    size = vertex.row_bytes
    if start + vertex.count * size > len(data):
        raise FormatError(
            f"has {max(0, len(data) - start)} bytes of points, {vertex.count} points take {vertex.count * size}; "
            "the file is cut short: fetch it again"
        )
    offsets = np.cumsum([0] + [np.dtype(item.type).itemsize for item in vertex.properties])
    row = np.dtype({
        "names": [str(column) for column in columns],
        "formats": [order + vertex.properties[column].type for column in columns],
        "offsets": [int(offsets[column]) for column in columns],
        "itemsize": size,
    })  # fmt: skip
    rows = np.frombuffer(data, row, vertex.count, start)
    return [rows[str(column)] for column in columns]


def _skip(data: bytes, start: int, elements: list[_Element], order: str) -> int:
    """Return where the element after some binary elements starts."""
    for element in elements:
        if start + element.count * element.row_bytes > len(data):
            raise FormatError(f"states {element.count} of {element.name}, more than its {len(data)} bytes can hold")
        if not element.has_list:
            start += element.count * element.row_bytes
            continue
        for _ in range(element.count):
            for item in element.properties:
                size = np.dtype(item.type).itemsize
                if item.length_type:
                    length = struct.Struct(order + _STRUCT[item.length_type])
                    if start + length.size > len(data):
                        raise FormatError(f"ends within its {element.name} lists; the file is cut short")
                    size *= max(0, length.unpack_from(data, start)[0])
                    start += length.size
                start += size
    return start


def _text_values(body: bytes, elements: list[_Element], columns: list[int]) -> list[NDArray[Any]]:
    """Return the wanted properties of the last of some elements in text."""
    runs = split_lines(body, [element.count for element in elements], whole=False)
    if runs is None:
        lines = body.count(b"\n") + (not body.endswith(b"\n"))
        wanted = sum(element.count for element in elements)
        raise FormatError(f"has {lines} lines after its header, {wanted} were expected: the file is cut short")
    table = read_table(runs[-1], max(columns) + 1, np.float64, what="point")
    if len(table) != elements[-1].count:
        raise FormatError(f"has {len(table)} points in text, {elements[-1].count} by its header")
    return [table[:, column] for column in columns]


def write_ply(cloud: PointCloud, *, text: bool = False) -> bytes:
    """Write a point cloud as PLY, binary little-endian or text; `read_ply` gives back the same float32 numbers."""
    values = cloud.points if cloud.normals is None else np.hstack([cloud.points, cloud.normals])
    names = _COORDINATES if cloud.normals is None else _COORDINATES + _NORMAL
    head = [
        "ply",
        f"format {'ascii' if text else 'binary_little_endian'} 1.0",
        f"element vertex {len(values)}",
        *(f"property float {name}" for name in names),
        "end_header\n",
    ]
    if text:
        row = " ".join(["%.9g"] * len(names)) + "\n"  # nine digits name every float32
        body = (row * len(values) % tuple(values.ravel().tolist())).encode()
    else:
        body = values.astype("<f4").tobytes()
    return "\n".join(head).encode() + body
