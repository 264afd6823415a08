"""From what a user names - a zip, a folder, a glob, a bucket's prefix, a URL, a DOI - to the zip archives meant."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingest import dataverse
from ingest.layout import is_clutter
from ingest.place import Archive
from msl_store.errors import MissingError, UsageError
from msl_store.store.objects import local_path, locate, normalized_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WILD = re.compile(r"[*?\[]")


def find_archives(
    locations: Sequence[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    resolver: str = dataverse.RESOLVER,
) -> list[Archive]:
    """Find the zip archives that some locations name.

    Parameters
    ----------
    locations : sequence of str
        Each one a zip (a path or URL), a folder or prefix that holds zips at any depth, a glob whose ``*``, ``?`` and
        ``[]`` stand for parts of one name, or a DOI.
    storage_options : mapping, optional
        As `msl_store.store.objects.locate` takes them.
    resolver : str, optional
        The DOI resolver's URL.

    Returns
    -------
    list of Archive
        In the order named, those of one location by name; each once, with a name of its own.

    Raises
    ------
    UsageError
        If nothing is named, or a folder or glob is on a server that cannot list.
    MissingError
        If a folder or glob holds no zip, or a DOI is unknown.
    """
    if not locations:
        raise UsageError("no source is named; give a zip, a folder or glob of zips, s3://, https:// or doi:")
    found: dict[str, Archive] = {}
    for location in locations:
        for archive in _archives(location, storage_options, resolver):
            found.setdefault(archive.url, archive)
    times = Counter(archive.name for archive in found.values())
    return [
        archive if times[archive.name] == 1 else Archive(archive.url, archive.url, archive.size, archive.checksum)
        for archive in found.values()
    ]


def _archives(location: str, storage_options: Mapping[str, Any] | None, resolver: str) -> list[Archive]:
    if dataverse.doi_of(location):
        return dataverse.archives(location, resolver=resolver)
    path = local_path(location)
    if path is not None:
        path = path.expanduser()
        if path.is_file() or (not path.exists() and path.suffix.lower() == ".zip" and not _WILD.search(location)):
            return [Archive(path.name, normalized_url(path))]
        if path.is_dir():
            return _below(normalized_url(path), "", storage_options)
    elif urlsplit(location).scheme in ("http", "https"):
        if "*" in urlsplit(location).path or location.endswith("/"):
            raise UsageError(f"{location}: a web server cannot list its files; name each archive's URL")
        return [Archive(urlsplit(location).path.rpartition("/")[2] or location, location)]
    elif location.lower().endswith(".zip") and not _WILD.search(location):
        return [Archive(location.rpartition("/")[2], location)]
    wild = _WILD.search(location)
    base = location[: wild.start()].rpartition("/")[0] if wild else location.rstrip("/")
    pattern = location[len(base) :].lstrip("/") if wild else ""
    if path is not None:
        base = normalized_url(base or ("/" if location.startswith("/") else "."))
    return _below(base, pattern, storage_options)


def _below(base: str, pattern: str, storage_options: Mapping[str, Any] | None) -> list[Archive]:
    """List the zips below a folder, or those of them whose path below it fits a glob."""
    listed = [
        (path, size)
        for path, size in locate(base, storage_options).list()
        if path.lower().endswith(".zip") and not is_clutter(path) and (not pattern or _fits(path, pattern))
    ]
    if not listed:
        place = f"{base}/{pattern}" if pattern else base
        raise MissingError(f"{place}: there is no zip archive; give a zip, or a folder or glob of zips")
    return [Archive(path, f"{base}/{path}", size) for path, size in listed]


def _fits(path: str, pattern: str) -> bool:
    """Whether a path fits a glob whose wildcards do not cross a slash."""
    names, wanted = path.split("/"), pattern.split("/")
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))
