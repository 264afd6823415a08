"""One small face over every kind of storage: the same calls, the same answers, the same errors."""

from __future__ import annotations

import io
import pickle
import shutil
import uuid
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import small_library
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.request_log import round_trips
from small_library import WHOLE, assert_same, made_records, record_of

import msl_store as msl
from msl_store.errors import FormatError, IntegrityError, MissingError, NetworkError, UsageError
from msl_store.store import Objects, RangeFile, locate, locate_file
from msl_store.store.filesystems import FsspecBackend
from msl_store.store.object_stores import ObstoreBackend
from msl_store.store.ranges import COALESCE_BYTES, NEAR_BYTES, coalesced

WRITABLE = ["disk", "memory", "s3", "s3 by s3fs"]
BODY = np.random.default_rng(0).bytes(700_000)


@pytest.fixture(params=WRITABLE)
def place(request, tmp_path, s3):
    """A fresh writable place of each kind, behind each storage library."""
    if request.param == "disk":
        yield Objects(str(tmp_path / "new" / "place"))
    elif request.param == "memory":
        yield Objects(f"memory://{uuid.uuid4().hex}/place")
    else:
        name = f"bucket-{uuid.uuid4().hex}"
        options = s3.create_bucket(name).storage_options
        yield Objects(f"s3://{name}/place", options if request.param == "s3" else {**options, "use_ssl": False})
        s3.delete_bucket(name)


def test_what_is_put_is_there(place):
    place.put("a/b/whole", BODY)
    place.put("a/empty", b"")
    assert place.get("a/b/whole") == BODY
    assert place.get("a/empty") == b""
    assert place.size("a/b/whole") == len(BODY)
    assert place.exists("a/b/whole")
    assert not place.exists("a/b/who")
    assert not place.exists("a/b")
    assert [bytes(part) for part in place.get_ranges("a/b/whole", [(5, 9), (699_990, 700_000), (0, 5)])] == [
        BODY[5:9],
        BODY[699_990:],
        BODY[:5],
    ]


def test_listing_is_sorted_and_below_a_folder(place):
    assert place.list() == []
    for name in ("b/2", "b/1", "a/x/y", "bb"):
        place.put(name, b"12")
    assert place.list() == [("a/x/y", 2), ("b/1", 2), ("b/2", 2), ("bb", 2)]
    assert place.list("b") == [("b/1", 2), ("b/2", 2)]
    assert place.list("c") == []


def test_a_second_put_replaces_and_a_second_create_is_refused(place):
    place.put("one", b"first", create=True)
    with pytest.raises(FileExistsError, match="one"):
        place.put("one", b"second", create=True)
    assert place.get("one") == b"first"
    place.put("one", b"third")
    assert place.get("one") == b"third"


def test_what_is_deleted_is_gone_and_may_be_deleted_again(place):
    place.put("a/one", b"1")
    place.delete("a/one")
    place.delete("a/one")
    assert place.list() == []
    with pytest.raises(MissingError, match=r"a/one: there is no such object; check the URL"):
        place.get("a/one")
    with pytest.raises(MissingError, match=r"a/one: there is no such object"):
        place.get_many([("a/one", None)])
    with pytest.raises(MissingError, match=r"a/one: there is no such object"):
        place.size("a/one")


def test_what_others_write_is_seen_at_once(s3):
    bucket = s3.create_bucket(f"bucket-{uuid.uuid4().hex}")
    one = Objects(f"{bucket.url}/place", bucket.storage_options)
    other = Objects(f"{bucket.url}/place", {**bucket.storage_options, "use_ssl": False})
    for number in range(3):
        assert [len(place.list()) for place in (one, other)] == [number, number]
        assert not other.exists(f"{number}")
        one.put(f"{number}", b"1")
        assert other.exists(f"{number}")
    s3.delete_bucket(bucket.name)


def test_many_requests_are_answered_in_their_order(place):
    place.put("one", BODY)
    place.put("two", BODY[::-1])
    requests = [("two", [(3, 8)]), ("none", [(0, 1)]), ("one", None), ("none", None), ("two", None), ("one", [])]
    answers = place.find_many(requests)
    found = [None if parts is None else [bytes(part) for part in parts] for parts in answers]
    assert found == [[BODY[::-1][3:8]], None, [BODY], None, [BODY[::-1]], []]
    assert place.find_many([]) == []


def test_a_range_beyond_the_end_is_an_integrity_error(place):
    place.put("one", BODY)
    for wanted in ((len(BODY) - 5, len(BODY) + 1), (len(BODY) + 5, len(BODY) + 9)):
        with pytest.raises(IntegrityError, match=rf"one: bytes {wanted[0]} to {wanted[1]} were asked for"):
            place.get_ranges("one", [(0, 4), wanted])


def test_a_place_pickles_as_its_url_and_options(place):
    place.put("one", BODY)
    again = pickle.loads(pickle.dumps(place))
    assert again.get("one") == BODY
    assert (again.url, again.storage_options) == (place.url, place.storage_options)


def test_a_file_is_read_by_ranges(place):
    place.put("one", BODY)
    with RangeFile(place, "one") as file:
        assert file.read(10) == BODY[:10]
        file.seek(-10, io.SEEK_END)
        assert file.read() == BODY[-10:]
        assert file.read(5) == b""
        assert file.seek(5) == 5
        assert file.seek(5, io.SEEK_CUR) == file.tell() == 10
        assert file.read(7) == BODY[10:17]
        assert file.seekable()
        assert file.readable()
        assert not file.writable()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**5)), max_size=20))
def test_coalesced_ranges_cover_all_and_lie_apart(pairs):
    ranges = [(start, start + length) for start, length in pairs]
    runs = coalesced(ranges)
    assert all(any(a <= start and stop <= b for a, b in runs) for start, stop in ranges)
    assert all(after - before > NEAR_BYTES for (_, before), (after, _) in pairwise(runs))
    edges = sorted({0, *(edge for pair in ranges for edge in pair)})
    covered = [any(start <= a < stop for start, stop in ranges) for a, _ in pairwise(edges)]
    fetched = [any(start <= a < stop for start, stop in runs) for a, _ in pairwise(edges)]
    gaps = [b - a for (a, b), c, f in zip(pairwise(edges), covered, fetched, strict=True) if f and not c]
    assert all(gap <= COALESCE_BYTES for gap in gaps)
    assert sum(gap for gap in gaps if gap > NEAR_BYTES) <= 2 * sum(stop - start for start, stop in ranges)
    assert {a for a, _ in runs} <= {a for a, _ in ranges}
    assert {b for _, b in runs} <= {b for _, b in ranges}


def test_which_library_carries_the_data(tmp_path, bucket):
    def backend(url, options=None):
        return type(locate(url, options)._backend)

    assert backend(tmp_path) is ObstoreBackend
    assert backend(f"file://{tmp_path}") is ObstoreBackend
    assert backend("http://127.0.0.1:1/x", {"headers": {"a": "b"}}) is ObstoreBackend
    assert backend("http://127.0.0.1:1/x", {"client_kwargs": {}}) is FsspecBackend
    assert backend(bucket.url, bucket.storage_options) is ObstoreBackend
    assert backend(bucket.url, {**bucket.storage_options, "use_ssl": False}) is FsspecBackend
    assert backend("memory://x") is FsspecBackend


def test_paths_and_urls_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    locate("here/below").put("one", b"1")
    for url in (tmp_path / "here", f"{tmp_path}/here/", f"file://{tmp_path}/here", "~/here", "here"):
        assert locate(url).list() == [("below/one", 1)]
        assert locate(url).path is not None
    objects, name = locate_file("here/below/one")
    assert objects.get(name) == b"1"
    assert locate("memory://x").path is None


def test_an_unknown_protocol_or_option_is_a_usage_error(tmp_path, web, bucket):
    with pytest.raises(UsageError, match="foo://x/y: Protocol not known: foo; allowed: a path, s3://, https://"):
        msl.open("foo://x/y")
    (tmp_path / "zarr.json").write_text("{}")
    for url, options in [(web(tmp_path).url, {}), (bucket.url, bucket.storage_options)]:
        with pytest.raises(UsageError, match=r"storage_options given: .*nonsense\); allowed are the options of fsspec"):
            msl.open(url, {**options, "nonsense": 1})


def test_a_web_server_neither_lists_nor_takes(small, web):
    site = locate(web(small).url)
    with pytest.raises(UsageError, match="a web server cannot list its files; name each file's URL, or use s3:// or"):
        site.list()
    with pytest.raises(NetworkError, match="405 Method Not Allowed"):
        site.put("one", b"1")


def test_headers_reach_the_web_server(small, web, delay_proxy):
    proxy = delay_proxy(web(small).url, delay_s=0)
    library = msl.open(proxy.url, {"headers": {"Range": "bytes=0-99999999"}})
    assert len(library) == len(small_library.shown())
    assert {request.range for request in proxy.requests()} == {"bytes=0-99999999"}


def test_what_killed_writers_left_is_swept(tmp_path):
    place = Objects(str(tmp_path))
    place.put("a/c/0", b"data")
    place.put("a/file#x", b"no partial file")
    (tmp_path / "a" / "c" / "0#1").write_bytes(b"half")
    (tmp_path / "a" / "zarr.json#2").write_bytes(b"half")
    place.sweep()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["0", "file#x"]


# --- reading a library at every kind of place


def same_as_made(url, options=None):
    library = msl.open(url, options)
    assert library.ids.tolist() == small_library.shown()
    for instance in (WHOLE, library.ids[-1]):
        assert_same(record_of(library.instance(int(instance))), made_records()[int(instance)])


def test_a_library_on_a_disk(small):
    for url in (small, str(small), f"{small}/", f"file://{small}"):
        same_as_made(url)


def test_a_library_on_a_web_server(small, web):
    url = f"{web(small.parent).url}/{small.name}"
    same_as_made(url)
    same_as_made(url, {"client_kwargs": {}})


def test_a_library_in_memory():
    url = f"memory://{uuid.uuid4().hex}/lib.zarr"
    record = small_library.made_record(4)
    assert_same(record_of(small_library.build([record], url).instance(4)), record)


def test_a_library_in_a_bucket(small, bucket, upload):
    same_as_made(upload(small), bucket.storage_options)


# --- zip files


def zipped(folder, target, *, method=zipfile.ZIP_STORED, top=""):
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, top + path.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["", "3dmsl.zarr/", "some/where/"])
def test_a_library_in_a_zip(small, tmp_path, method, top):
    path = zipped(small, tmp_path / "lib.zip", method=method, top=top)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._zarr.json", b"what macOS adds")
    same_as_made(path)
    assert locate(path).list() == locate(small).list() or top == ""
    assert locate(path).list("mesh") == locate(small).list("mesh")


def test_a_zip_on_a_web_server_and_in_a_bucket(small, tmp_path, web, bucket, delay_proxy):
    path = zipped(small, tmp_path / "lib.zip", top="small.zarr/")
    Objects(bucket.url, bucket.storage_options).put("lib.zip", path.read_bytes())
    same_as_made(f"{bucket.url}/lib.zip", bucket.storage_options)
    proxy = delay_proxy(web(tmp_path).url, delay_s=0)
    same_as_made(f"{proxy.url}/lib.zip")
    assert proxy.bytes() < path.stat().st_size / 2
    assert round_trips(proxy.requests()) > 0


def test_a_zip_is_read_only(small, tmp_path):
    path = zipped(small, tmp_path / "lib.zip")
    before = path.read_bytes()
    for change in (lambda: locate(path).put("one", b"1"), lambda: locate(path).delete("zarr.json")):
        with pytest.raises(UsageError, match="a zipped library is read-only"):
            change()
    locate(path).sweep()
    assert path.read_bytes() == before


def test_a_zip_pickles(small, tmp_path):
    library = pickle.loads(pickle.dumps(msl.open(zipped(small, tmp_path / "lib.zip"))))
    assert_same(record_of(library.instance(WHOLE)), made_records()[WHOLE])


def test_no_zip_or_no_library_in_it(tmp_path):
    with pytest.raises(MissingError, match="there is no library here"):
        msl.open(tmp_path / "none.zip")
    with pytest.raises(MissingError, match=r"none.zip: there is no such zip file; check the URL \(to make one, zip a"):
        locate(tmp_path / "none.zip").list()
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(FormatError, match="File is not a zip file; a zipped library was expected: copy it again"):
        msl.open(tmp_path / "bad.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", b"no library")
    with pytest.raises(MissingError, match="there is no library here"):
        msl.open(tmp_path / "other.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("member", ["zarr.json", "images/counts/c/0/0/0/0/0"])
def test_a_flipped_byte_in_a_zip_is_an_error(small, tmp_path, method, member):
    path = zipped(small, tmp_path / "lib.zip", method=method)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(member) + info.compress_size // 9] ^= 16
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"{member}.*: .* again"):
        list(msl.open(path).instances(parts=["images"]))


def test_a_zip_that_is_a_copy_of_a_changed_library_holds_the_change(spoiled, tmp_path):
    shutil.rmtree(spoiled / "mesh" / "vertices" / "c")
    library = msl.open(zipped(spoiled, tmp_path / "lib.zip"))
    with pytest.raises(IntegrityError, match="mesh/vertices/c/0/0: chunk 0 is missing"):
        library.mesh(library.ids[0])
