"""Writes intake (v2) catalogs: YAML that ``intake.open_catalog`` opens, with entries for libraries and their groups.

A library named ``3dmsl`` becomes the entries ``3dmsl`` (an ``xarray.DataTree`` of everything), ``3dmsl/library`` (a
`msl_store.Library`) and ``3dmsl/<group>`` for each group (an ``xarray.Dataset``; these need intake, xarray and zarr
only). All of them refer to one data description, ``3dmsl/zarr``, that says where the library lies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msl_store.errors import FormatError, MissingError, UsageError
from msl_store.library import open_library
from msl_store.store import locate, locate_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from msl_store.library import Library
    from msl_store.store import Objects

    Location = tuple[str | os.PathLike[str], Mapping[str, Any] | None]

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
"""What a library may be called: no slash, which its entries' names have, and no brace, which intake interprets."""

OPEN_OPTIONS = ("anon", "endpoint_url", "profile", "requester_pays", "use_ssl")
"""Storage options that are written; none of them is a secret, and s3fs takes them all."""

CLIENT_OPTIONS = ("endpoint_url", "region_name", "verify")
"""The same for what is in ``client_kwargs``."""

OF_THE_FILE = ("CATALOG_DIR", "CATALOG_PATH", "STORAGE_OPTIONS")
"""Parameters that intake sets when it opens a catalog and saves with it; the last may hold credentials."""

ROOT_ATTRIBUTES = ("title", "license", "license_url", "citation", "doi", "edition", "digest", "msl_schema_version")
"""Attributes of a library's root that its entries repeat."""


@dataclass(frozen=True)
class Written:
    """What a catalog holds now.

    Attributes
    ----------
    destination : str
        Path or URL of the catalog.
    entries : tuple of str
        Names that this call wrote.
    kept : tuple of str
        Names that were there before and stayed.
    left_out : tuple of str
        Storage options that were not written because they are, or may hold, credentials, as ``3dmsl: secret``.
    """

    destination: str
    entries: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]


def library_name(url: str | os.PathLike[str]) -> str:
    """Return the name that a library has by its URL.

    >>> library_name("s3://bucket/3dmsl.zarr/")
    '3dmsl'
    """
    last = str(url).rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^\w.-]", "-", last.removesuffix(".zip").removesuffix(".zarr")).lstrip("-._")
    return name or "library"


def write_catalog(
    libraries: Mapping[str, Location],
    destination: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
) -> Written:
    """Write a catalog of libraries, or add them to one.

    A library on this machine's disk at or below the catalog's folder is named relative to the catalog, so both can be
    moved or uploaded together; any other by its full URL. Credentials are never written: options that are not known to
    be harmless are left out and reported, and whoever opens the catalog brings their own (environment, profile, role).
    They are left out rather than refused because the same options are needed to read the library's title here.

    Parameters
    ----------
    libraries : mapping of str to (URL, storage options)
        Where each library lies, by the name it gets; the options are as `msl_store.open` takes them, or None.
    destination : str or path
        The YAML file. Entries of other libraries in it stay as they are (comments do not); those of a library with the
        same name are replaced.
    storage_options : mapping, optional
        For the destination.

    Returns
    -------
    Written

    Raises
    ------
    UsageError
        A name is not allowed, or a URL holds a password or a signature.
    FormatError
        The destination holds something else than a catalog of intake's version 2.
    MissingError
        There is no library at a URL.
    """
    folder, file = locate_file(destination, storage_options)
    document = _existing(folder, file)
    left_out: list[str] = []
    added: list[str] = []
    for name, (url, options) in libraries.items():
        _check(name, str(url))
        kept, dropped = open_options(options or {})
        left_out += [f"{name}: {option}" for option in dropped]
        library = open_library(url, options)
        new = _described(name, library, _written_url(library.url, folder), kept)
        for section in ("aliases", "data", "entries"):
            there = {key: value for key, value in document[section].items() if not _belongs(key, name)}
            document[section] = {**there, **new[section]}
        added += new["aliases"]
    folder.put(file, _yaml(document))
    others = tuple(name for name in document["aliases"] if name not in added)
    return Written(f"{folder.url}/{file}", tuple(added), others, tuple(left_out))


def open_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the storage options that a catalog may hold, and the names of the others.

    >>> open_options({"endpoint_url": "http://localhost:9000", "key": "me", "secret": "x"})
    ({'endpoint_url': 'http://localhost:9000'}, ('key', 'secret'))
    """
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in options.items():
        if name == "client_kwargs":
            inner = {key: inside for key, inside in (value or {}).items() if key in CLIENT_OPTIONS}
            dropped += [f"client_kwargs.{key}" for key in value or {} if key not in CLIENT_OPTIONS]
            if inner:
                kept[name] = inner
        elif name in OPEN_OPTIONS:
            kept[name] = value
        else:
            dropped.append(name)
    for endpoint in (kept.get("endpoint_url"), kept.get("client_kwargs", {}).get("endpoint_url")):
        _check_url(str(endpoint or ""))
    return kept, tuple(dropped)


def _check(name: str, url: str) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(
            f"library name {name!r}: allowed are letters, digits, '_', '.' and '-', the first a letter or digit"
        )
    _check_url(url)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if "://" in url and ("@" in parts.netloc or parts.query):
        raise UsageError(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}: the URL holds a user, a password or a "
            "query such as a signature, which a catalog must not; allowed is a plain URL: give credentials as storage "
            "options, or in the environment"
        )


def _belongs(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}/")


def _written_url(url: str, folder: Objects) -> str:
    """Return a library's URL as the catalog writes it: relative to the catalog's folder where both are on this disk."""
    path = locate(url).path
    if path is None or folder.path is None:
        return url
    path, root = Path(path).resolve(), Path(folder.path).resolve()
    if not path.is_relative_to(root):
        return str(path)
    inner = path.relative_to(root).as_posix()
    return "{CATALOG_DIR}" if inner == "." else f"{{CATALOG_DIR}}/{inner}"


def _described(name: str, library: Library, url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a catalog of one library, as intake's own classes describe it."""
    from intake.readers.datatypes import Zarr
    from intake.readers.entry import Catalog, ReaderDescription
    from intake.readers.readers import XArrayDatasetReader

    from msl_store.intake_reader import LibraryReader, TreeReader

    attributes = library.attributes
    metadata = {key: attributes[key] for key in ROOT_ATTRIBUTES if attributes.get(key)}
    metadata["instances"] = len(library)
    chunks = {group: _chunks(library, group) for group in sorted(library.store.groups)}
    catalog = Catalog()
    catalog.add_entry(Zarr(url, storage_options=dict(options), metadata=metadata), name=f"{name}/zarr")
    data = f"{{data({name}/zarr)}}"

    def add(entry: str, description: ReaderDescription, text: str) -> None:
        description.metadata = {"description": text, **metadata}
        catalog.add_entry(description, name=entry)
        catalog.aliases[entry] = entry

    by_rows = {group: sizes for group, sizes in chunks.items() if "instance" in sizes}
    tree = ReaderDescription(
        TreeReader.qname(), {"args": [data], "chunks": by_rows}, output_instance=TreeReader.output_instance
    )
    add(name, tree, "everything, as an xarray.DataTree")
    whole = ReaderDescription(LibraryReader.qname(), {"args": [data]}, output_instance=LibraryReader.output_instance)
    add(f"{name}/library", whole, "everything, as a msl_store.Library")
    for group, sizes in chunks.items():
        # Chunked after opening: xarray warns about open_dataset(chunks=...) where a column spans more instances.
        opened = XArrayDatasetReader(
            Zarr(url), engine="zarr", group=group, consolidated=True, zarr_format=3, chunks=None
        ).chunk(sizes)
        pipeline = opened.to_entry()
        (reader, *arguments), *steps = pipeline.kwargs["steps"]
        first = reader.to_entry()
        first.kwargs["args"] = [data]
        first.metadata = {"description": f"{group} before chunking"}
        catalog.add_entry(first, name=f"{name}/{group}/stored")
        pipeline.kwargs["steps"] = [[f"{{data({name}/{group}/stored)}}", *arguments], *steps]
        add(f"{name}/{group}", pipeline, str(library.store.groups[group].get("description", group)))
    described: dict[str, Any] = catalog.to_dict()
    return described


def _chunks(library: Library, group: str) -> dict[str, int]:
    """Return a group's dask chunks: a shard of those dimensions that shards divide; the others stay whole."""
    stored = (array for path, array in library.store.arrays.items() if path.startswith(f"{group}/"))
    return {array.dims[0]: array.shard[0] for array in stored if array.shard is not None}


def _existing(folder: Objects, file: str) -> dict[str, Any]:
    """Return the catalog that is at the destination, an empty one where nothing is."""
    import yaml

    place = f"{folder.url}/{file}"
    try:
        text = folder.get(file)
    except MissingError:
        text = b""
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise FormatError(f"{place}: is no YAML ({error}); choose another file, or remove it") from error
    if not isinstance(document, dict) or document.get("version", 2) != 2 or "sources" in document:
        raise FormatError(f"{place}: is no intake catalog of version 2; choose another file, or remove it")
    for section in ("aliases", "data", "entries", "metadata", "user_parameters"):
        document[section] = document.get(section) or {}
    for name in OF_THE_FILE:
        document["user_parameters"].pop(name, None)
    return {**document, "version": 2}


def _yaml(document: Mapping[str, Any]) -> bytes:
    import yaml

    text: str = yaml.safe_dump(dict(document), sort_keys=True, allow_unicode=True, width=110)
    return text.encode()
