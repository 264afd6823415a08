"""A library read by way of a cache is the same library: fewer requests, the same values, and none when offline."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_library
from cached_library import IDS, everything, flip_in_packs, offline, paths
from child_process import forked, spawned
from disk_usage import used_bytes
from servers.process import free_port
from small_library import WHOLE, assert_same, made_records, record_of, sums

import msl_store as msl
from msl_store import stream
from msl_store.errors import IntegrityError, NetworkError, UsageError
from msl_store.store import Want


def gone_url(tmp_path):
    """The URL of a server that is down."""
    return f"http://127.0.0.1:{free_port()}/small.zarr"


def test_what_was_read_is_not_asked_for_again(distant, cache):
    url, proxy = distant
    cold = everything(msl.open(url, cache=cache))
    cold_requests = proxy.requests()
    proxy.reset()
    warm = everything(msl.open(url, cache=cache))
    assert paths(proxy) == ["zarr.json"]
    for instance, record in made_records().items():
        if instance in cold:
            assert_same(cold[instance], record)
            assert_same(warm[instance], record)
    proxy.reset()
    uncached = msl.open(url)
    everything(uncached)
    assert len(cold_requests) <= len(proxy.requests()) + 1
    info = cache.info()
    assert info.bytes == used_bytes(cache.folder) <= info.limit
    assert (info.damaged, info.pinned_bytes) == (0, 0)
    assert info.misses > 300
    assert info.hits >= info.misses
    (held,) = info.libraries
    assert (held.url, held.pins) == (url, ())
    assert info.entries == len(list(cache.folder.rglob("*.pack")))


def test_only_what_is_missing_is_fetched(distant, cache):
    url, proxy = distant
    images = msl.open(url, cache=cache).images
    ids = [i for i, record in made_records().items() if record.images and record.images.present.all()][:6]
    images.sel(instance=ids[::2], microscope="conf1").load()
    proxy.reset()
    found = images.sel(instance=ids, microscope="conf1").values
    assert [path for path in paths(proxy) if not path.startswith("images/counts/c/")] == []
    fetched = proxy.bytes()
    np.testing.assert_array_equal(found, [made_records()[i].images.counts[0] for i in ids])
    proxy.reset()
    images.sel(instance=ids, microscope="conf1").load()
    assert proxy.requests() == []
    msl.open(url).images.sel(instance=ids, microscope="conf1").load()
    assert fetched < proxy.bytes()


def test_opening_is_one_request_with_a_cache_too(distant, cache):
    url, proxy = distant
    for _ in range(2):
        proxy.reset()
        assert len(msl.open(url, cache=cache)) == len(small_library.shown())
        assert paths(proxy) == ["zarr.json"]


@pytest.mark.parametrize("place", ["disk", "bucket", "s3fs", "zip", "fsspec http"])
def test_any_place_can_be_cached(place, small, tmp_path, request, cache):
    url, options = small, {}
    if place == "zip":
        url = shutil.make_archive(str(tmp_path / "lib"), "zip", small)
    elif place == "fsspec http":
        url, options = f"{request.getfixturevalue('web')(small.parent).url}/{small.name}", {"client_kwargs": {}}
    elif place != "disk":
        bucket, upload = request.getfixturevalue("bucket"), request.getfixturevalue("upload")
        url, options = upload(small), {**bucket.storage_options, **({"use_ssl": False} if place == "s3fs" else {})}
    for source in (cache, offline(cache)):
        for instance, record in everything(msl.open(url, options, cache=source), IDS).items():
            assert_same(record, made_records()[instance])
    assert not [name for name in ("secret", "token") if name in (cache.folder / "msl-cache.json").read_text()]


def test_nothing_that_is_damaged_at_the_source_is_kept(spoiled, cache):
    path = spoiled / "images/counts/c/0/0/0/0/0"
    good = path.read_bytes()
    index = np.frombuffer(good[: 16 * 64 * 18], "<u8").reshape(-1, 2)
    start = int(index[18 * 1, 0])  # the first image of the second row, which is WHOLE
    path.write_bytes(good[: start + 50] + bytes([good[start + 50] ^ 1]) + good[start + 51 :])
    want = Want("images/counts", (slice(1, 2),))
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"images/counts/c/0/0/0/0/0 chunk 18: the CRC-32C of"):
            msl.open(spoiled, cache=cache).store.read([want])
    path.write_bytes(good)
    (found,) = msl.open(spoiled, cache=cache).store.read([want])
    np.testing.assert_array_equal(found[0], made_records()[WHOLE].images.counts)


def test_a_missing_object_is_named_as_without_a_cache(spoiled, cache):
    (spoiled / "images/counts/c/0/0/0/0/0").unlink()
    for source in (cache, None):
        with pytest.raises(IntegrityError, match=r"images/counts/c/0/0/0/0/0: chunk \d+ is missing"):
            msl.open(spoiled, cache=source).instance(WHOLE)


def test_damage_in_the_cache_is_healed_and_reported(distant, cache, caplog):
    url, proxy = distant
    everything(msl.open(url, cache=cache), [WHOLE])
    assert flip_in_packs(cache) > 10
    for instance, record in everything(msl.open(url, cache=cache), [WHOLE]).items():
        assert_same(record, made_records()[instance])
    assert "is damaged; it is fetched again" in caplog.text
    caplog.clear()
    proxy.reset()
    everything(msl.open(url, cache=cache), [WHOLE])
    assert paths(proxy) == ["zarr.json"]
    assert caplog.text == ""
    assert cache.info().damaged > 0
    assert cache.verify() == []


def test_offline_asks_nothing_and_names_what_it_lacks(distant, cache):
    url, proxy = distant
    expected = sums(msl.open(url, cache=cache), [WHOLE])
    table = msl.open(url, cache=cache).table
    proxy.reset()
    library = msl.open(url, cache=offline(cache))
    assert sums(library, [WHOLE]) == expected
    assert library.table.equals(table)
    message = (
        r"images/counts/c/1/0/0/0/0 bytes 0 to \d+: is not in .*cache, as \d+ of the pieces asked for, and the cache "
        r"is offline; pin what you need"
    )
    with pytest.raises(NetworkError, match=message):
        list(library.instances([IDS[2]], parts=["images"]))
    assert proxy.requests() == []
    with pytest.raises(NetworkError, match=r"the cache is offline, and .* does not hold this library; open it once"):
        msl.open(f"{url}-else", cache=offline(cache))


def test_offline_nothing_else_asks_the_server_either(distant, cache):
    url, proxy = distant
    pin = cache.pin(msl.open(url, cache=cache).select(first=2))
    away = msl.open(url, cache=offline(cache))
    proxy.reset()
    with pytest.raises(
        UsageError, match=r"was opened offline, .*; open it without offline=True, or check .* msl cache ve"
    ):
        msl.verify(away)
    with pytest.raises(NetworkError, match="offline"):
        offline(cache).pin(away.select(first=5))
    with pytest.raises(NetworkError, match=r"only the server can tell this, and the cache in .* is offline"):
        away.store.objects.exists("no/such/object")
    stored = stream.Batches(away.select(first=2), {"mesh": stream.Meshes("list")}, 1)
    assert sum(1 for _ in stored) == len(stored.ids)
    assert stored.stats.requests == 0
    assert proxy.requests() == []
    assert pin.id in {report.id for held in cache.info().libraries for report in held.pins}


def test_a_server_that_is_down_is_replaced_by_the_cache(small, tmp_path, cache, caplog):
    from servers.web import WebServer

    with WebServer(small.parent) as server:
        url = f"{server.url}/{small.name}"
        expected = sums(msl.open(url, cache=cache), [WHOLE])
        library = msl.open(url, cache=cache)
    assert sums(msl.open(url, cache=cache), [WHOLE]) == expected
    assert f"{url}: cannot be reached" in caplog.text
    with pytest.raises(NetworkError, match=r"mesh/vertices/c/.*: is not in .*cache, as \d+ of .*; pin what you need"):
        library.mesh(IDS[2])
    with pytest.raises(NetworkError, match=r"the server was asked in vain .* does not hold this library"):
        msl.open(gone_url(tmp_path), cache=cache)


def changed(folder):
    """Publish another library at the same place: other root document, images' objects swapped for meshes' bytes."""
    record = small_library.made_record(WHOLE, vertices=77)
    shutil.rmtree(folder)
    small_library.build([record], folder)
    return record


def test_a_library_that_changed_is_not_mixed_with_what_it_was(spoiled, web, cache):
    url = f"{web(spoiled.parent).url}/{spoiled.name}"
    old = msl.open(url, cache=cache)
    assert_same(record_of(old.instance(WHOLE)), made_records()[WHOLE])
    record = changed(spoiled)
    new = msl.open(url, cache=cache)
    assert_same(record_of(new.instance(WHOLE)), record)
    with pytest.raises(IntegrityError):  # what it remembers are places in objects that are others now
        list(old.instances(small_library.shown()))
    assert_same(record_of(msl.open(url, cache=offline(cache)).instance(WHOLE)), record)
    (held,) = cache.info().libraries
    assert held.url == url


def test_a_worker_that_is_sent_a_library_asks_nothing_and_refuses_another_one(spoiled, web, delay_proxy, cache):
    proxy = delay_proxy(web(spoiled.parent).url, delay_s=0)
    url = f"{proxy.url}/{spoiled.name}"
    library = msl.open(url, cache=cache)
    expected = sums(library, IDS)
    sent = pickle.dumps(library)
    proxy.reset()
    assert spawned(_sums_of, sent, IDS) == expected
    assert proxy.requests() == []
    changed(spoiled)
    cache.clear()
    with pytest.raises(IntegrityError, match="the library has changed since it was opened"):
        spawned(_sums_of, sent, IDS)


def _sums_of(library, ids):
    return sums(pickle.loads(library), ids)


def test_forked_spawned_and_dask_processes_share_one_cache(distant, cache, client):
    url, proxy = distant
    library = msl.open(url, cache=cache)
    expected = sums(library, IDS)
    total = library.images.sel(instance=IDS).sum(("view", "y", "x"))
    proxy.reset()
    assert forked(lambda: sums(library, IDS)) == expected
    assert spawned(sums, library, IDS) == expected
    images = library.images.sel(instance=IDS).chunk({"instance": 1})
    np.testing.assert_array_equal(images.sum(("view", "y", "x")).compute(), total)
    assert proxy.requests() == []


def test_threads_share_a_cache_that_is_too_small_for_them(distant, tmp_path):
    url, _ = distant
    cache = msl.Cache(tmp_path / "cache", "1.5 MB")
    libraries = [msl.open(url, cache=cache) for _ in range(2)]
    rng = np.random.default_rng(0)
    jobs = [(libraries[n % 2], rng.choice(small_library.shown(), 3, replace=False).tolist()) for n in range(40)]
    expected = [sums(msl.open(url), ids) for _, ids in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: sums(*job), jobs)) == expected
    assert used_bytes(cache.folder) <= 1_500_000
    assert cache.verify() == []


def test_a_cache_pickles_as_its_folder_and_is_made_where_it_is_not(cache):
    again = pickle.loads(pickle.dumps(cache))
    assert (again.folder, again.limit, again.offline) == (cache.folder, cache.limit, False)
    sent = pickle.dumps(offline(cache))
    shutil.rmtree(cache.folder)
    other = pickle.loads(sent)
    assert (other.limit, other.offline) == (200_000_000, True)
    assert repr(other) == f"Cache({str(cache.folder)!r}, limit=200000000, offline=True)"


def test_the_environment_names_a_cache_for_what_is_not_on_this_disk(distant, small, tmp_path, monkeypatch):
    url, proxy = distant
    assert msl.Cache.from_environment() is None
    monkeypatch.setenv("MSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MSL_CACHE_LIMIT", "50 MB")
    sums(msl.open(small), [WHOLE])
    assert not (tmp_path / "cache").exists()
    sums(msl.open(url, cache=False), [WHOLE])
    assert not (tmp_path / "cache").exists()
    sums(msl.open(url), [WHOLE])
    proxy.reset()
    sums(msl.open(url), [WHOLE])
    assert paths(proxy) == ["zarr.json"]
    assert msl.Cache(tmp_path / "cache").limit == 50_000_000


@pytest.mark.parametrize("choice", [True, "cache", Path("cache")])
def test_what_is_no_cache_is_refused(small, choice):
    with pytest.raises(UsageError, match=r"allowed is Cache\(folder\), as in Cache\('cache', limit='20 GB'\); False"):
        msl.open(small, cache=choice)
