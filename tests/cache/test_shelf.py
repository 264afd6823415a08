"""What is put on a shelf is found until the room is needed; what was used longest ago goes first, pins never."""

from __future__ import annotations

import errno
import logging
import os
import time

import pytest
from disk_usage import used_bytes
from made_pieces import assert_sound, body_of, chunk, piece_of, shelf_at

from msl_store.cache import Fetched, begin_pin, complete_pin, find_damage, remove_pin
from msl_store.errors import MissingError

TICK_S = 0.02
"""Times of use are as fine as the kernel's clock, 1 to 10 ms."""


def keep(shelf, numbers):
    shelf.keep([piece_of(*chunk(number)) for number in numbers])


def there(shelf, numbers):
    return [number for number in numbers if assert_sound(shelf, [chunk(number)])]


def packs(shelf):
    return sorted(shelf.place.rglob("*.pack"))


def test_what_is_put_is_found_in_this_process_and_in_another_session(tmp_path):
    shelf = shelf_at(tmp_path, "2 MB")
    keep(shelf, range(40))
    for other in (shelf, shelf_at(tmp_path)):
        assert there(other, range(41)) == list(range(40))
    assert there(shelf_at(tmp_path, url="s3://else/where"), range(40)) == []
    assert there(shelf_at(tmp_path, root="c" * 64), range(40)) == []


def test_pieces_waste_no_blocks(tmp_path):
    shelf = shelf_at(tmp_path, "20 MB")
    keep(shelf, range(400))
    keep(shelf, range(400))
    assert used_bytes(tmp_path) < 1.05 * 400 * 12_900
    assert len(packs(shelf)) == 25


def test_what_was_used_longest_ago_is_evicted_first(tmp_path):
    shelf = shelf_at(tmp_path, "1 MB")
    objects = [range(first, first + 16) for first in range(0, 80, 16)]  # a pack each, of 207 kB
    for numbers in objects[:4]:
        keep(shelf, numbers)
        time.sleep(TICK_S)
    assert there(shelf, objects[0][:1]) == [0]
    time.sleep(TICK_S)
    keep(shelf, objects[4])
    assert [bool(there(shelf, numbers)) for numbers in objects] == [True, False, True, True, True]
    assert used_bytes(tmp_path) <= 1_000_000


def test_columns_and_indexes_go_after_everything_else_of_their_library(tmp_path):
    shelf = shelf_at(tmp_path, "1 MB")
    metas = [("column/a", None), ("images/c/0", (0, 900))]
    shelf.keep([piece_of(*place) for place in metas])
    for first in range(0, 320, 16):
        time.sleep(TICK_S / 4)
        keep(shelf, range(first, first + 16))
    assert there(shelf, range(16)) == []
    assert assert_sound(shelf, metas) == 2
    other = shelf_at(tmp_path, url="s3://else/where")
    for first in range(0, 320, 16):
        time.sleep(TICK_S / 4)
        keep(other, range(first, first + 16))
    assert assert_sound(shelf, metas) == 0
    assert not shelf.place.exists()


def test_a_read_that_is_larger_than_the_cache_leaves_no_mess(tmp_path):
    shelf = shelf_at(tmp_path, "1 MB")
    keep(shelf, range(500))
    assert used_bytes(tmp_path) <= 1_000_000
    assert 20 <= len(there(shelf, range(500))) <= 70


def test_a_piece_that_is_too_long_is_not_kept_and_said_so_once(tmp_path, caplog):
    shelf = shelf_at(tmp_path, "1 MB")
    for length in (250_001, 300_000):
        shelf.keep([Fetched("a", (5, 5 + length), memoryview(bytes(length))), piece_of(*chunk(length))])
    assert shelf.find("a", [(5, 250_006), (5, 300_005)]).bodies == [None, None]
    assert there(shelf, [250_001, 300_000]) == [250_001, 300_000]
    assert caplog.text.count("pieces of more than 250000 bytes are not kept (limit 1000000)") == 1


def pinned(shelf, numbers, name="d" * 32):
    begin_pin(shelf, name, {"url": "here", "instances": 3, "parts": ["images"]})
    with shelf.folder.changing() as change:
        fits = shelf.put(change, [piece_of(*chunk(number)) for number in numbers], shelf.pin_place(name))
    if fits:
        complete_pin(shelf, name)
    return fits


def test_pins_stay_whatever_comes(tmp_path):
    shelf = shelf_at(tmp_path, "1 MB")
    keep(shelf, range(10))
    assert pinned(shelf, range(20))
    for first in range(100, 500, 16):
        keep(shelf, range(first, first + 16))
        assert used_bytes(tmp_path) <= 1_000_000
    assert there(shelf, range(20)) == list(range(20))
    (holding,) = shelf.folder.report()[0].holdings
    (pin,) = holding.pins
    assert (pin.url, pin.instances, pin.parts, pin.complete) == ("here", 3, ("images",), True)
    assert pin.bytes == used_bytes(shelf.pin_place("d" * 32))


def test_what_does_not_fit_beside_pins_is_not_kept_and_said_so(tmp_path, caplog):
    shelf = shelf_at(tmp_path, "1 MB")
    assert pinned(shelf, range(60))
    assert not pinned(shelf, range(100, 130), "e" * 32)
    keep(shelf, range(200, 216))
    assert there(shelf, range(200, 216)) == []
    assert "what is pinned leaves no room (limit 1000000); what is read is not kept" in caplog.text
    assert there(shelf, range(130)) == list(range(60))
    assert used_bytes(tmp_path) <= 1_000_000


def test_an_undone_pin_is_evicted_like_everything_else(tmp_path):
    shelf = shelf_at(tmp_path, "1 MB")
    assert pinned(shelf, range(50))
    keep(shelf, range(5))
    with shelf.folder.changing() as change:
        remove_pin(change, shelf.pin_place("d" * 32))
    assert there(shelf, range(50)) == list(range(50))
    assert shelf.folder.report()[0].pinned_bytes == 0
    for first in range(100, 300, 16):
        keep(shelf, range(first, first + 16))
    assert there(shelf, range(50)) == []
    with pytest.raises(MissingError, match=r"the pin d+ was undone while it was made; pin it again"):
        complete_pin(shelf, "d" * 32)


def flip(pack, place):
    data = bytearray(pack.read_bytes())
    data[place] ^= 4
    pack.write_bytes(data)


@pytest.mark.parametrize("pin", [False, True])
def test_a_damaged_piece_is_named_replaced_and_found_again(tmp_path, caplog, pin):
    shelf = shelf_at(tmp_path, "1 MB")
    pinned(shelf, range(3)) if pin else keep(shelf, range(3))
    (pack,) = packs(shelf)
    flip(pack, 12_948 + 100)  # in the second of three
    places = [chunk(number) for number in range(3)]
    found = shelf.find(places[0][0], [extent for _, extent in places])
    assert [body is None for body in found.bodies] == [False, True, False]
    assert list(found.damaged.values()) == [pack]
    assert f"{pack}: a piece of s3://made/up/images/c/0 is damaged; it is fetched again" in caplog.text
    shelf.keep([piece_of(*places[1])], found.damaged)
    for other in (shelf, shelf_at(tmp_path)):
        assert assert_sound(other, places) == 3
    assert packs(shelf) == [pack]
    assert shelf.folder.report()[1].damaged == 1
    assert find_damage(shelf.folder) == []


@pytest.mark.parametrize("pin", [False, True])
def test_a_damaged_header_cuts_a_pack_off(tmp_path, caplog, pin):
    shelf = shelf_at(tmp_path, "1 MB")
    pinned(shelf, range(3)) if pin else keep(shelf, range(3))
    (pack,) = packs(shelf)
    flip(pack, 12_948 + 20)
    places = [chunk(number) for number in range(3)]
    found = shelf_at(tmp_path).find(places[0][0], [extent for _, extent in places])
    assert [body is None for body in found.bodies] == [False, True, True]
    assert f"{pack}: is damaged, and cut off there" in caplog.text
    assert pack.stat().st_size == 12_948
    assert shelf.folder.report()[1].damaged == 1
    assert [p.complete for p in shelf.folder.report()[0].holdings[0].pins] == [False] * pin
    keep(shelf, range(3))
    assert assert_sound(shelf, places) == 3


def test_a_check_finds_what_nobody_has_read(tmp_path):
    shelf = shelf_at(tmp_path, "2 MB")
    keep(shelf, range(32))
    one, _ = packs(shelf)
    flip(one, 5 * 12_948 + 5_000)
    (damage,) = find_damage(shelf.folder)
    assert (damage.pack, damage.kept_bytes, damage.lost_bytes) == (one, 5 * 12_948, 11 * 12_948)
    assert (damage.url, damage.pinned) == ("s3://made/up", False)
    assert find_damage(shelf.folder) == []
    assert len(there(shelf, range(32))) == 21


def test_a_full_disk_ends_keeping_and_not_reading(tmp_path, monkeypatch, caplog):
    shelf = shelf_at(tmp_path, "2 MB")
    keep(shelf, range(3))

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", full)
        keep(shelf, range(3, 6))
    assert "No space left on device; what is read is not kept" in caplog.text
    assert there(shelf, range(6)) == [0, 1, 2]
    with shelf.folder.changing() as change:
        assert change.ledger.used == used_bytes(tmp_path)
    keep(shelf, range(3, 6))
    assert there(shelf, range(6)) == list(range(6))


@pytest.mark.parametrize("cut", [1, 40, 48, 60, 5_000])
def test_what_a_killed_writer_left_is_replaced_by_what_comes_next(tmp_path, caplog, cut):
    shelf = shelf_at(tmp_path, "2 MB")
    keep(shelf, range(3))
    (pack,) = packs(shelf)
    with pack.open("r+b") as file:
        file.truncate(2 * 12_948 + cut)
    assert there(shelf_at(tmp_path), range(3)) == [0, 1]
    path, (start, _) = chunk(5)
    shelf.keep([piece_of(path, (start, start + 10))])
    assert assert_sound(shelf_at(tmp_path), [chunk(0), chunk(1), (path, (start, start + 10))]) == 3
    assert pack.stat().st_size == 2 * 12_948 + 58
    assert find_damage(shelf.folder) == []
    assert caplog.text == ""


def test_eviction_frees_the_disk_also_where_a_reader_has_the_pack_open(tmp_path):
    shelf = shelf_at(tmp_path, "2 MB")
    keep(shelf, range(3))
    (pack,) = packs(shelf)
    with pack.open("rb") as file, shelf.folder.changing() as change:
        change.evict(0)
        assert os.fstat(file.fileno()).st_blocks == 0


def test_a_pack_that_cannot_be_read_is_as_good_as_none(tmp_path, monkeypatch, caplog):
    shelf = shelf_at(tmp_path, "2 MB")
    keep(shelf, range(3))

    def broken(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", broken)
        assert there(shelf_at(tmp_path), range(3)) == []
    assert "Input/output error; what it holds is fetched again" in caplog.text


def test_a_pack_that_another_process_evicts_is_simply_not_there(tmp_path, caplog):
    shelf, other = shelf_at(tmp_path, "2 MB"), shelf_at(tmp_path)
    keep(shelf, range(32))
    assert len(there(other, range(32))) == 32
    with shelf.folder.changing() as change:
        change.evict(0)
    assert there(other, range(32)) == []
    keep(shelf, range(16, 20))
    shelf.keep([piece_of("images/c/0", (1000, 7000))])
    assert len(there(other, range(32))) == 4
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_another_root_document_drops_the_library_before_it_and_keeps_its_pins(tmp_path, caplog):
    old, new = shelf_at(tmp_path, "2 MB"), shelf_at(tmp_path, root="b" * 64)
    old.enter()
    keep(old, range(10))
    assert pinned(old, range(20, 25))
    new.enter()
    assert there(old, range(30)) == [20, 21, 22, 23, 24]
    keep(old, range(10))
    assert "its server shows another library by now; open it again" in caplog.text
    assert there(old, range(10)) == []
    keep(new, range(10))
    assert there(new, range(10)) == list(range(10))
    assert bytes(new.find(chunk(3)[0], [chunk(3)[1]]).bodies[0]) == body_of(*chunk(3))


def test_a_linked_copy_of_a_pack_survives_its_eviction(tmp_path):
    shelf = shelf_at(tmp_path / "cache", "2 MB")
    keep(shelf, range(3))
    (pack,) = packs(shelf)
    content = pack.read_bytes()
    (tmp_path / "backup").hardlink_to(pack)
    with shelf.folder.changing() as change:
        change.evict(0)
    assert not pack.exists()
    assert (tmp_path / "backup").read_bytes() == content
