"""Meshes as ASCII OFF, the published form of `raw_mesh.off`.

The format is that of Geomview's manual, section "OFF": a keyword, the counts of vertices, faces and edges, then one
line a vertex and one line a face, with ``#`` comments anywhere.
"""

from __future__ import annotations

import re

import numpy as np

from ingest.formats.table import read_table, split_lines, without_comments
from msl_store.errors import FormatError
from msl_store.shapes import Mesh

_GAP = rb"(?:\s|#[^\n]*\n)*+"
_KEYWORD = re.compile(_GAP + rb"((?:ST)?C?N?4?n?OFF)(?![A-Za-z])(?:[ \t]*(BINARY))?")
_COUNTS = re.compile(_GAP + rb"(\d{1,18})[ \t]+(\d{1,18})(?:[ \t]+\d+)?[ \t]*(?:#[^\n]*)?\r?\n")
_HEAD_BYTES = 65536
"""A header must end within so many bytes; published ones take about 20."""

_LEAST_LINE = 6
"""Bytes of the shortest line of three numbers, its end included: ``0 0 0`` and a line feed."""


def off_counts(head: bytes, *, size: int | None = None) -> tuple[int, int] | None:
    r"""Return the counts of vertices and faces that the first bytes of an OFF file state.

    Parameters
    ----------
    head : bytes
        The file's first bytes, as many as there are at hand.
    size : int, optional
        Bytes of the whole file, where they are known.

    Returns
    -------
    (int, int) or None
        None where `head` ends before the counts do.

    Raises
    ------
    FormatError
        If this is not ASCII OFF with three coordinates a vertex, or states counts of 0 or more than `size` can hold.

    Examples
    --------
    >>> off_counts(b"OFF\n3584 7164 0\n21.98")
    (3584, 7164)
    >>> off_counts(b"OFF\n3584 71") is None
    True
    """
    found = _header(head)
    if found is None:
        return None
    _check_counts(*found, size)
    return found[:2]


def _header(head: bytes) -> tuple[int, int, int] | None:
    """Return both counts and where the body starts, or None where the header is not complete."""
    head = head[:_HEAD_BYTES]
    complete = len(head) == _HEAD_BYTES
    keyword = _KEYWORD.match(head)
    if keyword is None:
        rest = head[_gap_end(head) :]
        if not complete and (len(rest) < len(b"STCN4nOFF") and b"\n" not in rest):
            return None
        raise FormatError(f"starts with {rest[:12]!r}; an OFF file starts with the word OFF")
    kind = keyword[1].decode()
    if keyword[2]:
        raise FormatError("is binary OFF; only ASCII OFF is read: convert it")
    if kind != "OFF":
        raise FormatError(f"is {kind}; only plain OFF, three coordinates a vertex, is read: convert it")
    counts = _COUNTS.match(head, keyword.end())
    if counts is not None:
        return int(counts[1]), int(counts[2]), counts.end()
    rest = head[_gap_end(head, keyword.end()) :]
    if not complete and b"\n" not in rest:
        return None
    raise FormatError(
        f"has {rest[:40]!r} where the counts of vertices, faces and edges were expected: three whole numbers on a line"
    )


def _gap_end(text: bytes, start: int = 0) -> int:
    gap = re.compile(_GAP).match(text, start)
    return gap.end() if gap else start


def read_off(data: bytes) -> Mesh:
    r"""Read a triangle mesh from ASCII OFF.

    Numbers after a vertex's three coordinates and after a face's corners (colours) are ignored.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Mesh
        Vertices as float64, exactly what the text says; faces as uint32.

    Raises
    ------
    FormatError
        If the file is of another kind of OFF, has other than triangles, holds more or fewer lines than it states,
        names a vertex that is not there, or has a coordinate that is no finite float32 (the library's precision).

    Examples
    --------
    >>> read_off(b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1.5 0\n3 0 1 2\n").vertices[2]
    array([0. , 1.5, 0. ])
    """
    found = _header(data if data.endswith(b"\n") else data[:_HEAD_BYTES] + b"\n")
    if found is None:
        raise FormatError("ends within its header; the file is cut short: fetch it again")
    vertex_count, face_count, start = found
    _check_counts(vertex_count, face_count, start, len(data))
    vertex_text, face_text = _body(data[start:], vertex_count, face_count)
    vertices = np.asarray(read_table(vertex_text, 3, np.float64, what="vertex"), np.float64)
    corners = np.asarray(read_table(face_text, 4, np.int64, what="face"), np.int64)
    _check(vertices, corners)
    return Mesh(vertices, corners[:, 1:].astype(np.uint32))


def _check_counts(vertex_count: int, face_count: int, start: int, size: int | None) -> None:
    """Raise FormatError unless there is at least one vertex and face, and no more than the file's bytes can hold."""
    if vertex_count == 0 or face_count == 0:
        raise FormatError(f"states {vertex_count} vertices and {face_count} faces; a mesh has at least one of each")
    if size is not None and (vertex_count + face_count) * _LEAST_LINE > size - start + 1:
        raise FormatError(
            f"states {vertex_count} vertices and {face_count} faces, more than its {size} bytes can hold; "
            "the file is cut short: fetch it again"
        )


def _body(body: bytes, vertex_count: int, face_count: int) -> list[bytes]:
    """Return the lines of the vertices and those of the faces."""
    counts = (vertex_count, face_count)
    runs = None if b"#" in body else split_lines(body, counts, whole=True)
    if runs is None:
        plain = without_comments(body)
        runs = split_lines(plain, counts, whole=True)
        if runs is None:
            lines = plain.count(b"\n") + (not plain.endswith(b"\n"))
            raise FormatError(
                f"has {lines} lines after its header, which states {vertex_count} vertices and {face_count} faces: "
                f"{sum(counts)} lines, one each; the file is cut short or damaged: fetch it again"
            )
    return runs


def _check(vertices: np.ndarray, corners: np.ndarray) -> None:
    """Raise FormatError unless positions are finite float32, faces triangles, and indices within range."""
    wrong = ~(np.abs(vertices) <= np.finfo(np.float32).max).all(axis=1)
    if wrong.any():
        at = int(wrong.argmax())
        raise FormatError(f"vertex {at} is at {vertices[at].tolist()}; finite float32 numbers are allowed")
    wrong = corners[:, 0] != 3
    if wrong.any():
        at = int(wrong.argmax())
        raise FormatError(f"face {at} has {corners[at, 0]} corners, 3 are allowed: triangulate the mesh")
    wrong = (corners[:, 1:] < 0) | (corners[:, 1:] >= len(vertices))
    if wrong.any():
        at = int(wrong.any(axis=1).argmax())
        index = int(corners[at, 1:][wrong[at]][0])
        raise FormatError(
            f"face {at} names vertex {index}, but the mesh has {len(vertices)} (0 to {len(vertices) - 1})"
        )


def write_off(mesh: Mesh) -> bytes:
    r"""Write a mesh as ASCII OFF in the published text form; `read_off` gives back the same numbers.

    Examples
    --------
    >>> mesh = Mesh(np.eye(3) / 3, np.array([[0, 1, 2]], np.uint32))
    >>> write_off(mesh)[:36]
    b'OFF\n3 1 0\n0.3333333333333333 0.0 0.0'
    """
    vertices = "%r %r %r\n" * len(mesh.vertices) % tuple(np.asarray(mesh.vertices, np.float64).ravel().tolist())
    faces = "3 %d %d %d\n" * len(mesh.faces) % tuple(mesh.faces.ravel().tolist())
    return f"OFF\n{len(mesh.vertices)} {len(mesh.faces)} 0\n{vertices}{faces}".encode()
