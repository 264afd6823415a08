"""Whatever is done to a cache, in any order: reads equal the source, the limit holds, pins and foreign files stay."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from disk_usage import used_bytes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from small_library import arrays_of, built, made_records, record_of, shown

import msl_store as msl
from msl_store.cache.sizes import byte_count
from msl_store.errors import NetworkError, UsageError

INSTANCES = st.sampled_from(shown())
LIMITS = st.sampled_from(["1 MB", "1.5 MB", "3 MB", "8 MB"])
ANY = st.integers(0, 10**6)
"""Which of some files, or which of their bytes: what there is depends on the clock, and a draw must not."""

FEW = st.lists(INSTANCES, min_size=1, max_size=4, unique=True)
PART_ARRAYS = {
    "mesh": ("vertices", "faces"),
    "point_cloud": ("points", "normals"),
    "occupancy": ("queries", "bits", "loc", "scale"),
    "images": ("counts",),
}
SOME_PARTS = st.lists(st.sampled_from(sorted(PART_ARRAYS)), min_size=1, unique=True)


def assert_reads(library, ids, parts):
    """Fail unless some parts are what the library was made from."""
    for found in library.instances(ids, parts=parts):
        read, made = arrays_of(record_of(found)), arrays_of(made_records()[found.id])
        for name in (name for part in parts for name in PART_ARRAYS[part]):
            assert (read[name] is None) == (made[name] is None or (name == "counts" and not made[name].any()))
            if read[name] is not None:
                np.testing.assert_array_equal(read[name], made[name], err_msg=f"{found.id} {name}")


class CacheMachine(RuleBasedStateMachine):
    """Sessions of readers of one library, and what happens to their cache meanwhile."""

    @initialize(limit=LIMITS)
    def make(self, limit):
        self.folder = Path(tempfile.mkdtemp(prefix="cache-machine-"))
        self.cache = msl.Cache(self.folder / "cache", limit)
        self.library = msl.open(built(), cache=self.cache)
        self.pins = {}
        self.foreign = {}

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def pack_at(self, pick):
        packs = sorted(pack for pack in self.cache.folder.rglob("*.pack") if pack not in self.foreign)
        return packs[pick % len(packs)] if packs else None

    @rule(ids=FEW, parts=SOME_PARTS)
    def read(self, ids, parts):
        assert_reads(self.library, ids, parts)

    @rule()
    def read_the_table(self):
        assert self.library.table.equals(msl.open(built()).table)

    @rule(sent=st.booleans())
    def another_session(self, sent):
        if sent:
            self.library = pickle.loads(pickle.dumps(self.library))
        else:
            self.cache = msl.Cache(self.cache.folder)
            self.library = msl.open(built(), cache=self.cache)

    @rule(limit=LIMITS)
    def allow_more_or_less(self, limit):
        if self.cache.info().pinned_bytes < 0.8 * byte_count(limit):
            msl.Cache(self.cache.folder, limit)

    @rule(ids=FEW, parts=SOME_PARTS)
    def pin(self, ids, parts):
        library = self.library.select(ids=ids)
        before = self.cache.info().pinned_bytes
        try:
            report = self.cache.pin(library, parts=parts)
        except UsageError:
            assert self.cache.info().pinned_bytes <= before
            return
        assert report.complete
        self.pins[report.id] = (ids, parts)

    def pin_at(self, pick):
        return sorted(self.pins)[pick % len(self.pins)] if self.pins else None

    @rule(pick=ANY)
    def unpin(self, pick):
        if name := self.pin_at(pick):
            self.cache.unpin(name)
            del self.pins[name]

    @rule(pick=ANY)
    def read_what_is_pinned_without_the_source(self, pick):
        if name := self.pin_at(pick):
            assert_reads(msl.open(built(), cache=msl.Cache(self.cache.folder, offline=True)), *self.pins[name])

    @rule(ids=FEW, parts=SOME_PARTS)
    def read_without_the_source(self, ids, parts):
        with suppress(NetworkError):
            assert_reads(msl.open(built(), cache=msl.Cache(self.cache.folder, offline=True)), ids, parts)

    @rule(pick=ANY, place=ANY, flip=st.integers(1, 255))
    def damage_a_byte(self, pick, place, flip):
        if pack := self.pack_at(pick):
            content = bytearray(pack.read_bytes())
            if content:
                content[place % len(content)] ^= flip
                pack.write_bytes(content)
            self.forget_pin_of(pack)

    @rule(pick=ANY, kept=ANY)
    def cut_a_pack_short(self, pick, kept):
        if pack := self.pack_at(pick):
            with pack.open("r+b") as file:
                file.truncate(kept % (pack.stat().st_size + 1))
            self.forget_pin_of(pack)

    def forget_pin_of(self, pack):
        """A pin that has lost something is no promise any more."""
        if pack.parent.parent.name == "pins":
            self.pins.pop(pack.parent.name, None)
            self.cache.unpin(pack.parent.name)

    @rule(pick=ANY)
    def take_a_pack_away(self, pick):
        if pack := self.pack_at(pick):
            self.forget_pin_of(pack)
            pack.unlink(missing_ok=True)

    @rule(high=st.integers(0, 8_000_000))
    def leave_what_killed_writers_leave(self, high):
        with self.cache._folder.changing() as change:
            change.book(used=high)
        for name in ("msl-cache.json.tmp", f"urls/{'0' * 32}.json.tmp"):
            if (self.cache.folder / name).parent.is_dir() and used_bytes(self.cache.folder) < self.cache.limit - 20_000:
                (self.cache.folder / name).write_text('{"half')

    @rule(pick=ANY, name=st.sampled_from(["notes.txt", "0.pack", "zarr.json", "meta-0.pack.bak", ".hidden"]))
    def put_a_foreign_file(self, pick, name):
        folders = [self.cache.folder, *(path for path in self.cache.folder.rglob("*") if path.is_dir())]
        place = sorted(folders)[pick % len(folders)]
        (place / name).write_text("mine")
        self.foreign[place / name] = "mine"

    @rule(pins=st.booleans())
    def clear(self, pins):
        self.cache.clear(pins=pins)
        if pins:
            self.pins.clear()

    @rule()
    def verify(self):
        self.cache.verify()
        assert self.cache.verify() == []

    @invariant()
    def the_limit_holds_and_foreign_files_stay(self):
        if not hasattr(self, "folder"):
            return
        assert used_bytes(self.cache.folder, but=self.foreign) <= self.cache.limit
        assert {path: path.read_text() for path in self.foreign} == self.foreign


CacheMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestCacheMachine = CacheMachine.TestCase
