"""A cache's folder is its own, has one limit for everybody, and is changed by one at a time."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time

import pytest
from disk_usage import tree_of, used_bytes
from hypothesis import given
from hypothesis import strategies as st
from made_pieces import chunk, piece_of, shelf_at

from msl_store.cache import CacheFolder, begin_pin
from msl_store.cache.lock import locked
from msl_store.cache.sizes import byte_count
from msl_store.errors import BusyError, FormatError, UsageError


def prepared(path, limit=None):
    folder = CacheFolder(path)
    folder.prepare(limit)
    return folder


# --- sizes


@given(st.integers(0, 10**6), st.sampled_from(["", " "]))
def test_a_size_is_its_number_times_its_unit(number, space):
    units = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "GiB": 2**30}
    for unit, size in units.items():
        assert byte_count(f"{number}{space}{unit}") == byte_count(f"{number}{space}{unit.lower()}") == number * size
    assert byte_count(number) == number


@pytest.mark.parametrize("size", ["", "GB", "-1 GB", "1 XB", "1 GB 2", "1,5 GB", "nan", -1, 1.5, None, True])
def test_what_is_no_size_says_what_one_is(size):
    with pytest.raises(UsageError, match=r"size .*: allowed is a number of bytes, or text such as '20 GB'"):
        byte_count(size)


def test_fractions_of_a_unit():
    assert byte_count("1.5 GB") == 1_500_000_000
    assert byte_count(".5 KiB") == 512


# --- the folder


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "libraries").mkdir()
    with pytest.raises(UsageError, match=r"holds other files \(thesis.tex\); a cache needs a folder of its own"):
        prepared(tmp_path, "2 MB")
    assert tree_of(tmp_path) == {"thesis.tex": b"mine"}
    with pytest.raises(UsageError, match=r"thesis.tex: is a file; a cache needs a folder of its own"):
        prepared(tmp_path / "thesis.tex", "2 MB")


def test_a_new_or_empty_folder_becomes_a_cache_if_it_is_given_a_limit(tmp_path):
    with pytest.raises(UsageError, match="there is no cache here yet; give it a limit, as in limit='20 GB'"):
        prepared(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="a limit of '999 kB' is too small for a cache; allowed: 1 MB or more"):
        prepared(tmp_path, "999 kB")
    assert prepared(tmp_path, "2 MB").limit == 2_000_000
    assert prepared(tmp_path / "some" / "where" / "new", 2_000_000).limit == 2_000_000


def test_one_limit_holds_for_everybody(tmp_path):
    one, other = prepared(tmp_path, "2 MB"), prepared(tmp_path)
    assert other.limit == 2_000_000
    prepared(tmp_path, "3 MB")
    assert (one.limit, other.limit, pickle.loads(pickle.dumps(one)).limit) == (3_000_000,) * 3


def test_a_smaller_limit_evicts_at_once(tmp_path):
    shelf = shelf_at(tmp_path, "4 MB")
    for first in range(0, 200, 50):
        shelf.keep([piece_of(*chunk(number)) for number in range(first, first + 50)])
    assert used_bytes(tmp_path) > 2_500_000
    prepared(tmp_path, "1 MB")
    assert 300_000 < used_bytes(tmp_path) <= 1_000_000


def test_a_cache_of_another_layout_is_refused(tmp_path):
    prepared(tmp_path, "2 MB")
    marker = tmp_path / "msl-cache.json"
    for text in (json.dumps({**json.loads(marker.read_text()), "version": 2}), "{", ""):
        marker.write_text(text)
        with pytest.raises(
            FormatError, match=r"msl-cache.json: names layout (2|None), this release knows 1: .* use an"
        ):
            prepared(tmp_path, "2 MB")


def test_a_folder_that_was_emptied_is_no_cache_and_harms_no_reader(tmp_path, caplog):
    shelf = shelf_at(tmp_path, "2 MB")
    shelf.keep([piece_of(*chunk(0))])
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    shelf.keep([piece_of(*chunk(1))])
    assert shelf.find(*wanted(0)).bodies == [None]
    assert "is no cache any more; what is read is not kept" in caplog.text
    tmp_path.rmdir()
    shelf.keep([piece_of(*chunk(1))])
    assert shelf.find(*wanted(0)).bodies == [None]


def wanted(number):
    path, extent = chunk(number)
    return path, [extent]


def test_a_ledger_that_was_lost_or_damaged_is_counted_anew(tmp_path):
    shelf = shelf_at(tmp_path, "2 MB")
    shelf.keep([piece_of(*chunk(number)) for number in range(30)])
    expected = shelf.folder.report()[0].bytes
    for content in (None, b"", b"x" * 44):
        (tmp_path / "ledger").unlink()
        if content is not None:
            (tmp_path / "ledger").write_bytes(content)
        with shelf.folder.changing() as change:
            assert change.ledger.used == expected


def test_a_ledger_that_killed_writers_left_too_high_is_counted_before_anything_is_evicted(tmp_path):
    shelf = shelf_at(tmp_path, "2 MB")
    shelf.keep([piece_of(*chunk(number)) for number in range(30)])
    with shelf.folder.changing() as change:
        change.book(used=1_500_000)
    shelf.keep([piece_of(*chunk(number)) for number in range(30, 40)])
    assert all(shelf.find(*wanted(number)).bodies[0] for number in range(40))
    with shelf.folder.changing() as change:
        assert change.ledger.used == used_bytes(tmp_path)


def test_what_killed_writers_left_of_documents_is_swept_and_no_other_file(tmp_path):
    shelf = shelf_at(tmp_path, "2 MB")
    shelf.keep([piece_of(*chunk(0))])
    begin_pin(shelf, "d" * 32, {"url": "here"})
    left = [tmp_path / "msl-cache.json.tmp", tmp_path / "urls" / f"{'0' * 32}.json.tmp"]
    left += [shelf.place / "library.json.tmp", shelf.pin_place("d" * 32) / "pin.json.tmp"]
    mine = [tmp_path / "mine.json.tmp", tmp_path / "urls" / "mine.json.tmp", shelf.place / "pin.json.tmp"]
    for path in (*left, *mine):
        path.write_text("half")
    shelf.folder.report()
    assert [path.exists() for path in left] == [False] * 4
    assert [path.exists() for path in mine] == [True] * 3


# --- the lock


def test_a_lock_is_held_by_one_at_a_time_also_among_threads(tmp_path):
    with locked(tmp_path / "lock", patience_s=1):
        busy = pytest.raises(
            BusyError, match=r"lock: another process has held this cache for 0.05 s; let it finish, or"
        )
        with busy, locked(tmp_path / "lock", patience_s=0.05):
            pass
    with locked(tmp_path / "lock", patience_s=0):
        pass


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_lock_dies_with_its_process(tmp_path):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with locked(tmp_path / "lock", patience_s=1):
            os.write(writer, b"held")
            time.sleep(60)
        os._exit(0)
    os.read(reader, 4)
    with pytest.raises(BusyError, match="another process has held"), locked(tmp_path / "lock", patience_s=0):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with locked(tmp_path / "lock", patience_s=1):
        pass
    os.close(reader)
    os.close(writer)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_while_the_lock_is_held_does_not_hold_it(tmp_path):
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        with locked(tmp_path / "lock", patience_s=1):
            if os.fork() == 0:
                os.write(writer, b"%10d" % os.getpid())
                time.sleep(60)
                os._exit(0)
            time.sleep(60)
    child = int(os.read(reader, 10))
    os.kill(middle, signal.SIGKILL)
    os.waitpid(middle, 0)
    try:
        with locked(tmp_path / "lock", patience_s=1):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
    os.close(reader)
    os.close(writer)


def test_readers_go_on_without_the_lock(tmp_path, monkeypatch, caplog):
    shelf = shelf_at(tmp_path, "2 MB")
    shelf.keep([piece_of(*chunk(0))])
    monkeypatch.setattr("msl_store.cache.shelf.PATIENCE_S", 0.05)
    with shelf.folder.changing():
        assert shelf.find(*wanted(0)).bodies[0] is not None
        shelf.keep([piece_of(*chunk(1))])
    assert "another process has held this cache for 0.05 s" in caplog.text
    assert shelf.find(*wanted(1)).bodies == [None]
