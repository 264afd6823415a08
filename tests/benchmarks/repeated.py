"""Libraries and zips of many instances, made in seconds: a sample's instances over and over under new ids."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ingest.layout import file_name, parse
from msl_store.carried import columns_of, group_attributes, root_attributes
from msl_store.digest import joint_digest
from msl_store.extract import extract
from msl_store.schema import instance_attributes
from msl_store.store import Publication, locate
from msl_store.subsetting import copy_block

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from msl_store.library import Library


def write_repeated_library(library: Library, folder: Path, instances: int) -> None:
    """Write a library whose instances 1, 2, ... are those of another in turn."""
    taken = extract(library)
    taken = replace(taken, rows=np.resize(taken.rows, instances))
    target = locate(folder)
    publication = Publication(target, taken.layout, {"repeated": library.digest}, f"{instances} of {library.digest}")
    with publication.claimed():
        for block in range(publication.layout.blocks):
            copy_block(taken, target, block)
        columns = columns_of(taken, library.url, None)
        columns["instances/id"] = np.arange(1, instances + 1)
        attributes = root_attributes(taken, library.url, columns, {})
        digests = (digest.tobytes() for digest in columns["instances/digest"])
        attributes["digest"] = joint_digest(range(1, instances + 1), digests)
        groups = group_attributes(taken, columns)
        groups["instances"].update(instance_attributes(columns["instances/id"], columns["instances/status"]))
        publication.publish(columns, attributes, groups)


def write_repeated_zips(sources: Sequence[Path], folder: Path, instances: int, archives: int) -> list[Path]:
    """Write zips whose instances 1, 2, ... are those of others in turn; what is compressed is copied as it is."""
    folder.mkdir(parents=True)
    members = _members(sources)
    shares = np.array_split(np.arange(instances), archives)
    paths = [folder / f"part{number + 1}.zip" for number in range(archives)]
    for path, share in zip(paths, shares, strict=True):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in share.tolist():
                for part, info, packed in members[number % len(members)]:
                    _append(archive, info, packed, f"{path.stem}/{number + 1}/{file_name(part, number + 1)}")
    return paths


Member = tuple[str, zipfile.ZipInfo, bytes]


def _members(sources: Sequence[Path]) -> list[list[Member]]:
    """Return every instance's members: the part, its entry, and its bytes as they are compressed."""
    found: dict[str, list[Member]] = {}
    for source in sources:
        with zipfile.ZipFile(source) as archive, source.open("rb") as file:
            for info in archive.infolist():
                name = parse(info.filename)
                if name is not None:
                    file.seek(info.header_offset + 26)
                    lengths = np.frombuffer(file.read(4), "<u2")  # of the name and of the extra field
                    file.seek(int(lengths.sum()), 1)
                    found.setdefault(f"{source.stem}/{name.folder}", []).append(
                        (name.part, info, file.read(info.compress_size))
                    )
    return list(found.values())


def _append(archive: zipfile.ZipFile, info: zipfile.ZipInfo, packed: bytes, name: str) -> None:
    """Add a member that is compressed already to an archive that is written."""
    entry = zipfile.ZipInfo(name, info.date_time)
    entry.compress_type, entry.CRC = info.compress_type, info.CRC
    entry.compress_size, entry.file_size = info.compress_size, info.file_size
    file = archive.fp
    if file is None:
        raise ValueError(f"{archive.filename} is closed")
    entry.header_offset = file.tell()
    file.write(entry.FileHeader(zip64=False) + packed)
    archive.filelist.append(entry)
    archive.NameToInfo[name] = entry
    archive.start_dir = file.tell()
