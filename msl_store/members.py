"""Which instances a library has: all of a store that are not set aside, or those chosen; by their ids."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.contents import instance_numbers, no_such
from msl_store.errors import MissingError
from msl_store.store import Want

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msl_store.store import Store


class Members:
    """Some instances of a store, and what the store says of itself.

    Parameters
    ----------
    store : Store
        The open store.
    rows : ndarray of int64, shape (instance,), optional
        The stored rows of those chosen; without it, of all that are not set aside.
    """

    def __init__(self, store: Store, rows: NDArray[np.int64] | None = None) -> None:
        self._store = store
        self._chosen = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, instance: object) -> bool:
        return instance in self._row_of

    @property
    def url(self) -> str:
        """Where the library lies."""
        return self._store.url

    @property
    def store(self) -> Store:
        """The open store, for those who read arrays themselves."""
        return self._store

    @property
    def attributes(self) -> dict[str, Any]:
        """Title, licence, citation, provenance and digest of the library."""
        return dict(self._store.attributes)

    @property
    def license(self) -> str:
        """The data's licence."""
        return str(self._store.attributes.get("license", "licence not stated"))

    @property
    def digest(self) -> str:
        """Digest of the whole library's content, as published."""
        return self._store.digest

    @property
    def lineage(self) -> tuple[str, ...]:
        """Digests of this library and of those that it was taken from by `msl_store.subset`, the nearest first."""
        return (self.digest, *(step["digest"] for step in self._store.attributes.get("derived_from", ())))

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        if self._chosen is not None:
            return self._chosen
        return np.setdiff1d(np.arange(len(self._store.ids)), self._store.groups["instances"].get("set_aside", []))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The instances' 3DMSL ids, shape (instance,), in the library's order."""
        return self._store.ids[self._rows]

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return dict(zip(self.ids.tolist(), self._rows.tolist(), strict=True))

    def rows_of(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Return the stored rows of some instances; `MissingError` names those that are not here."""
        wanted = instance_numbers(ids)
        missing = [instance for instance in wanted if instance not in self._row_of]
        if missing:
            what = "" if self._chosen is None else " (a selection of it)"
            raise MissingError(f"{self.url}{what}: {no_such(missing, wanted, self.ids)}")
        return np.array([self._row_of[instance] for instance in wanted], np.int64)

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """What was wrong with the source: dicts with ``instance`` (None where unknown), ``place`` and ``reason``."""
        (text,) = self._store.read([Want("instances/findings")])
        found: list[dict[str, Any]] = json.loads(text.tobytes() or b"[]")
        return found

    def stored_digest(self, instance: int) -> NDArray[np.uint8]:
        """Return the SHA-256 of an instance's arrays as it was published with the library, shape (32,)."""
        digests = self._store.columns(["instances/digest"])["instances/digest"]
        digest: NDArray[np.uint8] = digests[self.rows_of(instance)[0]]
        return digest
