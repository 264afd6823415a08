"""Publish a library: claim the target, write blocks in any order, resume, and make it visible by the last write.

Until it is published, a library has no root metadata and so does not open. Its plan, the claim of the run that writes
it and one record a finished block lie under ``_unpublished``; that folder goes when the root metadata is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from msl_store import schema
from msl_store.digest import column_digest
from msl_store.errors import FormatError, MissingError, UsageError
from msl_store.layout import Layout
from msl_store.store.claims import CLAIMS, held
from msl_store.store.reading import ROOT, UNPUBLISHED
from msl_store.store.writing import column_object, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from msl_store.store.objects import Body, Objects

PLAN = f"{UNPUBLISHED}/plan.json"
BLOCKS = f"{UNPUBLISHED}/blocks"
REPLACING = f"{UNPUBLISHED}/replacing.json"

PUTS_AT_ONCE = 8
"""Columns and documents that are written at the same time: each is small, and to a bucket a round trip."""

State = Literal["new", "resumed", "published"]

Record = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What is noted of a block that is done, as JSON types."""


class Publication:
    """One library on its way to a target.

    Parameters
    ----------
    objects : Objects
        The target.
    layout : Layout
        Of the library.
    plan : mapping
        JSON that names everything the result depends on; a target resumes under an equal plan only.
    digest : str
        A digest of the plan; the published library carries it.
    """

    def __init__(self, objects: Objects, layout: Layout, plan: Mapping[str, Any], digest: str) -> None:
        self.objects = objects
        self.layout = layout
        self._plan = {**plan, "digest": digest}
        self._digest = digest

    @contextmanager
    def claimed(self, *, overwrite: bool = False) -> Iterator[State]:
        """Hold the target for this run and say how far it is.

        Raises
        ------
        BusyError
            Another run holds it.
        UsageError
            It holds a library made by another plan, and `overwrite` is not set; or objects of something else.
        """
        if not overwrite and self._published():
            self._sweep()
            yield "published"
            return
        with held(self.objects):
            if self.objects.exists(REPLACING) or (overwrite and self._is_ours()):
                self._clear()
            yield "published" if self._published() else self._begin()
        if self.objects.exists(ROOT):
            self._sweep()

    def make_way(self, *, overwrite: bool) -> None:
        """Do the work of the function of this name."""
        if overwrite:
            with held(self.objects):
                if self.objects.exists(REPLACING) or self._is_ours():
                    self._clear()
        self._published()
        if not self.objects.exists(PLAN):
            self._refuse_foreign_objects()

    def _published(self) -> bool:
        """Whether this plan's library is there already; `UsageError` where another one is."""
        try:
            document = json.loads(self.objects.get(ROOT))
        except MissingError:
            return False
        except json.JSONDecodeError as error:
            raise FormatError(f"{self.objects.url}/{ROOT}: {error}; remove it or choose another target") from error
        attributes = document.get("attributes", {})
        if attributes.get("plan_digest") == self._digest:
            return True
        raise UsageError(
            f"{self.objects.url}: holds a library made from something else "
            f"({attributes.get('title', 'untitled')}, {attributes.get('source', 'source unknown')}); "
            "the source or the selection has changed: choose another target, or pass --overwrite to replace it"
        )

    def _begin(self) -> State:
        try:
            before = json.loads(self.objects.get(PLAN))
        except MissingError:
            self._refuse_foreign_objects()
            self.objects.put(PLAN, json.dumps(self._plan, indent=1).encode())
            return "new"
        if before.get("digest") == self._digest:
            return "resumed"
        changed = sorted(name for name in {*before, *self._plan} if before.get(name) != self._plan.get(name))
        raise UsageError(
            f"{self.objects.url}: an unfinished library with another plan is here (changed: {', '.join(changed)}); "
            "give the same source and selection to finish it, or pass --overwrite to start anew"
        )

    def _refuse_foreign_objects(self) -> None:
        """Raise `UsageError` where a new library would lie among objects that no library put there."""
        folder = self.objects.path
        beside = {*schema.GROUPS, UNPUBLISHED, ROOT}
        foreign = [path for group in schema.GROUPS for path, _ in self.objects.list(group)]
        if folder is not None and folder.is_dir():
            foreign += sorted({each.name for each in folder.glob("[!.]*")} - beside)
        if foreign:
            raise UsageError(
                f"{self.objects.url}: holds objects of something else ({foreign[0]}); choose a place of its own for "
                "the library, or remove them"
            )

    def _is_ours(self) -> bool:
        """Whether a library is here, finished or not, that may be replaced."""
        if self.objects.exists(PLAN):
            return True
        try:
            return "msl_schema_version" in json.loads(self.objects.get(ROOT)).get("attributes", {})
        except (MissingError, ValueError):
            return False

    def _clear(self) -> None:
        """Delete a library that is replaced, its root metadata first so that it does not open half gone.

        A mark says so until all is gone: the next run goes on with it where this one is stopped.
        """
        self.objects.put(REPLACING, b"{}")
        self.objects.delete(ROOT)
        for folder in (*schema.GROUPS, UNPUBLISHED):
            for path, _ in self.objects.list(folder):
                if not path.startswith((CLAIMS, REPLACING)):
                    self.objects.delete(path)
        self.objects.delete(REPLACING)

    def finished_blocks(self) -> set[int]:
        """Return the blocks that need no more work."""
        names = (path.rpartition("/")[2] for path, _ in self.objects.list(BLOCKS))
        return {int(name.removesuffix(".json")) for name in names}

    def records(self) -> list[dict[str, Any]]:
        """Return every block's record, in the blocks' order."""
        paths = [_record_path(block) for block in range(self.layout.blocks)]
        answers = self.objects.get_many([(path, None) for path in paths])
        return [json.loads(bytes(part)) for (part,) in answers]

    def publish(
        self,
        columns: Mapping[str, NDArray[Any]],
        attributes: Mapping[str, Any],
        group_attributes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Write the columns and the metadata, the root's last.

        The root's attributes get the plan's digest, every column's digest (``column_digests``, so that a wrong column
        is noticed) and how many instances have what (``counts``, so that opening a library tells).
        """
        lengths = {}
        stored = {}
        objects: list[tuple[str, bytes]] = []
        for spec in self.layout.arrays:
            if spec.kind == "column":
                values = columns[spec.path]
                lengths[spec.path] = len(values)
                array = self.layout.array(spec, length=len(values))
                if values.shape != array.shape:
                    raise ValueError(f"{spec.path}: has shape {values.shape}, the layout {array.shape}")
                stored[spec.path] = values.astype(spec.dtype)
                objects.append(column_object(array, stored[spec.path]))
        attributes = {
            **attributes,
            "plan_digest": self._digest,
            "column_digests": {path: column_digest(values) for path, values in sorted(stored.items())},
            "counts": schema.counts(stored),
        }
        documents = metadata(self.layout, lengths, attributes, group_attributes)
        root = documents.pop(ROOT)
        with ThreadPoolExecutor(PUTS_AT_ONCE, thread_name_prefix="msl-store-publish") as pool:
            list(pool.map(lambda each: self.objects.put(*each), [*objects, *documents.items()]))
        self.objects.put(ROOT, root)

    def _sweep(self) -> None:
        """Delete what only an unpublished library needs."""
        for path, _ in self.objects.list(UNPUBLISHED):
            self.objects.delete(path)
        self.objects.sweep()


class BlockObjects(Protocol):
    """What makes a block: a `BlockWriter`, for one."""

    def objects(self) -> Iterator[tuple[str, Body]]:
        """Yield every stored object of the block as (path, bytes)."""


def put_shards(objects: Objects, writer: BlockObjects) -> int:
    """Write the shards that a block's writer holds, before the block is whole; return the bytes written."""
    written = 0
    for path, data in writer.objects():
        objects.put(path, data)
        written += sum(memoryview(part).nbytes for part in (data if isinstance(data, list) else [data]))
    return written


def commit_block(objects: Objects, block: int, writer: BlockObjects, record: Record) -> int:
    """Write a block's shards and then its record, asked for when they are written; return the bytes written."""
    written = put_shards(objects, writer)
    found = record() if callable(record) else record
    objects.put(_record_path(block), json.dumps({"bytes": written, **found}).encode())
    return written


def joined(records: Sequence[Mapping[str, Any]], path: str, dtype: str) -> NDArray[Any]:
    """Return one column of all blocks' records, which hold their columns as nested lists."""
    return np.concatenate([np.asarray(record["columns"][path], dtype) for record in records])


def make_way(objects: Objects, *, overwrite: bool) -> None:
    """Find out whether a new library may go to a place, long before it is written; with `overwrite`, clear the place.

    Raises
    ------
    UsageError
        The place holds a library and is not to be overwritten, or objects of something else.
    BusyError
        Another run is writing there.
    """
    Publication(objects, Layout(0, {}), {}, "").make_way(overwrite=overwrite)


def _record_path(block: int) -> str:
    return f"{BLOCKS}/{block:06d}.json"
