"""`Objects` as the store that zarr-python reads from, so that any Zarr array opens wherever a library does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from msl_store.errors import MissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from msl_store.store.objects import Objects, Range


class ReadOnlyObjects(Store):
    """A place as a Zarr store that is read only and is never listed, as web servers cannot be.

    Parameters
    ----------
    objects : Objects
        The place.
    """

    def __init__(self, objects: Objects) -> None:
        super().__init__(read_only=True)
        self._objects = objects

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadOnlyObjects) and self._objects.url == other._objects.url

    __hash__ = None  # type: ignore[assignment]

    def _get(self, key: str, wanted: ByteRequest | None) -> memoryview | None:
        ranges: list[Range] | None = None
        try:
            if isinstance(wanted, RangeByteRequest):
                ranges = [(wanted.start, wanted.end)]
            elif isinstance(wanted, OffsetByteRequest):
                ranges = [(wanted.offset, self._objects.size(key))]
            elif isinstance(wanted, SuffixByteRequest):
                size = self._objects.size(key)
                ranges = [(max(0, size - wanted.suffix), size)]
        except MissingError:
            return None
        (parts,) = self._objects.find_many([(key, ranges)])
        return parts[0] if parts else None

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object or a part of it, None where there is none."""
        data = await asyncio.to_thread(self._get, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(bytes(data))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, wanted) for key, wanted in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return await asyncio.to_thread(self._objects.exists, key)

    @property
    def supports_writes(self) -> bool:
        """Return False."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """Return False."""
        return False

    @property
    def supports_listing(self) -> bool:
        """Return False."""
        return False

    def _refuse(self) -> Any:
        raise UsageError(f"{self._objects.url}: this Zarr array is open for reading only, and is not listed")

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    async def delete(self, key: str) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def list(self) -> AsyncIterator[str]:
        """Refuse."""
        return self._refuse()  # type: ignore[no-any-return]

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:  # noqa: ARG002
        """Refuse."""
        return self._refuse()  # type: ignore[no-any-return]

    def list_dir(self, prefix: str) -> AsyncIterator[str]:  # noqa: ARG002
        """Refuse."""
        return self._refuse()  # type: ignore[no-any-return]
