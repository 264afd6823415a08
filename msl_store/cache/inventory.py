"""What lies in a cache's folder, by name and size: only what a cache writes is counted, and only that is deleted."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msl_store.cache.sizes import charge

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER, LOCK, LEDGER = "msl-cache.json", "lock", "ledger"
URLS, LIBRARIES, PINS = "urls", "libraries", "pins"
ABOUT_LIBRARY, ABOUT_PIN = "library.json", "pin.json"
UNFINISHED = ".tmp"
"""What the name of a document ends in until it is renamed."""

FOLDER = re.compile(r"[0-9a-f]{32}")
TOP_DOCUMENT = re.compile(r"msl-cache\.json(\.tmp)?")
URL_DOCUMENT = re.compile(r"[0-9a-f]{32}\.json(\.tmp)?")
LIBRARY_DOCUMENT = re.compile(r"library\.json(\.tmp)?")
PIN_DOCUMENT = re.compile(r"pin\.json(\.tmp)?")
PACK = re.compile(r"(meta-[0-9a-f]|[0-9a-f]{16}-\d+)\.pack")
TOP = {MARKER, MARKER + UNFINISHED, LOCK, LEDGER, URLS, LIBRARIES}


@dataclass(frozen=True)
class Pack:
    """A file of pieces: its place, what it costs on the disk, when it was last used (ns), and the pin that holds it."""

    path: Path
    cost: int
    used_ns: int
    pin: str | None = None

    @property
    def is_meta(self) -> bool:
        """Whether it holds what the library's other packs cannot be used without."""
        return self.path.name.startswith("meta-")


@dataclass(frozen=True)
class PinReport:
    """A pin: pieces that are never evicted.

    Attributes
    ----------
    id : str
        Its name, which follows from what was pinned.
    url : str
        The library.
    instances : int
        How many of its instances.
    parts : tuple of str
        Which parts of them.
    bytes : int
        What it costs on the disk.
    complete : bool
        Whether all of it is there; where not, pinning the same again goes on.
    """

    id: str
    url: str
    instances: int
    parts: tuple[str, ...]
    bytes: int
    complete: bool


@dataclass(frozen=True)
class Holding:
    """What is cached of one library at one URL.

    Attributes
    ----------
    folder : Path
        Where it lies.
    url : str
        The library's URL; '' where that was lost.
    source : str
        What stands for the URL and its server.
    root : str
        SHA-256 of its root document.
    packs : tuple of Pack
        Its pieces.
    pins : tuple of PinReport
        Its pins.
    bytes : int
        What all that costs on the disk.
    """

    folder: Path
    url: str
    source: str
    root: str
    packs: tuple[Pack, ...]
    pins: tuple[PinReport, ...]
    bytes: int

    @property
    def used_ns(self) -> int:
        """When any of it was last used, in ns since 1970."""
        return max((pack.used_ns for pack in self.packs), default=0)


@dataclass(frozen=True)
class Inventory:
    """Everything in a cache: the libraries' holdings, and the bytes of those and of what the cache itself needs."""

    holdings: tuple[Holding, ...]
    bytes: int

    @property
    def packs(self) -> list[Pack]:
        """All packs of all libraries."""
        return [pack for holding in self.holdings for pack in holding.packs]

    @property
    def pinned_bytes(self) -> int:
        """What all pins cost on the disk."""
        return sum(pin.bytes for holding in self.holdings for pin in holding.pins)

    @property
    def fixed_bytes(self) -> int:
        """What no eviction frees: pins, folders and documents."""
        return self.bytes - sum(pack.cost for pack in self.packs if pack.pin is None)


def take_inventory(folder: Path) -> Inventory:
    """Count what a cache has on the disk; what others put there is left out."""
    own = [entry for entry in _entries(folder) if entry.name in TOP]
    own += [entry for entry in _entries(folder / URLS) if _is_document(entry, URL_DOCUMENT)]
    holdings = tuple(_holdings(folder / LIBRARIES))
    total = _folder_cost(folder) + sum(map(_cost, own)) + sum(holding.bytes for holding in holdings)
    return Inventory(holdings, total)


def sweep(folder: Path) -> None:
    """Delete the documents that killed writers have left half written; the caller holds the lock."""
    places = {folder: TOP_DOCUMENT, folder / URLS: URL_DOCUMENT}
    for entry in _entries(folder / LIBRARIES):
        if _is_folder(entry):
            places[Path(entry.path)] = LIBRARY_DOCUMENT
            places |= dict.fromkeys(pin_folders(Path(entry.path)), PIN_DOCUMENT)
    for place, pattern in places.items():
        for entry in _entries(place):
            if entry.name.endswith(UNFINISHED) and _is_document(entry, pattern):
                Path(entry.path).unlink(missing_ok=True)


def _holdings(libraries: Path) -> Iterator[Holding]:
    for entry in _entries(libraries):
        if not _is_folder(entry):
            continue
        folder = Path(entry.path)
        about = read_document(folder / ABOUT_LIBRARY)
        cost = _folder_cost(folder)
        packs = []
        pins: list[PinReport] = []
        for inner in _entries(folder):
            if _is_pack(inner):
                packs.append(_pack(inner))
            elif _is_document(inner, LIBRARY_DOCUMENT):
                cost += _cost(inner)
            elif inner.name == PINS and inner.is_dir(follow_symlinks=False):
                cost += _folder_cost(folder / PINS)
                for report, held in map(_pinned, pin_folders(folder)):
                    pins.append(report)
                    packs += held
        cost += sum(pack.cost for pack in packs if pack.pin is None) + sum(pin.bytes for pin in pins)
        url, source, root = (str(about.get(name, "")) for name in ("url", "source", "root"))
        yield Holding(folder, url, source, root, tuple(packs), tuple(pins), cost)


def _pinned(folder: Path) -> tuple[PinReport, list[Pack]]:
    about = read_document(folder / ABOUT_PIN)
    entries = _entries(folder)
    packs = [_pack(entry, folder.name) for entry in entries if _is_pack(entry)]
    documents = sum(_cost(entry) for entry in entries if _is_document(entry, PIN_DOCUMENT))
    report = PinReport(
        folder.name,
        about.get("url", ""),
        about.get("instances", 0),
        tuple(about.get("parts", ())),
        _folder_cost(folder) + sum(pack.cost for pack in packs) + documents,
        complete=about.get("complete", False),
    )
    return report, packs


def pin_folders(library: Path) -> list[Path]:
    """Return the folders of a library's pins."""
    return [Path(entry.path) for entry in _entries(library / PINS) if _is_folder(entry)]


def packs_in(folder: Path) -> list[Path]:
    """Return the packs that lie in a folder."""
    return [Path(entry.path) for entry in _entries(folder) if _is_pack(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return FOLDER.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)


def _is_document(entry: os.DirEntry[str], pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)


def _is_pack(entry: os.DirEntry[str]) -> bool:
    return _is_document(entry, PACK)


def _pack(entry: os.DirEntry[str], pin: str | None = None) -> Pack:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return Pack(Path(entry.path), 0, 0, pin)
    return Pack(Path(entry.path), charge(status), status.st_mtime_ns, pin)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder; nothing where it has just gone."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _cost(entry: os.DirEntry[str]) -> int:
    with suppress(FileNotFoundError):
        return charge(entry.stat(follow_symlinks=False))
    return 0


def _folder_cost(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return charge(folder.stat())
    return 0


def read_document(path: Path) -> dict[str, Any]:
    """Return one of the cache's small JSON documents; {} where it is not there or is damaged."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write one of them, whole or not at all; the caller holds the lock."""
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(path)


def remove_pack(path: Path) -> None:
    """Delete a pack so that its blocks are free at once, also where a reader has it open; the caller holds the lock."""
    with suppress(FileNotFoundError):
        if path.stat().st_nlink == 1:  # else somebody has linked it elsewhere, and there it stays as it is
            os.truncate(path, 0)
        path.unlink()
