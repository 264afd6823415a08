from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from published_zip import octahedron

from ingest.formats import off_counts, read_off, write_off
from msl_store.errors import FormatError
from msl_store.shapes import Mesh

if TYPE_CHECKING:
    from collections.abc import Iterable

OCTAHEDRON = write_off(octahedron(3))

coordinates = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-1e6, 1e6)


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    vertices = draw(st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=20))
    index = st.integers(0, len(vertices) - 1)
    faces = draw(st.lists(st.tuples(index, index, index), min_size=1, max_size=20))
    return Mesh(np.array(vertices, np.float64), np.array(faces, np.uint32))


def coloured(text: bytes, *, rows: Iterable[int]) -> bytes:
    """The octahedron's text with a colour after some of its faces."""
    lines = text.splitlines()
    for row in rows:
        lines[8 + row] += b" 0.5 0.25 1 1"
    return b"\n".join(lines)


def same(left: Mesh, right: Mesh) -> bool:
    return np.array_equal(left.vertices, right.vertices) and np.array_equal(left.faces, right.faces)


def test_the_published_mesh_is_written_as_it_was_read(instance_1):
    data = (instance_1 / "raw_mesh.off").read_bytes()
    mesh = read_off(data)
    assert mesh.vertices.dtype == np.float64
    assert mesh.faces.dtype == np.uint32
    assert mesh.vertices.shape == (3584, 3)
    assert mesh.faces.shape == (7164, 3)
    assert mesh.vertices[0].tolist() == [21.988812776175127, 25.0, 35.0]
    assert write_off(mesh) == data
    assert off_counts(data[:64]) == (3584, 7164)


@given(meshes())
def test_reading_what_was_written_is_the_identity(mesh):
    data = write_off(mesh)
    assert same(read_off(data), mesh)
    assert off_counts(data, size=len(data)) == (len(mesh.vertices), len(mesh.faces))


def test_every_float64_is_read_exactly():
    rng = np.random.default_rng(0)
    vertices = rng.random((20_000, 3)) * 10.0 ** rng.integers(-12, 12, (20_000, 3))
    assert np.array_equal(read_off(write_off(Mesh(vertices, np.zeros((1, 3), np.uint32)))).vertices, vertices)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: text.replace(b"\n", b" # said by the scanner\n"),
        lambda text: b"# first\r\n\r\n  #second\r\n" + text,
        lambda text: text.replace(b"OFF\n", b"OFF ", 1),
        lambda text: text.replace(b"OFF\n", b"OFF", 1),
        lambda text: text.replace(b"6 8 0\n", b"6 8\n", 1),
        lambda text: text.replace(b"6 8 0\n", b"6\t8 0  # counts\n\n\t \n", 1),
        lambda text: text.replace(b" ", b"\t "),
        lambda text: text.replace(b"\n", b" \n "),
        lambda text: text.rstrip(),
        lambda text: text + b"\n\n# end",
        lambda text: text.replace(b"3 0 1 2\n", b"3 0 1 2 255 0 0\n"),
        lambda text: coloured(text, rows=(1, 3)),
        lambda text: coloured(text, rows=range(8)),
    ],
    ids=[
        "crlf", "blank lines", "comments", "leading comments", "counts on the first line", "no blank", "no edges",
        "tabs and a comment", "tabs", "blanks around", "no last line end", "comment at the end", "one colour",
        "some colour", "every colour",
    ],
)  # fmt: skip
def test_other_ways_to_write_the_same_mesh(change):
    changed = change(OCTAHEDRON)
    assert changed != OCTAHEDRON
    assert same(read_off(changed), octahedron(3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends within its header"),
        (b"OFF", "ends within its header"),
        (b"OFF\n3", "counts of vertices, faces and edges"),
        (b"\x89PNG\r\n\x1a\n", "starts with .*PNG.*; an OFF file starts with the word OFF"),
        (b"OFF BINARY\n\0\0\0\6", "is binary OFF; only ASCII OFF is read"),
        (b"COFF\n1 1 0\n", "is COFF; only plain OFF"),
        (b"STCN4nOFF\n1 1 0\n", "is STCN4nOFF; only plain OFF"),
        (b"OFF\nsix 8 0\n", "has b'six 8 0.*' where the counts"),
        (b"OFF\n0 1 0\n3 0 0 0\n", "states 0 vertices and 1 faces; a mesh has at least one of each"),
        (b"OFF\n99999999999999999 1 0\n0 0 0\n", "more than its .* bytes can hold"),
        (
            b"OFF\n3 1 0\n0 0 0.25\n0 0 1\n3 0 1 2\n",
            "has 3 lines after its header, which states 3 vertices and 1 faces",
        ),
        (b"OFF\n2 1 0\n0 0 0\n0 0 1\n1 1 1\n3 0 1 1\n", "has 4 lines after its header"),
        (b"OFF\n2 1 0\n0 0 0\n0 0\n3 0 1 1\n", "vertex 1 reads '0 0'; a line of 3 numbers was expected"),
        (b"OFF\n2 1 0\n0 0 0\n0 0 abc\n3 0 1 1\n", "vertex 1 reads '0 0 abc'"),
        (b"OFF\n2 1 0\n0 0 0\n0 nan 0\n3 0 1 1\n", "vertex 1 is at .*nan.*; finite float32 numbers are allowed"),
        (b"OFF\n2 1 0\n0 0 0\n0 -inf 0\n3 0 1 1\n", "vertex 1 is at .*-inf"),
        (b"OFF\n2 1 0\n0 0 1e39\n0 0 0\n3 0 1 1\n", "vertex 0 is at .*1e\\+39"),
        (b"OFF\n2 2 0\n0 0 0\n0 0 1\n3 0 1 1\n3 0 1 2\n", r"face 1 names vertex 2, but the mesh has 2 \(0 to 1\)"),
        (b"OFF\n2 1 0\n0 0 0\n0 0 1\n3 0 -1 1\n", r"face 0 names vertex -1, but the mesh has 2 \(0 to 1\)"),
        (b"OFF\n2 1 0\n0 0 0\n0 0 1\n3 0 1 4294967296\n", "face 0 names vertex 4294967296"),
        (b"OFF\n2 1 0\n0 0 0\n0 0 1\n3 0 1 99999999999999999999\n", "face 0 reads .*whole numbers"),
        (b"OFF\n2 1 0\n0 0 0\n0 0 1\n3 0 1 1.5\n", "face 0 reads '3 0 1 1.5'; a line of 4 whole numbers was expected"),
        (
            b"OFF\n2 2 0\n0 0 0\n0 0 1\n3 0 1 1\n4 0 1 1 0\n",
            "face 1 has 4 corners, 3 are allowed: triangulate the mesh",
        ),
        (b"OFF\n2 1 0\n0 0 0\n0 0 1\n2 0 1\n", "face 0 reads '2 0 1'"),
    ],
)
def test_a_wrong_mesh_is_refused_with_the_reason(data, message):
    with pytest.raises(FormatError, match=message):
        read_off(data)


@given(st.integers(0, len(OCTAHEDRON)))
def test_counts_need_their_whole_line(length):
    end = OCTAHEDRON.index(b"\n", 4) + 1
    assert off_counts(OCTAHEDRON[:length]) == ((6, 8) if length >= end else None)


def test_counts_that_a_file_cannot_hold_are_refused_from_its_head():
    with pytest.raises(FormatError, match="more than its 217312 bytes can hold"):
        off_counts(b"OFF\n3584000 7164 0\n21.98", size=217312)


def test_an_endless_header_is_given_up():
    with pytest.raises(FormatError, match="counts of vertices"):
        off_counts(b"OFF\n" + b"#\n" * 40_000)


@settings(max_examples=400)
@given(st.data())
def test_damage_is_noticed_or_harmless(data):
    damaged = bytearray(OCTAHEDRON)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\n", b" ", b"-", b"#"])
        )
        damaged = damaged or bytearray(b" ")
    try:
        mesh = read_off(bytes(damaged))
    except FormatError:
        return
    assert np.isfinite(mesh.vertices.astype(np.float32)).all()
    assert mesh.faces.max() < len(mesh.vertices)


@given(st.binary(max_size=300))
@example(b"OFF\n1 1\n\0 0 0\n3 0 0 0\n")
@example(b"OFF\n1 1\n0 0 0\n\xff 0 0 0\n")
@example(b'OFF\n1 1\n0 "0 0\n3 0 0 0\n')
def test_any_bytes_give_a_mesh_or_a_format_error(data):
    for attempt in (data, b"OFF\n1 1 0\n" + data):
        with suppress(FormatError):
            read_off(attempt)
        with suppress(FormatError):
            off_counts(attempt)
