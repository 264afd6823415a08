"""The archives of a dataset published in a Dataverse repository, found by the dataset's DOI.

A DOI's resolver redirects to the repository's page of the dataset; the repository's native API then lists its files
(Dataverse API guide, "Native API": ``/api/datasets/:persistentId/``), and ``/api/access/datafile/{id}`` gives a file's
bytes, mostly by a redirect to where they are stored.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, quote, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    build_opener,
)

from ingest.place import Archive, Checksum
from msl_store.errors import FormatError, MissingError, NetworkError, UsageError

RESOLVER = "https://doi.org"
"""Where a DOI leads, by redirects (ISO 26324)."""

_DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)(10\.[0-9.]+/\S+)", re.IGNORECASE)
_PAGE = re.compile(r"/(?:citation|dataset\.xhtml)$")
_TIMEOUT_S = 60
_MOST_HOPS = 10
_MOST_BYTES = 64 * 2**20
"""The longest list of files that is read."""


def doi_of(location: str) -> str | None:
    """Return the DOI that a location names, or None where it names something else.

    >>> doi_of("doi:10.18710/JX6JXF"), doi_of("https://doi.org/10.18710/JX6JXF"), doi_of("part1.zip")
    ('10.18710/JX6JXF', '10.18710/JX6JXF', None)
    """
    found = _DOI.fullmatch(location.strip())
    return found[1] if found else None


def archives(doi: str, *, resolver: str = RESOLVER, api: str | None = None) -> list[Archive]:
    """List the zip archives of a dataset's latest published version.

    Parameters
    ----------
    doi : str
        As in ``doi:10.18710/JX6JXF``.
    resolver : str, optional
        The DOI resolver's URL.
    api : str, optional
        The repository's URL, as in ``https://dataverse.no``; found by the resolver's redirect where not given.

    Returns
    -------
    list of Archive
        With sizes and checksums, in the order of their names.

    Raises
    ------
    UsageError
        If `doi` is no DOI, or does not lead to a Dataverse repository.
    MissingError
        If the DOI is unknown, or the dataset has no zip archive that may be fetched.
    NetworkError
        If a server cannot be reached or refuses to answer.
    FormatError
        If the repository's answer is not what its API promises.
    """
    name = doi_of(doi)
    if name is None:
        raise UsageError(f"{doi}: is no DOI; one looks like doi:10.18710/JX6JXF")
    host = (api or _repository(name, resolver)).rstrip("/")
    url = f"{host}/api/datasets/:persistentId/?persistentId={quote(f'doi:{name}', safe=':/')}"
    files = _files(url, _get(url, f"the dataset doi:{name}"))
    zips = [file for file in files if file.name.lower().endswith(".zip")]
    if not zips:
        raise MissingError(f"doi:{name}: {host} lists {len(files)} files and no zip archive among them")
    return sorted(
        (Archive(file.name, f"{host}/api/access/datafile/{file.url}", file.size, file.checksum) for file in zips),
        key=lambda archive: archive.name,
    )


def _repository(name: str, resolver: str) -> str:
    """Follow a DOI's redirects to the page of a dataset, and return the repository's URL."""
    opener = OpenerDirector()  # one that hands each redirect back, as an HTTPError with its Location
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor):
        opener.add_handler(handler())
    url = f"{resolver.rstrip('/')}/{quote(name, safe='/')}"
    for _ in range(_MOST_HOPS):
        parts = urlsplit(url)
        if "persistentId" in parse_qs(parts.query) and _PAGE.search(parts.path):
            return f"{parts.scheme}://{parts.netloc}{_PAGE.sub('', parts.path)}"
        location = _location(opener, url, f"the DOI {name}")
        if location is None:
            break
        url = urljoin(url, location)
        if urlsplit(url).scheme not in ("http", "https"):
            break
    raise UsageError(f"doi:{name}: leads to {url}, which is no dataset's page in a Dataverse repository; give its URLs")


def _location(opener: OpenerDirector, url: str, what: str) -> str | None:
    """Return where a URL redirects to, or None where it does not."""
    try:
        with opener.open(url, timeout=_TIMEOUT_S):
            return None
    except HTTPError as error:
        with error:
            if error.code in (301, 302, 303, 307, 308) and error.headers["Location"]:
                return str(error.headers["Location"])
            raise _refusal(url, what, error.code, "") from error
    except (URLError, OSError) as error:
        raise _unreached(url, error) from error


def _get(url: str, what: str) -> bytes:
    """Return the body of an answer, redirects followed."""
    try:
        with build_opener().open(url, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read(_MOST_BYTES))
    except HTTPError as error:
        with error:
            try:
                said = str(json.loads(error.read(65536)).get("message", ""))
            except (ValueError, AttributeError):
                said = ""
            raise _refusal(url, what, error.code, said) from error
    except (URLError, OSError) as error:
        raise _unreached(url, error) from error


def _refusal(url: str, what: str, code: int, said: str) -> MissingError | NetworkError:
    """Return the error for an answer's status."""
    said = f" ({said})" if said else ""
    if code in (404, 410):
        return MissingError(f"{url}: there is no such thing as {what}{said}; check the DOI")
    if code in (401, 403):
        return NetworkError(f"{url}: answers {code}{said}: {what} is restricted; ask its publisher for access")
    return NetworkError(f"{url}: answers {code}{said} for {what}; try again later")


def _unreached(url: str, error: OSError) -> NetworkError:
    reason = error.reason if isinstance(error, URLError) else error
    return NetworkError(f"{url}: {reason}; check the address and the network")


def _files(url: str, body: bytes) -> list[Archive]:
    """Return the files of a dataset that may be fetched, their ids in place of URLs."""
    try:
        entries = json.loads(body)["data"]["latestVersion"]["files"]
        files = [(bool(entry.get("restricted")), entry["dataFile"]) for entry in entries]
        found = [_file(item) for restricted, item in files if not restricted]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{url}: answers something else than a Dataverse dataset ({error!r}); check the host"
        ) from error
    if files and not found:
        raise NetworkError(f"{url}: all {len(files)} files of the dataset are restricted; ask its publisher for access")
    return found


def _file(item: dict[str, Any]) -> Archive:
    checksum = item.get("checksum") or ({"type": "MD5", "value": item["md5"]} if item.get("md5") else None)
    return Archive(
        str(item["filename"]),
        str(int(item["id"])),
        int(item["filesize"]),
        Checksum(str(checksum["type"]), str(checksum["value"])) if checksum else None,
    )
