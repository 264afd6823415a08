"""Names of the published files: what each part of an instance is called, and which paths are no data."""

from __future__ import annotations

import re
from typing import NamedTuple

from msl_store.schema import MICROSCOPES, VIEWS

MESH, OCCUPANCY, POINT_CLOUD = "mesh", "occupancy", "point_cloud"

IMAGES = tuple(f"{microscope}/{view}" for microscope in MICROSCOPES for view in VIEWS)
"""Image parts in the order of `Images.counts`, as in ``conf2/x90``."""

PARTS = (MESH, OCCUPANCY, POINT_CLOUD, *IMAGES)
"""Everything that a whole instance has."""

_FILES = {MESH: "raw_mesh.off", OCCUPANCY: "occupancies.npz", POINT_CLOUD: "pointcloud.ply"}
_FOLDERS = {"Conf1_imgs/N_0": "conf1", "Conf2_imgs/0": "conf2", "Epi1_imgs/0": "epi1"}
_PREFIXES = {microscope: prefix for prefix, microscope in _FOLDERS.items()}
_SHAPES = {name: part for part, name in _FILES.items()}

_PATH = re.compile(
    r"(?:(?P<folder>.*)/)?(?:"
    rf"(?P<shape>{'|'.join(map(re.escape, _SHAPES))})|"
    rf"(?P<images>{'|'.join(_FOLDERS)})_(?P<id>[0-9]+)_(?P<view>{'|'.join(VIEWS)})\.tif"
    r")",
    re.DOTALL,
)
_ID = re.compile(r"0|[1-9][0-9]{0,17}")


class Name(NamedTuple):
    """What a recognised path says."""

    folder: str
    """Path of the instance's folder, '' at the top of the archive."""
    part: str
    """One of `PARTS`."""
    stated_id: str | None
    """The id within an image's own name."""


def parse(path: str) -> Name | None:
    """Return what a path within an archive names, or None where it is no part of an instance.

    >>> parse("3dmsl/920/Conf1_imgs/N_0_920_x90.tif")
    Name(folder='3dmsl/920', part='conf1/x90', stated_id='920')
    """
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    folder = found["folder"] or ""
    if found["shape"]:
        return Name(folder, _SHAPES[found["shape"]], None)
    return Name(folder, f"{_FOLDERS[found['images']]}/{found['view']}", found["id"])


def file_name(part: str, instance: int) -> str:
    """Return the path of a part below its instance's folder.

    >>> file_name("epi1/z90", 920)
    'Epi1_imgs/0_920_z90.tif'
    """
    if part in _FILES:
        return _FILES[part]
    microscope, view = part.split("/")
    return f"{_PREFIXES[microscope]}_{instance}_{view}.tif"


def instance_id(folder: str) -> int | None:
    """Return the id that a folder's name is, or None where it is no whole number from 0 on.

    >>> instance_id("3dmsl/920"), instance_id("3dmsl/920 copy")
    (920, None)
    """
    name = folder.rpartition("/")[2]
    return int(name) if _ID.fullmatch(name) else None


def is_clutter(path: str) -> bool:
    """Whether a path is a folder or one of the files that macOS adds (AppleDouble ``._*``, ``.DS_Store``)."""
    folders, name = path.split("/")[:-1], path.rpartition("/")[2]
    return name in ("", ".DS_Store") or name.startswith("._") or "__MACOSX" in folders


def is_unsafe(path: str) -> bool:
    """Whether a path would leave the folder that an archive is unpacked to, or means something else elsewhere."""
    return path.startswith("/") or "\\" in path or path[1:2] == ":" or ".." in path.split("/")
