"""A change of a cache, by the one who holds its lock: bytes are booked before they are written, the oldest evicted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msl_store.cache.inventory import (
    ABOUT_LIBRARY,
    ABOUT_PIN,
    LEDGER,
    MARKER,
    PINS,
    URLS,
    read_document,
    remove_pack,
    sweep,
    take_inventory,
)
from msl_store.cache.ledger import Ledger, read_ledger, write_ledger
from msl_store.cache.sizes import DISK_BLOCK

if TYPE_CHECKING:
    from pathlib import Path

    from msl_store.cache.inventory import Holding, Inventory

AHEAD = 64
"""An eviction frees this part of the limit more than it must, so that the next writers need not look for the oldest."""


SPARE_BYTES = 4 * DISK_BLOCK
"""Left free for a document that is written anew, which is there twice for a moment."""


class Change:
    """The right to change a cache, as long as its lock is held.

    Attributes
    ----------
    path : Path
        The cache's folder.
    limit : int
        The most bytes it may have on the disk.
    ledger : Ledger
        What is known of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.limit = int(read_document(path / MARKER).get("limit", 0))
        found = read_ledger(path / LEDGER)
        self.ledger = Ledger() if found is None else found
        if found is None:
            self._keep(self.ledger)  # counts itself
            self.count()

    def book(self, *, used: int = 0, hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        """Add to the ledger's numbers."""
        old = self.ledger
        self._keep(Ledger(old.used + used, old.hits + hits, old.misses + misses, old.damaged + damaged))

    def _keep(self, ledger: Ledger) -> None:
        self.ledger = ledger
        write_ledger(self.path / LEDGER, ledger)

    def count(self) -> Inventory:
        """Count what is on the disk, after sweeping what killed writers have left."""
        sweep(self.path)
        inventory = take_inventory(self.path)
        self._keep(replace(self.ledger, used=inventory.bytes))
        return inventory

    def reserve(self, needed: int) -> bool:
        """Book bytes that are about to be written, after evicting what was used longest ago where there is no room.

        False, with nothing booked, where what is pinned leaves too little.
        """
        most = self.limit - SPARE_BYTES - needed
        if self.ledger.used > most:
            self.evict(most)
        if self.ledger.used > most:
            return False
        self.book(used=needed)
        return True

    def evict(self, most: int) -> None:
        """Delete what was used longest ago until at most so many bytes are left, or only what is pinned.

        A library's meta packs go after its others, which are of no use without them.
        """
        inventory = self.count()
        used = inventory.bytes
        if used <= most:
            return
        goal = most - self.limit // AHEAD
        left = [len(holding.packs) + len(holding.pins) for holding in inventory.holdings]
        ages = sorted(
            (holding.used_ns if pack.is_meta else pack.used_ns, pack.is_meta, place, number)
            for place, holding in enumerate(inventory.holdings)
            for number, pack in enumerate(holding.packs)
            if pack.pin is None
        )
        for _, _, place, number in ages:
            if used <= goal:
                break
            pack = inventory.holdings[place].packs[number]
            remove_pack(pack.path)
            used -= pack.cost
            left[place] -= 1
        for place, holding in enumerate(inventory.holdings):
            if not left[place]:
                self.forget(holding)
        self._keep(replace(self.ledger, used=used))

    def pins(self) -> dict[str, list[Path]]:
        """Return the folders of every pin by its name."""
        found: dict[str, list[Path]] = {}
        for holding in self.count().holdings:
            for pin in holding.pins:
                found.setdefault(pin.id, []).append(holding.folder / PINS / pin.id)
        return found

    def drop(self, holding: Holding, *, pins: bool = False) -> None:
        """Delete what is cached of a library, its pins only where that is asked for."""
        for pack in holding.packs:
            if pins or pack.pin is None:
                remove_pack(pack.path)
        if pins:
            for pin in holding.pins:
                folder = holding.folder / PINS / pin.id
                (folder / ABOUT_PIN).unlink(missing_ok=True)
                remove_if_empty(folder)
        if pins or not holding.pins:
            self.forget(holding)

    def forget(self, holding: Holding) -> None:
        """Remove the folder and the documents of a library that has no pieces left."""
        about = read_document(holding.folder / ABOUT_LIBRARY)
        pointer = self.path / URLS / f"{about.get('source', '')}.json"
        if about and read_document(pointer).get("root") == about["root"]:
            pointer.unlink(missing_ok=True)
        (holding.folder / ABOUT_LIBRARY).unlink(missing_ok=True)
        remove_if_empty(holding.folder / PINS)
        remove_if_empty(holding.folder)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless it holds anything, which then is not the cache's."""
    try:
        folder.rmdir()
    except OSError:
        return
