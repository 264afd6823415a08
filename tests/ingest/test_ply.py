from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats import read_ply, write_ply
from msl_store.errors import FormatError
from msl_store.shapes import PointCloud

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def clouds(draw: st.DrawFn) -> PointCloud:
    count = draw(st.integers(1, 12))
    columns = draw(st.sampled_from([3, 6]))
    values = np.array(draw(st.lists(floats, min_size=count * columns, max_size=count * columns)), np.float32)
    values = values.reshape(count, columns)
    return PointCloud(values[:, :3], values[:, 3:] if columns == 6 else None)


def cloud(count: int = 50) -> PointCloud:
    rng = np.random.default_rng(1)
    return PointCloud(*rng.normal(size=(2, count, 3)).astype(np.float32))


def same(left: PointCloud, right: PointCloud) -> bool:
    if (left.normals is None) != (right.normals is None):
        return False
    return np.array_equal(left.points, right.points) and (
        left.normals is None or np.array_equal(left.normals, right.normals)
    )


def header(order: str, *lines: str) -> bytes:
    return "\n".join(["ply", f"format {order} 1.0", *lines, "end_header", ""]).encode()


LITTLE, BIG = "binary_little_endian", "binary_big_endian"
XYZ = ("property float x", "property float y", "property float z")


@given(clouds(), st.booleans())
def test_reading_what_was_written_is_the_identity(written, text):
    read = read_ply(write_ply(written, text=text), samples=None)
    assert same(read, written)
    assert read.points.dtype == np.float32


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("normals", [True, False])
def test_every_byte_order_with_other_elements_and_properties_around(order, normals):
    wanted = cloud() if normals else PointCloud(cloud().points)
    names = ["red", "z", "y", "quality", "x"] + (["nz", "ny", "nx"] if normals else [])
    types = dict.fromkeys(names, "float") | {"red": "uchar", "quality": "double", "x": "double"}
    columns = {"red": np.full(50, 200), "quality": np.arange(50) / 7}
    columns |= dict(zip("xyz", wanted.points.T, strict=True))
    if normals:
        columns |= dict(zip(("nx", "ny", "nz"), wanted.normals.T, strict=True))
    head = header(
        order,
        "comment made up",
        "obj_info none",
        "element face 2",
        "property list uchar int vertex_indices",
        "property short group",
        "element scan 3",
        "property int16 line",
        "element vertex 50",
        *(f"property {types[name]} {name}" for name in names),
        "element edge 1",
        "property int v",
    )
    if order == "ascii":
        rows = ["3 0 1 2 7", "4 0 1 2 3 8", "1", "2", "3"]
        rows += [" ".join(repr(float(columns[name][row])) for name in names) for row in range(50)]
        body = "\r\n".join([*rows, "5"]).encode()
    else:
        mark = "<" if "little" in order else ">"
        lists = (
            np.array([3], "u1").tobytes()
            + np.array([0, 1, 2], f"{mark}i4").tobytes()
            + np.array([7], f"{mark}i2").tobytes()
        )
        lists += np.array([4], "u1").tobytes() + np.array([0, 1, 2, 3], f"{mark}i4").tobytes() + b"\0\0"
        kinds = {"float": "f4", "uchar": "u1", "double": "f8"}
        rows = np.zeros(50, [(name, mark + kinds[types[name]]) for name in names])
        for name in names:
            rows[name] = columns[name]
        body = lists + np.array([1, 2, 3], f"{mark}i2").tobytes() + rows.tobytes() + b"\0\0\0\5"
    assert same(read_ply(head + body, samples=50), wanted)


def test_the_published_count_is_expected():
    with pytest.raises(FormatError, match="has 50 points, 100000 are allowed"):
        read_ply(write_ply(cloud()))
    assert len(read_ply(write_ply(cloud(100_000))).points) == 100_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with b''; a PLY file starts with a line ply"),
        (b"plyx", "a PLY file starts with a line ply"),
        (b"ply\nformat ascii 1.0\n", "no line end_header"),
        (header("ascii2", "element vertex 1", *XYZ), "has the header line 'format ascii2 1.0'"),
        (b"ply\nelement vertex 1\nend_header\n", "has no format line"),
        (header("ascii", "element vertex -1", *XYZ), "has the header line 'element vertex -1'"),
        (header("ascii", "element vertex 1", "property float128 x"), "has the header line 'property float128 x'"),
        (header("ascii", "property float x"), "has the header line 'property float x'"),
        (header("ascii", "element vertex 1", "property list float int x"), "has the header line 'property list float"),
        (header("ascii", "element point 1", *XYZ) + b"0 0 0\n", "has no element vertex"),
        (header("ascii", "element vertex 1", *XYZ[:2]) + b"0 0\n", "has no vertex property z"),
        (header("ascii", "element vertex 0", *XYZ), "has 0 points, at least 1 are allowed"),
        (header("ascii", "element vertex 1", *XYZ, "property list uchar int f") + b"0 0 0 0\n", "has a list among"),
        (header("ascii", "element vertex 2", *XYZ) + b"0 0 0\n", "has 1 lines after its header, 2 were expected"),
        (header("ascii", "element vertex 2", *XYZ) + b"0 0 0\n1 1\n", "point 1 reads '1 1'; a line of 3 numbers"),
        (header("ascii", "element vertex 1", *XYZ) + b"0 0 nan\n", r"point 0 is \[0.0, 0.0, nan\]; finite"),
        (header("ascii", "element vertex 1", *XYZ) + b"0 0 1e39\n", "finite float32 is allowed"),
        (header(LITTLE, "element vertex 2", *XYZ) + bytes(23), "has 23 bytes of points, 2 points take 24"),
        (header(BIG, "element vertex 999999999999999999", *XYZ) + bytes(24), "999999999999999999 points"),
        (
            header(LITTLE, "element face 99999999999", "property list uchar int v", "element vertex 1", *XYZ),
            "states 99999999999 of face, more than its .* bytes can hold",
        ),
        (
            header(LITTLE, "element face 2", "property list uint int v", "element vertex 1", *XYZ) + b"\xff" * 8,
            "ends within its face lists",
        ),
    ],
)  # fmt: skip
def test_a_wrong_cloud_is_refused_with_the_reason(data, message):
    with pytest.raises(FormatError, match=message):
        read_ply(data, samples=None)


SAMPLES = [write_ply(cloud(5)), write_ply(cloud(5), text=True), write_ply(PointCloud(cloud(5).points))]


@settings(max_examples=400)
@given(st.data())
def test_damage_is_noticed_or_harmless(data):
    damaged = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        damaged = damaged or bytearray(b" ")
    damaged = damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))]
    try:
        read = read_ply(bytes(damaged), samples=None)
    except FormatError:
        return
    assert np.isfinite(read.points).all()
    assert read.points.shape[1] == 3


@given(st.binary(max_size=200), st.sampled_from(["ascii", "binary_little_endian"]))
def test_any_bytes_give_a_cloud_or_a_format_error(data, order):
    for attempt in (data, b"ply\n" + data, header(order, "element vertex 3", *XYZ) + data):
        with suppress(FormatError):
            read_ply(attempt, samples=None)
