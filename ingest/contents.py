"""What one archive holds: its instances, their parts and mesh counts, and everything wrong at first sight."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingest.formats import off_counts
from ingest.layout import (
    IMAGES,
    MESH,
    OCCUPANCY,
    PARTS,
    POINT_CLOUD,
    file_name,
    instance_id,
    is_clutter,
    is_unsafe,
    parse,
)
from ingest.record import Entry, Finding
from ingest.zipdir import Member, read_directory, unpack_head
from msl_store.errors import FormatError
from msl_store.store.objects import Objects, locate_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest.place import Archive

_HEADS = (512, 65536)
"""Bytes of a mesh read for its counts, at the first and at the second try."""

_GROUP = 128
"""Mesh heads asked for in one call; the groups of an archive are under way at the same time."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most bytes that a file may claim or yield, by kind, and those of an archive's directory."""

    mesh: int = 256 * 2**20
    occupancy: int = 16 * 2**20
    point_cloud: int = 64 * 2**20
    image: int = 4 * 2**20
    directory: int = 256 * 2**20

    def of(self, part: str) -> int:
        """Return the limit of one of `ingest.layout.PARTS`."""
        return {MESH: self.mesh, OCCUPANCY: self.occupancy, POINT_CLOUD: self.point_cloud}.get(part, self.image)


@dataclass(frozen=True)
class ZipEntry(Entry):
    """An instance in a zip archive, with all that reading it takes.

    Attributes
    ----------
    url : str
        The archive's.
    folder : str
        The instance's, within the archive.
    parts : tuple of str
        Which of `ingest.layout.PARTS` can be read, in that order.
    members : tuple of Member
        Where they are.
    findings : tuple of Finding
        What is missing or cannot be read.
    """

    url: str
    folder: str
    parts: tuple[str, ...]
    members: tuple[Member, ...]
    findings: tuple[Finding, ...]


def read_contents(
    archive: Archive, storage_options: Mapping[str, Any] | None, *, limits: Limits
) -> tuple[list[ZipEntry], list[Finding]]:
    """List an archive's instances.

    Returns
    -------
    list of ZipEntry
        In the order of their ids, each id once.
    list of Finding
        All of the archive's, those of its entries too.

    Raises
    ------
    MissingError
        If there is no such archive.
    IntegrityError
        If it is no zip archive, or a damaged one.
    NetworkError
        If it cannot be reached.
    """
    objects, path = locate_file(archive.url, storage_options)
    size = objects.size(path) if archive.size is None else archive.size
    folders, findings = _by_folder(archive.name, read_directory(objects, path, size, limit=limits.directory))
    if not folders:
        findings.append(
            Finding(archive.name, "holds no instance: no raw_mesh.off, occupancies.npz, pointcloud.ply or image")
        )
    chosen: dict[int, str] = {}
    for folder in folders:
        number = instance_id(folder)
        if number is None:
            reason = "holds an instance's files, but its name is no id: a whole number from 0 on"
            findings.append(Finding(f"{archive.name}: {folder or '(top)'}", reason))
        elif number in chosen:
            reason = f"is instance {number} a second time; the one in {archive.name}: {chosen[number]} is used"
            findings.append(Finding(f"{archive.name}: {folder}", reason, number))
        else:
            chosen[number] = folder
    entries = [_entry(archive, number, folder, folders[folder], limits) for number, folder in sorted(chosen.items())]
    listed = _with_counts(entries, objects, path)
    return listed, findings + [finding for entry in listed for finding in entry.findings]


def _by_folder(archive: str, members: Iterable[Member]) -> tuple[dict[str, dict[str, Member]], list[Finding]]:
    """Sort members by instance folder and part; return what does not fit as findings."""
    folders: dict[str, dict[str, Member]] = defaultdict(dict)
    odd: dict[str, list[str]] = defaultdict(list)
    others = []
    for member in members:
        path = member.path
        if is_clutter(path):
            continue
        if is_unsafe(path):
            odd["an absolute path, or one with '..' or a backslash, which is not used"].append(path)
            continue
        name = parse(path)
        if name is None:
            others.append(path)
        elif name.stated_id is not None and name.stated_id != name.folder.rpartition("/")[2]:
            odd["another id in the file's name than in its folder's, so that it is not used"].append(path)
        elif name.part in folders[name.folder]:
            odd["a name that the archive has already, and the first is used"].append(path)
        else:
            folders[name.folder][name.part] = member
    for path in others:
        above = path.split("/")[:-1]
        if any("/".join(above[:depth]) in folders for depth in range(1, len(above) + 1)):
            odd["a name that no part of an instance has, so that it is not used"].append(path)
    findings = [Finding(f"{archive}: {paths[0]}", f"has {reason}{_and_more(paths)}") for reason, paths in odd.items()]
    return {folder: parts for folder, parts in folders.items() if parts}, findings


def _and_more(paths: Sequence[str]) -> str:
    """Return how many more files have the same fault, with two of their names."""
    if len(paths) == 1:
        return ""
    return f" (and so {len(paths) - 1} more: {', '.join(paths[1:3])}{', ...' if len(paths) > 3 else ''})"


def _entry(archive: Archive, number: int, folder: str, parts: dict[str, Member], limits: Limits) -> ZipEntry:
    """Describe one instance, its mesh's counts yet unknown."""
    findings, good = [], {}
    faults: dict[str, list[str]] = defaultdict(list)
    for part in PARTS:
        member = parts.get(part)
        if member is None:
            if part not in IMAGES:
                place = f"{archive.name}: {folder}/{file_name(part, number)}"
                findings.append(Finding(place, "is missing", number))
        elif problem := member.problem(limits.of(part)):
            faults[problem].append(member.path)
        else:
            good[part] = member
    for problem, paths in faults.items():
        findings.append(Finding(f"{archive.name}: {paths[0]}", f"{problem}{_and_more(paths)}", number))
    absent = [part for part in IMAGES if part not in parts]
    if absent:
        reason = f"misses {len(absent)} of {len(IMAGES)} images: {', '.join(absent)}"
        findings.append(Finding(f"{archive.name}: {folder}", reason, number))
    digest = hashlib.blake2b(digest_size=16)
    for part, member in good.items():
        digest.update(f"{part} {member.size} {member.crc}\n".encode())
    return ZipEntry(
        number, archive.name, 0, 0, digest.hexdigest(), archive.url, folder, tuple(good), tuple(good.values()),
        tuple(findings),
    )  # fmt: skip


def _with_counts(entries: list[ZipEntry], objects: Objects, path: str) -> list[ZipEntry]:
    """Return the entries with the counts that the heads of their meshes state, or a finding why there are none."""
    meshes = {entry.id: entry.members[entry.parts.index(MESH)] for entry in entries if MESH in entry.parts}
    counts: dict[int, tuple[int, int]] = {}
    reasons: dict[int, str] = {}
    for head_bytes in _HEADS:
        unknown = [number for number in meshes if number not in counts and number not in reasons]
        ranges = [_head_range(meshes[number], head_bytes) for number in unknown]
        groups = [(path, ranges[first : first + _GROUP]) for first in range(0, len(ranges), _GROUP)]
        blocks = [block for group in objects.get_many(groups) for block in group]
        for number, block in zip(unknown, blocks, strict=True):
            mesh = meshes[number]
            try:
                found = off_counts(unpack_head(mesh, block, 4 * head_bytes), size=mesh.size)
            except FormatError as error:
                reasons[number] = str(error)
                continue
            if found is not None:
                counts[number] = found
            elif head_bytes == _HEADS[-1] or mesh.offset + len(block) == mesh.stop:
                reasons[number] = f"states no counts in its first {head_bytes} bytes: it is cut short or no OFF file"
    listed = []
    for entry in entries:
        vertex_count, face_count = counts.get(entry.id, (0, 0))
        findings = entry.findings
        if entry.id in reasons:
            findings += (Finding(f"{entry.origin}: {meshes[entry.id].path}", reasons[entry.id], entry.id),)
        listed.append(replace(entry, vertex_count=vertex_count, face_count=face_count, findings=findings))
    return listed


def _head_range(member: Member, head_bytes: int) -> tuple[int, int]:
    """Return where a member's local header and its first compressed bytes lie; 256 bytes of extra fields are usual."""
    return member.offset, min(member.stop, member.offset + 30 + len(member.path) + 256 + head_bytes)
