"""Builds zips as they are published: instances made up from a seed, with what macOS adds to an archive."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from ingest.formats import write_npz, write_off, write_ply, write_tiff
from ingest.layout import IMAGES, MESH, OCCUPANCY, POINT_CLOUD, file_name
from msl_store.shapes import Mesh, Occupancy, PointCloud

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def octahedron(size: float) -> Mesh:
    """A closed mesh of six vertices and eight faces, `size` voxels from its centre to each corner."""
    corners = np.vstack([np.eye(3), -np.eye(3)]) * size + [10 + 1 / 3, 20, 30]
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    return Mesh(corners, np.array(faces, np.uint32))


def instance_files(number: int, *, samples: int = 100_000) -> dict[str, bytes]:
    """All 21 files of an instance, by their paths below its folder."""
    rng = np.random.default_rng(number)
    mesh = octahedron(5 + number)
    points = rng.uniform(-0.55, 0.55, (samples, 3)).astype(np.float16)
    inside = np.abs(points.astype(np.float32)).sum(axis=1) < 0.5
    normals = rng.normal(size=(samples, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    files = {
        MESH: write_off(mesh),
        OCCUPANCY: write_npz(Occupancy(points, np.packbits(inside), *mesh.box())),
        POINT_CLOUD: write_ply(PointCloud((normals / 2).astype(np.float32), normals.astype(np.float32))),
    }
    for part in IMAGES:
        image = rng.poisson(60, (128, 128)).astype(np.uint16)
        files[part] = write_tiff(image, packbits=part.startswith("conf1"))
    return {file_name(part, number): data for part, data in files.items()}


def folder_files(folder: Path) -> dict[str, bytes]:
    """The files of an instance that lies unpacked, by their paths below its folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def published(instances: Mapping[int, Mapping[str, bytes]], *, top: str = "") -> dict[str, bytes]:
    """Members of an archive: the instances' folders below `top`, with macOS's own entries among them."""
    members: dict[str, bytes] = {}
    for number, files in instances.items():
        members[f"{top}{number}/"] = b""
        members[f"{top}{number}/.DS_Store"] = b"\0\0\0\1Bud1"
        for path, data in files.items():
            members[f"{top}{number}/{path}"] = data
            above, _, name = f"{top}{number}/{path}".rpartition("/")
            members[f"__MACOSX/{above}/._{name}"] = b"\0\5\26\7\0\2\0\0Mac OS X"
    return members


def zipped(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of some members, in their order."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method, compresslevel=1) as archive:
        for path, data in members.items() if hasattr(members, "items") else members:
            archive.writestr(zipfile.ZipInfo(path, (2024, 1, 2, 3, 4, 6)), data, method)
    return target.getvalue()


def write_zip(path: Path, instances: Mapping[int, Mapping[str, bytes]], *, top: str = "") -> Path:
    """Write an archive of some instances in the published layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zipped(published(instances, top=top)))
    return path
