"""Where a library's pieces lie in a cache, and which library a URL holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msl_store.cache.inventory import ABOUT_LIBRARY, LIBRARIES, URLS, read_document, write_document
from msl_store.cache.sizes import DISK_BLOCK, charge

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PLACE_SLACK_BYTES = 12 * DISK_BLOCK
"""What the folders and documents of a library and a pin may cost."""


@dataclass(frozen=True)
class LibraryKey:
    """A library as a cache knows it.

    Attributes
    ----------
    url : str
        Where it lies, for people.
    source : str
        Stands for the URL and the server behind it, 32 hexadecimal digits.
    root : str
        SHA-256 of its root document, in hexadecimal: where that changes, it is another library.
    """

    url: str
    source: str
    root: str

    def folder(self, cache: Path) -> Path:
        """Return the library's folder in a cache."""
        name = hashlib.blake2b(f"{self.source}\0{self.root}".encode(), digest_size=16).hexdigest()
        return cache / LIBRARIES / name


def source_of(*parts: str) -> str:
    """Return what stands for a URL and the server behind it."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def shown_root(cache: Path, source: str) -> str | None:
    """Return the SHA-256 of the root document that a source's server showed last; None where a cache has none."""
    root = read_document(cache / URLS / f"{source}.json").get("root")
    return root if isinstance(root, str) else None


def show_root(cache: Path, key: LibraryKey) -> None:
    """Write down which root document a source's server has shown; the caller holds the lock."""
    (cache / URLS).mkdir(exist_ok=True)
    write_document(cache / URLS / f"{key.source}.json", {"url": key.url, "root": key.root})


def prepare_place(cache: Path, key: LibraryKey) -> None:
    """Make a library's folder where it has none; the caller holds the lock and has booked `place_bytes`."""
    if shown_root(cache, key.source) is None:
        show_root(cache, key)
    folder = key.folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"url": key.url, "source": key.source, "root": key.root}
    if read_document(folder / ABOUT_LIBRARY) != about:
        write_document(folder / ABOUT_LIBRARY, about)


def cost_of(paths: Iterable[Path]) -> int:
    """Return what some files and folders cost on the disk together; those that are not there cost nothing."""
    total = 0
    for path in paths:
        try:
            total += charge(path.stat())
        except FileNotFoundError:
            continue
    return total
