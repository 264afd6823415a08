"""One library's place in a cache: what was fetched is put there, under the lock and within the limit."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from msl_store.cache.inventory import ABOUT_LIBRARY, LIBRARIES, PINS, URLS, pin_folders
from msl_store.cache.packs import HEADER_BYTES, append, key_of, pack_of, record, scan
from msl_store.cache.place import PLACE_SLACK_BYTES, cost_of, prepare_place, show_root, shown_root
from msl_store.cache.sizes import DISK_BLOCK, charge, rounded_up
from msl_store.cache.upkeep import repair
from msl_store.errors import MSLError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from msl_store.cache.change import Change
    from msl_store.cache.finding import Found
    from msl_store.cache.folder import CacheFolder
    from msl_store.cache.packs import Extent
    from msl_store.cache.place import LibraryKey

log = logging.getLogger("msl_store.cache")

PATIENCE_S = 10.0
"""How long a reader waits to put away what it has fetched; after that it goes on without."""

PORTION_BYTES = 16 * 2**20
"""About the most that is written while the lock is held once."""

LARGEST_PIECE_BYTES = 256 * 2**20
"""A longer piece is not kept, nor one that is longer than a quarter of the limit."""

PACK_SLACK_BYTES = 3 * DISK_BLOCK
"""What a pack may cost beyond its records: a block begun, one that maps its extents, one of its folder."""


class Fetched(NamedTuple):
    """A piece of an object: the object's path, the extent (None: all of it), and the bytes."""

    path: str
    extent: Extent
    body: memoryview

    @property
    def key(self) -> bytes:
        """What it is found by."""
        return key_of(self.path, self.extent)

    @property
    def cost(self) -> int:
        """Bytes of its record."""
        return HEADER_BYTES + len(self.body)


class Shelf:
    """The pieces of one library in a cache.

    Parameters
    ----------
    folder : CacheFolder
        The cache.
    key : LibraryKey
        The library.
    """

    def __init__(self, folder: CacheFolder, key: LibraryKey) -> None:
        self.folder = folder
        self.key = key
        self.place = key.folder(folder.path)
        self._told: set[str] = set()

    def places(self) -> list[Path]:
        """Return the folders where pieces of the library may lie now: its pins', then its own."""
        return [*pin_folders(self.place), self.place]

    def find(self, path: str, extents: Sequence[Extent], places: Sequence[Path] | None = None) -> Found:
        """Look for pieces of one object; no lock is taken, and what cannot be read is not there."""
        found = self.folder.finder.find(path, extents, self.places() if places is None else places)
        for pack in found.damaged.values():
            log.warning("%s: a piece of %s/%s is damaged; it is fetched again", pack, self.key.url, path)
        for pack in found.broken:
            log.warning("%s: is damaged, and cut off there; what is lost is fetched again when it is read", pack)
            with suppress(MSLError, OSError), self.folder.changing(patience_s=PATIENCE_S) as change:
                repair(change, pack, self.key.url)
        return found

    def enter(self) -> None:
        """Note that this is the library which its server shows now; pieces of the one before that are dropped."""
        if shown_root(self.folder.path, self.key.source) == self.key.root:
            return
        with self.folder.changing(patience_s=PATIENCE_S) as change:
            for holding in change.count().holdings:
                if holding.source == self.key.source and holding.root != self.key.root:
                    change.drop(holding)
            if change.reserve(PLACE_SLACK_BYTES):
                show_root(self.folder.path, self.key)
            change.count()

    def keep(self, pieces: Iterable[Fetched], damaged: Mapping[bytes, Path] | None = None) -> None:
        """Put away what was fetched, as far as that can be done: a reader goes on without it."""
        limit = self.folder.limit
        if not limit:
            self._tell_once("is no cache any more; what is read is not kept")
            return
        largest = min(LARGEST_PIECE_BYTES, limit // 4)
        fitting = []
        for piece in pieces:
            if piece.cost <= largest:
                fitting.append(piece)
            else:
                self._tell_once(f"pieces of more than {largest} bytes are not kept (limit {limit})")
        kept = 0
        try:
            for portion in portions(fitting, min(PORTION_BYTES, limit // 8)):
                with self.folder.changing(patience_s=PATIENCE_S) as change:
                    if shown_root(self.folder.path, self.key.source) not in (None, self.key.root):
                        self._tell_once("its server shows another library by now; open it again")
                        return
                    if not self.put(change, portion, self.place, damaged):
                        self._tell_once(f"what is pinned leaves no room (limit {limit}); what is read is not kept")
                        return
                kept += sum(piece.cost for piece in portion)
                if kept > limit // 2:  # one read that is larger than the cache would evict what it brought itself
                    return
        except (MSLError, OSError) as error:
            self._tell_once(f"{error}; what is read is not kept")

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.warning("%s: %s: %s", self.folder.path, self.key.url, text)

    def pin_place(self, name: str) -> Path:
        """Return the folder of a pin."""
        return self.place / PINS / name

    def put(
        self, change: Change, pieces: Sequence[Fetched], place: Path, damaged: Mapping[bytes, Path] | None = None
    ) -> bool:
        """Write pieces into the packs of a folder; those that are there already are left out, but for damaged ones.

        Returns
        -------
        bool
            False, with nothing written, where there is no room.

        Raises
        ------
        OSError
            The disk is full, or does not write.
        """
        damaged = damaged or {}
        packs: dict[Path, dict[bytes, Fetched]] = {}
        for piece in pieces:
            pack = damaged.get(piece.key, place / pack_of(piece.path, piece.extent))
            packs.setdefault(pack, {})[piece.key] = piece
        needed = PLACE_SLACK_BYTES
        for records in packs.values():
            needed += rounded_up(sum(piece.cost for piece in records.values())) + PACK_SLACK_BYTES
        if not change.reserve(needed):
            return False
        cache = self.folder.path
        around = {cache / LIBRARIES, cache / URLS, cache / URLS / f"{self.key.source}.json", self.place}
        around |= {self.place / ABOUT_LIBRARY, *(pack.parent for pack in packs)}
        before = cost_of(around)
        try:
            prepare_place(cache, self.key)
            written = sum(_extend(pack, records, damaged) for pack, records in packs.items() if pack.parent.is_dir())
        except OSError:
            change.count()
            raise
        change.book(used=cost_of(around) - before + written - needed, damaged=len(damaged))
        return True


def _extend(pack: Path, pieces: Mapping[bytes, Fetched], damaged: Mapping[bytes, Path]) -> int:
    """Append the pieces that a pack has not; return by how much that changes what it costs."""
    fd = os.open(pack, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        status = os.fstat(fd)
        index = scan(fd)
        if status.st_size > index.end:
            os.ftruncate(fd, index.end)
        records = [
            record(key, piece.body) for key, piece in pieces.items() if key in damaged or key not in index.offsets
        ]
        append(fd, index.end, records)
        return charge(os.fstat(fd)) - charge(status)
    finally:
        os.close(fd)


def portions(pieces: Sequence[Fetched], size: int = PORTION_BYTES) -> Iterator[list[Fetched]]:
    """Cut pieces into runs of at most that many bytes, or of one piece.

    >>> [len(run) for run in portions([Fetched("a", None, memoryview(bytes(52)))] * 5, 250)]
    [2, 2, 1]
    """
    run: list[Fetched] = []
    length = 0
    for piece in pieces:
        if run and length + piece.cost > size:
            yield run
            run, length = [], 0
        run.append(piece)
        length += piece.cost
    if run:
        yield run
