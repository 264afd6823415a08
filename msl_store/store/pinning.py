"""Pins: all that reading a library, or a subset of one, takes is brought into a cache and stays there."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import numpy as np

from msl_store.cache import Fetched, begin_pin, complete_pin, portions, remove_pin
from msl_store.cache.sizes import size_text
from msl_store.errors import IntegrityError, MissingError, UsageError
from msl_store.store.cached import CachedObjects, proves_itself
from msl_store.store.reading import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from msl_store.cache import CacheFolder, Shelf
    from msl_store.store.objects import Range, Request
    from msl_store.store.pieces import Want
    from msl_store.store.reading import Store


class Pinnable(Protocol):
    """What can be pinned: a library or a subset of one."""

    @property
    def url(self) -> str:
        """Where it lies."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Its instances."""

    @property
    def parts(self) -> Sequence[str]:
        """The parts that they may have."""

    def wants(self, parts: Sequence[str]) -> Iterator[tuple[Store, list[Want]]]:
        """Yield what reading it takes, in batches, each of one store: columns first, also where no part is named."""


def pin_name(library: Pinnable, parts: Sequence[str]) -> str:
    """Return the name of a pin, which follows from the libraries, the instances and the parts."""
    digests = sorted({store.digest for store, _ in library.wants(())})
    ids = np.sort(np.asarray(library.ids, "<i8")).tobytes()
    return hashlib.blake2b("\0".join([*digests, *sorted(parts)]).encode() + ids, digest_size=16).hexdigest()


def pin(folder: CacheFolder, library: Pinnable, parts: Sequence[str], *, progress: Callable[[int, int], None]) -> str:
    """Bring all of a library's parts into a cache, or go on where an earlier attempt stopped; return the pin's name.

    Parameters
    ----------
    folder : CacheFolder
        The cache.
    library : Pinnable
        What to pin; opened with this cache.
    parts : sequence of str
        Which parts of its instances.
    progress : callable
        Called with the bytes brought, and the bytes of all.

    Raises
    ------
    UsageError
        The library was opened without this cache; or the pin does not fit beside what is pinned already, and then
        nothing of it stays pinned.
    IntegrityError
        The library has changed, or something of it is damaged or missing; nothing of it stays pinned.
    NetworkError
        The server cannot be reached; pinning the same again goes on.
    """
    name = pin_name(library, parts)
    opened = {store.url: _opened_with(folder, store) for store, _ in library.wants(())}
    needed = sum(_size(requests) for _, requests in _requests(library, parts))
    _refuse_too_large(folder, name, needed)
    about = {"url": library.url, "instances": len(library.ids), "parts": list(parts)}
    brought = fetched = 0
    progress(0, needed)
    try:
        for objects, shelf in opened.values():
            _refuse_unless(begin_pin(shelf, name, about), folder, needed)
            _put(shelf, name, [Fetched(ROOT, None, memoryview(objects.get(ROOT)))], needed)
        for url, requests in _requests(library, parts):
            objects, shelf = opened[url]
            fetched += _bring(objects, shelf, name, requests, needed)
            brought += _size(requests)
            progress(brought, needed)
        for objects, shelf in opened.values():
            if fetched:
                _refuse_changed(objects, shelf)
            complete_pin(shelf, name)
    except (UsageError, IntegrityError):
        with suppress(MissingError):
            unpin(folder, name)
        raise
    return name


def unpin(folder: CacheFolder, name: str) -> None:
    """Undo a pin, named by its id or the beginning of it: what it held is evicted like everything else from now on.

    Raises
    ------
    MissingError
        There is no such pin.
    UsageError
        The ids of several pins begin like this.
    """
    with folder.changing() as change:
        pins = change.pins()
        meant = [known for known in pins if name and known.startswith(name)]
        if not meant:
            raise MissingError(f"{folder.path}: has no pin {name}; it has {', '.join(pins) or 'none'}")
        if len(meant) > 1:
            raise UsageError(f"{folder.path}: pin {name!r} may be {' or '.join(meant)}; give more of its id")
        for place in pins[meant[0]]:
            remove_pin(change, place)


def _opened_with(folder: CacheFolder, store: Store) -> tuple[CachedObjects, Shelf]:
    objects = store.objects
    if not isinstance(objects, CachedObjects) or objects.shelf is None or objects.folder.path != folder.path:
        raise UsageError(
            f"{store.url}: was opened without this cache ({folder.path}); allowed is a library that "
            "msl_store.open(url, cache=cache) returned, and subsets of it"
        )
    return objects, objects.shelf


def _requests(library: Pinnable, parts: Sequence[str]) -> Iterator[tuple[str, list[Request]]]:
    """Yield which bytes of which objects reading a library takes, batch by batch; unknown shard indexes are fetched."""
    for store, wants in library.wants(parts):
        pieces = [piece for want in wants for piece in store.pieces(want)]
        for fault in store.learn(pieces).values():
            raise fault
        whole = {piece.path for piece in pieces if piece.array.shard is None}
        ranges: dict[str, set[Range]] = {}
        for piece in pieces:
            if piece.array.shard is not None:
                ranges.setdefault(piece.path, {(0, piece.array.shard_index_bytes)}).add(store.range_of(piece))
        requests: list[Request] = [(path, None) for path in sorted(whole)]
        yield store.url, [*requests, *((path, sorted(wanted)) for path, wanted in ranges.items())]


def _size(requests: Sequence[Request]) -> int:
    """Return the bytes of some requests; those of whole objects are not known yet and count nothing."""
    return sum(stop - start for _, ranges in requests for start, stop in ranges or ())


def _bring(objects: CachedObjects, shelf: Shelf, name: str, requests: Sequence[Request], needed: int) -> int:
    """Put what some requests ask for into a pin, unless it is there; return how many pieces were fetched for that."""
    wanted: list[Request] = []
    for path, ranges in requests:
        extents: list[Range | None] = [None] if ranges is None else list(ranges)
        bodies = shelf.find(path, extents, [shelf.pin_place(name)]).bodies
        left = [extent for extent, body in zip(extents, bodies, strict=True) if body is None]
        if left:
            wanted.append((path, None if ranges is None else [extent for extent in left if extent is not None]))
    answers, fetched = objects.find_without_keeping(wanted)
    pieces = []
    for (path, ranges), parts in zip(wanted, answers, strict=True):
        if parts is None:
            raise IntegrityError(f"{objects.url}/{path}: is missing, so it cannot be pinned; copy this library again")
        asked: list[Range | None] = [None] if ranges is None else list(ranges)
        for extent, part in zip(asked, parts, strict=True):
            if not proves_itself(part):
                raise IntegrityError(f"{objects.url}/{path}: {extent or 'whole'}: fails its checksum; copy it again")
            pieces.append(Fetched(path, extent, part))
    _put(shelf, name, pieces, needed)
    return fetched


def _put(shelf: Shelf, name: str, pieces: Sequence[Fetched], needed: int) -> None:
    for portion in portions(pieces):
        with shelf.folder.changing() as change:
            fits = shelf.put(change, portion, shelf.pin_place(name))
        _refuse_unless(fits, shelf.folder, needed)


def _refuse_changed(objects: CachedObjects, shelf: Shelf) -> None:
    if hashlib.sha256(objects.server_root()).hexdigest() != shelf.key.root:
        raise IntegrityError(f"{objects.url}: has changed while it was being pinned; open it and pin it again")


def _refuse_too_large(folder: CacheFolder, name: str, needed: int) -> None:
    inventory, _ = folder.report()
    own = sum(pin.bytes for holding in inventory.holdings for pin in holding.pins if pin.id == name)
    _refuse_unless(needed + inventory.fixed_bytes - own <= folder.limit, folder, needed)


def _refuse_unless(fits: object, folder: CacheFolder, needed: int) -> None:
    if not fits:
        pinned = folder.report()[0].pinned_bytes
        raise UsageError(
            f"{folder.path}: the pin needs {size_text(needed)} or more, but the cache's limit is "
            f"{size_text(folder.limit)}, and {size_text(pinned)} are pinned; pin fewer instances or "
            "parts, unpin something, or allow more"
        )
