"""Archives with a real instance under several ids, beside neighbours that are damaged in every way we know of."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from published_zip import folder_files, published, zipped

from ingest.formats import read_off, write_ply, write_tiff
from ingest.layout import POINT_CLOUD, file_name
from ingest.sampling import point_cloud

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MESH, QUERIES = "raw_mesh.off", "occupancies.npz"

LOCAL_NAME, CENTRAL_NAME = 30, 46
"""Where the name starts in a member's local header and in its directory entry (APPNOTE 4.3.7, 4.3.12)."""


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong.

    Attributes
    ----------
    name : str
        What was done.
    place : str
        Text that the finding's place must hold.
    reason : str
        Regular expression that the finding's reason must match.
    instance : int or None
        The finding's instance.
    """

    name: str
    place: str
    reason: str
    instance: int | None = None


def whole_instance(folder: Path) -> dict[str, bytes]:
    """Return the files of a published instance by their paths; a point cloud that it lacks is drawn on its mesh."""
    files = folder_files(folder)
    if "pointcloud.ply" not in files:
        files["pointcloud.ply"] = write_ply(point_cloud(read_off(files[MESH]), np.random.default_rng(0)))
    return files


def renumbered(files: dict[str, bytes], number: int) -> dict[str, bytes]:
    """Return an instance's files under another id, which their names hold."""
    return {re.sub(r"(_imgs/(?:N_)?0_)\d+_", rf"\g<1>{number}_", path): data for path, data in files.items()}


def write_damaged(folder: Path, files: dict[str, bytes]) -> list[Damage]:
    """Write three zips: good and damaged instances, a second one with a duplicate, a third one cut in half.

    Instances 1, 2 and 30 are whole. Returns what was damaged; nothing else is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed: dict[int, tuple[str, Callable[[bytes], bytes]]] = {
        10: (MESH, lambda data: data[: len(data) // 2]),
        11: (MESH, _face_out_of_range),
        12: (MESH, _with_nan),
        16: (QUERIES, lambda _: _pickled()),
        17: (file_name("conf2/x90", 17), lambda _: write_tiff(np.zeros((64, 64), np.uint16))),
        19: (file_name("epi1/0", 19), lambda _: bytes(5 << 20)),
    }
    instances = {}
    for number in (1, 2, *range(10, 22)):
        mine = renumbered(files, number)
        if number in changed:
            path, change = changed[number]
            mine[path] = change(mine[path])
        if number == 18:
            mine = {path: data for path, data in mine.items() if not path.startswith("Epi1_imgs")}
        if number == 21:
            mine = {MESH: b"", QUERIES: b"PK", file_name("epi1/0", 21): b"II*\0"}
        instances[number] = mine
    members = published(instances, top="3dmsl/")
    members["3dmsl/../../22/raw_mesh.off"] = files[MESH]
    archive = bytearray(zipped(members))
    _patch(archive, f"3dmsl/13/{MESH}", crc=0x12345678)
    _patch(archive, "3dmsl/14/pointcloud.ply", method=9)
    _patch(archive, f"3dmsl/15/{QUERIES}", flags=1)
    _patch(archive, "3dmsl/20/pointcloud.ply", size=1000)
    (folder / "part1.zip").write_bytes(archive)
    (folder / "part2.zip").write_bytes(zipped(published({number: renumbered(files, number) for number in (1, 30)})))
    third = zipped(published({40: renumbered(files, 40)}))
    (folder / "part3.zip").write_bytes(third[: len(third) // 2])
    return [
        Damage("OFF cut short", f"10/{MESH}", "cut short", 10),
        Damage("face index out of range", f"11/{MESH}", r"face 0 names vertex \d+, but the mesh has", 11),
        Damage("NaN vertex", f"12/{MESH}", "vertex 0 is at .*nan", 12),
        Damage("CRC-32 mismatch", f"13/{MESH}", "has the CRC-32 .* the archive's directory says 12345678", 13),
        Damage("Deflate64", "14/pointcloud.ply", "method 9 .*Deflate64", 14),
        Damage("encrypted", f"15/{QUERIES}", "is encrypted", 15),
        Damage("pickled object array", f"16/{QUERIES}", "points", 16),
        Damage("image of another shape", "17/Conf2_imgs/0_17_x90.tif", "is 64 x 64 pixels", 17),
        Damage("missing views", "3dmsl/18", "misses 6 of 18 images: epi1/0", 18),
        Damage("bomb that says its size", "19/Epi1_imgs/0_19_0.tif", "claims 5242880 bytes, and at most", 19),
        Damage("bomb that lies", "20/pointcloud.ply", "more than the 1000 bytes that it claims", 20),
        Damage("nothing good: mesh", f"21/{MESH}", "cut short|states no counts|starts with|ends within", 21),
        Damage("nothing good: queries", f"21/{QUERIES}", "NPZ", 21),
        Damage("nothing good: image", "21/Epi1_imgs/0_21_0.tif", "TIFF", 21),
        Damage("nothing good: no point cloud", f"21/{file_name(POINT_CLOUD, 21)}", "is missing", 21),
        Damage("nothing good: 17 images less", "3dmsl/21", "misses 17 of 18 images", 21),
        Damage("path with ..", "../../22/raw_mesh.off", r"one with '\.\.'"),
        Damage("id twice", "part2.zip: 1", "is instance 1 a second time", 1),
        Damage("zip cut in half", "part3.zip", "no whole zip archive"),
    ]


def _face_out_of_range(data: bytes) -> bytes:
    vertices = int(data.split(None, 2)[1])
    return _with_line(data, 2 + vertices, b"3 0 1 %d" % vertices)


def _with_nan(data: bytes) -> bytes:
    return _with_line(data, 2, b"nan 1 2")


def _with_line(data: bytes, number: int, line: bytes) -> bytes:
    lines = data.split(b"\n")
    lines[number] = line
    return b"\n".join(lines)


def _pickled() -> bytes:
    target = io.BytesIO()
    points = np.empty(3, object)
    points[:] = [{"a": 1}, None, "pickled"]
    np.savez(target, points=points, occupancies=np.zeros(12500, np.uint8), loc=np.zeros(3), scale=np.float64(1))
    return target.getvalue()


def _patch(
    archive: bytearray, name: str, *, crc: int | None = None, method: int | None = None, flags: int | None = None,
    size: int | None = None,
) -> None:  # fmt: skip
    """Change what a zip says about one member, in its local header and in the directory."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        local = opened.getinfo(name).header_offset
        start = opened.start_dir
    central = archive.index(b"PK\1\2", start)
    while bytes(archive[central + CENTRAL_NAME :][: len(name)]) != name.encode():
        central = archive.index(b"PK\1\2", central + 4)
    # In the local header these fields lie two bytes before where the directory entry has them.
    for at in (local + 6, central + 8):
        for value, offset, form in ((flags, 0, "<H"), (method, 2, "<H"), (crc, 8, "<L"), (size, 16, "<L")):
            if value is not None:
                struct.pack_into(form, archive, at + offset, value)
