"""Where an intake catalog's entry says that its data lie, without importing intake."""

from __future__ import annotations

from typing import Any

from msl_store.errors import UsageError


def location_of(entry: object) -> tuple[str, dict[str, Any]]:
    """Return the URL and the ``storage_options`` of the library that a catalog's entry belongs to.

    Parameters
    ----------
    entry : object
        What ``catalog[name]`` returns for a name that ``msl-ingest catalog`` wrote: an intake data description, a
        reader, or a pipeline that begins with a reader.

    Returns
    -------
    url : str
        The library's root, whichever of its groups the entry reads.
    storage_options : dict
        As the catalog has them, so without credentials.

    Raises
    ------
    UsageError
        It is no such entry.
    """
    data = _data(entry)
    url = getattr(data, "url", None)
    options = getattr(data, "storage_options", None) or {}
    if not isinstance(url, str) or not isinstance(options, dict):
        raise UsageError(
            f"{type(entry).__name__}: is no URL, path or intake entry that names a library; allowed is catalog[name] "
            "with a name from list(catalog), and where the catalog has parameters, such as `library`, those set: "
            "catalog(library=...)[name]"
        )
    return url, dict(options)


def _data(entry: object) -> object:
    """Follow an intake pipeline to its reader and a reader to its data; return anything else as it is."""
    arguments = getattr(entry, "kwargs", None)
    if not isinstance(arguments, dict):
        return entry
    if steps := arguments.get("steps"):
        return _data(steps[0][0])
    if "data" in arguments:
        return arguments["data"]
    return next(iter(arguments.get("args", ())), None)
