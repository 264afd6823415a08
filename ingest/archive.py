"""The published archives as a source: zips read in place, on a disk, in a bucket or on a web server."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ingest import dataverse
from ingest.contents import Limits, ZipEntry, read_contents
from ingest.formats import read_npz, read_off, read_ply, read_tiff
from ingest.layout import IMAGES, MESH, OCCUPANCY, POINT_CLOUD
from ingest.locations import find_archives
from ingest.record import Entry, Finding, Images, Listing, Record
from ingest.zipdir import unpack
from msl_store.errors import FormatError, IntegrityError, UsageError
from msl_store.schema import IMAGE_SHAPE, MICROSCOPES, VIEWS
from msl_store.store.objects import locate_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ingest.place import Archive

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE = 8
"""Archives whose directories are read at the same time."""

_AHEAD = 2
"""Instances that are fetched and decoded while the one before them is in use."""


@dataclass(frozen=True)
class ZipListing(Listing):
    """What some zip archives hold.

    Attributes
    ----------
    archives : tuple of Archive
        All of them, also those that could not be read, with the publisher's checksums where there are any.
    """

    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True, eq=False)
class ZipSource:
    """Zip archives in the published layout, read in place.

    Parameters
    ----------
    location : str or sequence of str
        Zips (paths or URLs), folders, prefixes or globs of zips, or DOIs; see `ingest.locations.find_archives`.
    storage_options : mapping, optional
        As `msl_store.store.objects.locate` takes them.
    limits : Limits, optional
        The most bytes that a file may claim or yield.
    resolver : str, optional
        The DOI resolver's URL.
    """

    location: str | Sequence[str]
    storage_options: Mapping[str, Any] | None = None
    limits: Limits = field(default_factory=Limits, kw_only=True)
    resolver: str = field(default=dataverse.RESOLVER, kw_only=True)

    @property
    def _locations(self) -> list[str]:
        return [self.location] if isinstance(self.location, str) else list(self.location)

    @property
    def name(self) -> str:
        """The locations as they were given."""
        return ", ".join(self._locations)

    def listing(self) -> ZipListing:
        """List the instances without reading bodies.

        An archive that is damaged or holds no instance is a finding, and so is an id that comes a second time.

        Raises
        ------
        MissingError
            If there is no archive where one is named.
        FormatError
            If no archive holds an instance that can be read.
        NetworkError
            If an archive cannot be reached: a listing without it would make another library.
        """
        archives = find_archives(self._locations, self.storage_options, resolver=self.resolver)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            contents = list(pool.map(self._contents, archives))
        entries: dict[int, ZipEntry] = {}
        findings: list[Finding] = []
        for listed, found in contents:
            findings += found
            for entry in listed:
                first = entries.setdefault(entry.id, entry)
                if first is not entry:
                    reason = f"is instance {entry.id} a second time; the one in {first.origin}: {first.folder} is used"
                    findings.append(Finding(f"{entry.origin}: {entry.folder}", reason, entry.id))
        if not entries:
            raise FormatError(f"{self.name}: no archive holds an instance: {'; '.join(map(str, findings[:3]))}")
        return ZipListing(
            tuple(entries[number] for number in sorted(entries)), tuple(findings), archives=tuple(archives)
        )

    def _contents(self, archive: Archive) -> tuple[list[ZipEntry], list[Finding]]:
        """Return what an archive holds, damage as a finding."""
        try:
            return read_contents(archive, self.storage_options, limits=self.limits)
        except IntegrityError as error:
            return [], [Finding(archive.name, str(error))]

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        """Read some instances, one at a time in the order asked for.

        The next ones are fetched and decoded meanwhile. Damage becomes findings; what the listing found comes along.

        Raises
        ------
        UsageError
            If an entry is another source's.
        MissingError, NetworkError
            If an archive is no longer there or cannot be reached.
        """
        place = cache(lambda url: locate_file(url, self.storage_options))

        def fetch(entry: Entry) -> tuple[ZipEntry, list[memoryview] | IntegrityError]:
            if not isinstance(entry, ZipEntry):
                raise UsageError(f"instance {entry.id} of {entry.origin} is another kind of source's; list this source")
            objects, path = place(entry.url)
            try:
                return entry, objects.get_ranges(path, [(member.offset, member.stop) for member in entry.members])
            except IntegrityError as error:
                return entry, error

        yield from _ahead(lambda entry: _record(*fetch(entry)), entries)


def open_source(locations: Sequence[str], storage_options: Mapping[str, Any] | None = None) -> ZipSource:
    """Return the source that some locations name: zips, folders, globs, ``s3://``, ``https://`` or ``doi:``.

    Nothing is asked for before `ZipSource.listing`. Raises `UsageError` where no location is given.
    """
    if not locations:
        raise UsageError("no source is named; give a zip, a folder or glob of zips, s3://, https:// or doi:")
    return ZipSource(tuple(locations), storage_options)


def _ahead(work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield the results of some work in order, that on the next few items under way meanwhile."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _record(entry: ZipEntry, blocks: list[memoryview] | IntegrityError) -> Record:
    """Decode an instance's parts; a damaged one is None and has a finding."""
    findings = list(entry.findings)
    if isinstance(blocks, IntegrityError):
        findings.append(Finding(f"{entry.origin}: {entry.folder}", str(blocks), entry.id))
        return Record(entry.id, findings=tuple(findings))
    found = dict(zip(entry.parts, zip(entry.members, blocks, strict=True), strict=True))

    def decoded(part: str, reader: Callable[[bytes], T]) -> T | None:
        if part not in found:
            return None
        member, block = found[part]
        try:
            return reader(unpack(member, block))
        except FormatError as error:
            findings.append(Finding(f"{entry.origin}: {member.path}", str(error), entry.id))
            return None

    mesh = decoded(MESH, read_off)
    occupancy = decoded(OCCUPANCY, read_npz)
    cloud = decoded(POINT_CLOUD, read_ply)
    counts = np.zeros((len(IMAGES), *IMAGE_SHAPE), np.uint16)
    present = np.zeros(len(IMAGES), np.bool_)
    for at, part in enumerate(IMAGES):
        image = decoded(part, read_tiff)
        if image is not None:
            counts[at], present[at] = image, True
    grid = (len(MICROSCOPES), len(VIEWS))
    images = Images(counts.reshape(*grid, *IMAGE_SHAPE), present.reshape(grid)) if present.any() else None
    return Record(entry.id, mesh, cloud, occupancy, images, tuple(dict.fromkeys(findings)))
