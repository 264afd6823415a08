"""A process that ends in the middle of anything leaves a cache that holds its limit, and nothing wrong in it.

Every call by which the cache changes the disk is counted. The limit is looked at after each of them; then the same work
is done in children that end without a word, as by ``kill -9``, before the first of these calls, before the second, ...
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_usage import tree_of, used_bytes
from made_pieces import assert_sound, chunk, piece_of, shelf_at

from msl_store.cache import CacheFolder, begin_pin, complete_pin, find_damage, remove_pin
from msl_store.cache.ledger import read_ledger
from msl_store.errors import UsageError

LIMIT = 1_000_000
CALLS = ("pwritev", "pwrite", "ftruncate", "truncate", "replace", "unlink", "mkdir", "rmdir")
PLACES = [chunk(number) for number in range(120)] + [(f"column/{number}", None) for number in range(4)]
FOREIGN = ("notes.txt", "libraries/readme", "urls/mine.json", "libraries/{library}/0123456789abcdef-0.pack.bak")
KILLED = 9


def work(path):
    """Fill a cache beyond its limit, pin, unpin, let the library change, and lower the limit."""
    shelf = shelf_at(path, LIMIT)
    shelf.enter()
    shelf.keep([piece_of(*place) for place in PLACES[-4:]])
    for first in range(0, 120, 30):
        shelf.keep([piece_of(*place) for place in PLACES[first : first + 30]])
    name = "f" * 32
    begin_pin(shelf, name, {"url": "made up"})
    with shelf.folder.changing() as change:
        assert shelf.put(change, [piece_of(*place) for place in PLACES[:20]], shelf.pin_place(name))
    complete_pin(shelf, name)
    shelf.keep([piece_of(*place) for place in PLACES[40:80]])
    with shelf.folder.changing() as change:
        remove_pin(change, shelf.pin_place(name))
    other = shelf_at(path, root="b" * 64)
    other.enter()
    other.keep([piece_of(*place) for place in PLACES[:10]])
    shelf_at(path, "1.2 MB")
    shelf_at(path, LIMIT)
    return other


def watch(patch, before=lambda call, number, arguments: None, after=lambda: None):
    """Call `before` and `after` around everything that changes the disk; return the list of all that."""
    calls = []

    def wrapped(call, real):
        def watched(*arguments, **named):
            before(call, len(calls), arguments)
            calls.append(call)
            try:
                return real(*arguments, **named)
            finally:
                after()

        return watched

    for call in CALLS:
        patch.setattr(os, call, wrapped(call, getattr(os, call)))
    patch.setattr(Path, "write_text", wrapped("write_text", Path.write_text))
    return calls


def add_foreign(path):
    """Put files of somebody else into a cache's folders, and return them."""
    if not (path / "msl-cache.json").exists():
        return set()
    libraries = [folder.name for folder in (path / "libraries").glob("*") if folder.is_dir()]
    files = {path / name.format(library=library) for name in FOREIGN for library in libraries or ["none"]}
    files = {file for file in files if file.parent.is_dir()}
    for file in files:
        file.write_text("mine")
    return files


def test_the_limit_holds_after_every_change(tmp_path, monkeypatch):
    most = []
    calls = watch(monkeypatch, after=lambda: most.append(used_bytes(tmp_path)))
    shelf = work(tmp_path / "cache")
    assert len(calls) > 150
    assert max(most) <= LIMIT + used_bytes_of_nothing(tmp_path)
    assert max(most) > 0.9 * LIMIT
    booked = read_ledger(tmp_path / "cache" / "ledger").used
    assert used_bytes(tmp_path / "cache") == shelf.folder.report()[0].bytes == booked
    assert assert_sound(shelf, PLACES) >= 10


@pytest.mark.parametrize("more", [0, 2_048, 6_000])
def test_the_limit_holds_when_small_pieces_and_documents_fill_it_to_the_brim(tmp_path, monkeypatch, more):
    limit = 1_000_000 + more
    shelf = shelf_at(tmp_path / "cache", limit)
    most = []
    watch(monkeypatch, after=lambda: most.append(used_bytes(tmp_path / "cache")))
    shelf.keep([piece_of(*chunk(number)) for number in range(32)])
    shelf.keep([piece_of(*chunk(number)) for number in range(32, 64)])
    for number in range(60):
        shelf.keep([piece_of(f"object/{number}", (5, 105))])
        if number % 10 == 5:
            begin_pin(shelf, "e" * 32, {"url": "made up"})
            complete_pin(shelf, "e" * 32)
    assert max(most) <= limit
    assert max(most) > limit - 90_000


def test_the_limit_holds_when_it_was_lowered_to_what_is_pinned(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    shelf = shelf_at(path, "2 MB")
    begin_pin(shelf, "e" * 32, {"url": "made up"})
    with shelf.folder.changing() as change:
        assert shelf.put(change, [piece_of(*chunk(number)) for number in range(90)], shelf.pin_place("e" * 32))
    pinned = used_bytes(path)
    lowest = next(limit for limit in range(pinned, pinned + 10**5, 1024) if accepted(shelf.folder, limit))
    most = []
    watch(monkeypatch, after=lambda: most.append(used_bytes(path)))
    complete_pin(shelf, "e" * 32)
    shelf.keep([piece_of(*chunk(99))])
    assert pinned < max(most) <= lowest


def accepted(folder, limit):
    try:
        folder.prepare(limit)
    except UsageError:
        return False
    return True


def used_bytes_of_nothing(folder):
    """What the folder around the cache takes itself."""
    return os.lstat(folder).st_blocks * 512


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_may_end_at_any_moment(tmp_path, monkeypatch, every):
    with monkeypatch.context() as patched:
        calls = watch(patched)
        work(tmp_path / "undisturbed")
    for moment in [n for n, call in enumerate(calls) if n % every == 0 or call == "write_text"]:
        path = tmp_path / f"cache-{moment}"
        end_at(path, moment)
        foreign = add_foreign(path)
        assert not path.is_dir() or used_bytes(path, but=foreign) <= 1_200_000
        for root in "ab":
            if (path / "msl-cache.json").exists():
                assert_sound(shelf_at(path, root=root * 64), PLACES)
                assert used_bytes(path, but=foreign) <= CacheFolder(path).limit
        shelf = work(path)
        assert find_damage(shelf.folder) == []
        assert assert_sound(shelf, PLACES) >= 10
        counted, ledger = shelf.folder.report()
        assert used_bytes(path, but=foreign) <= counted.bytes == ledger.used <= LIMIT
        assert not [name for name in tree_of(path) if name.endswith(".tmp")]
        assert all(file.read_text() == "mine" for file in foreign)


def end_at(path, moment):
    """Work in a child that ends at one of its calls; of what that would write, half is written."""
    pid = os.fork()
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED
        return
    write = os.pwrite

    def end(call, number, arguments):
        if number == moment:
            if call in {"pwritev", "pwrite"}:
                data = arguments[1] if call == "pwrite" else b"".join(arguments[1])
                write(arguments[0], data[: len(data) // 2], arguments[2])
            elif call == "write_text":
                with arguments[0].open("w") as file:
                    file.write(arguments[1][: len(arguments[1]) // 2])
            os._exit(KILLED)

    try:
        watch(pytest.MonkeyPatch(), end)
        work(path)
    finally:
        os._exit(1)
