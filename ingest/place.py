"""One zip archive, wherever it lies, and the checksum that its publisher gives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msl_store.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from msl_store.store.objects import Objects

_STEP = 16 * 2**20
"""Bytes of one read while a checksum is taken."""


@dataclass(frozen=True)
class Checksum:
    """A file's checksum.

    Attributes
    ----------
    kind : str
        The algorithm as Dataverse writes it: ``MD5``, ``SHA-1``, ``SHA-256`` or ``SHA-512``.
    value : str
        Hexadecimal digits.
    """

    kind: str
    value: str


@dataclass(frozen=True)
class Archive:
    """One zip archive.

    Attributes
    ----------
    name : str
        What messages and provenance call it, as in ``part3.zip``.
    url : str
        Where it lies: an absolute path or a URL.
    size : int or None
        Bytes, where the place that lists it says so.
    checksum : Checksum or None
        The publisher's, where there is one.
    """

    name: str
    url: str
    size: int | None = None
    checksum: Checksum | None = None


def check_archive(objects: Objects, path: str, checksum: Checksum, *, size: int | None = None) -> None:
    """Read a whole archive and compare its checksum with the publisher's.

    Parameters
    ----------
    objects, path
        The place and the archive's name there, as `msl_store.store.objects.locate_file` returns them.
    checksum : Checksum
        What it should be.
    size : int, optional
        The archive's bytes, asked for where not given.

    Raises
    ------
    IntegrityError
        If the archive differs from the published one.
    UsageError
        If the kind of checksum is not known.
    """
    name = checksum.kind.lower().replace("-", "")
    if name not in ("md5", "sha1", "sha256", "sha512"):
        raise UsageError(f"{path}: its checksum is of kind {checksum.kind}; MD5, SHA-1, SHA-256 and SHA-512 are known")
    digest = hashlib.new(name, usedforsecurity=False)
    stop = objects.size(path) if size is None else size
    for start in range(0, stop, _STEP):
        digest.update(objects.get_ranges(path, [(start, min(start + _STEP, stop))])[0])
    if digest.hexdigest() != checksum.value.lower():
        raise IntegrityError(
            f"{objects.url}/{path}: its {checksum.kind} is {digest.hexdigest()}, published is {checksum.value}: "
            "it is damaged or another version; fetch it again"
        )
