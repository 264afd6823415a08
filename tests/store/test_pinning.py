"""What is pinned stays in a cache: whole, without its server, within the limit, until it is unpinned."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cached_library import IDS, everything, flip_in_packs, offline, paths
from disk_usage import used_bytes
from shapes_source import ShapesSource
from small_library import WHOLE, assert_same, made_records, record_of

import msl_store as msl
from ingest.repack import ingest
from msl_store.errors import IntegrityError, MissingError, NetworkError, UsageError
from msl_store.store import locate


def test_a_pinned_subset_is_there_without_its_server(distant, cache):
    url, proxy = distant
    library = msl.open(url, cache=cache)
    told = []
    pin = cache.pin(library.select(ids=IDS), progress=lambda done, everything: told.append((done, everything)))
    assert (pin.url, pin.instances, pin.complete) == (url, 3, True)
    assert set(pin.parts) == {"mesh", "point_cloud", "occupancy", "images"}
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] > 500_000
    assert cache.info().pinned_bytes == pin.bytes == used_bytes(next(cache.folder.rglob("pins")) / pin.id)
    cache.clear()
    proxy.reset()
    away = msl.open(url, cache=offline(cache))
    for instance, record in everything(away, IDS).items():
        assert_same(record, made_records()[instance])
    assert away.table.equals(msl.open(url).table)
    assert away.findings
    proxy.reset()
    again = cache.pin(msl.open(url, cache=cache).select(ids=IDS[::-1]))
    assert again == pin
    assert paths(proxy) == ["zarr.json"]
    cache.unpin(library.select(ids=IDS))
    assert cache.info().pinned_bytes == 0
    with pytest.raises(MissingError, match=f"has no pin {pin.id}; it has none"):
        cache.unpin(pin.id)


def test_a_pin_of_some_parts_holds_those(distant, cache):
    url, _ = distant
    library = msl.open(url, cache=cache).select(first=10)
    pin = cache.pin(library, parts=["images"])
    assert pin.parts == ("images",)
    cache.clear()
    away = msl.open(url, cache=offline(cache))
    np.testing.assert_array_equal(away.images.sel(instance=library.ids), msl.open(url).images.sel(instance=library.ids))
    with pytest.raises(NetworkError, match="mesh/"):
        away.mesh(WHOLE)
    with pytest.raises(MissingError, match=f"it has {pin.id}"):
        cache.unpin(library)
    cache.unpin(library, parts=["images"])
    assert [held.pins for held in cache.info().libraries] == [()]


def test_a_pin_that_is_too_large_is_refused_before_anything_is_fetched(distant, tmp_path):
    url, proxy = distant
    cache = msl.Cache(tmp_path / "cache", "2 MB")
    library = msl.open(url, cache=cache)
    message = r"the pin needs \d+\.\d MB or more, but the cache's limit is 2.0 MB, and 0 bytes are pinned; pin fewer"
    with pytest.raises(UsageError, match=message):
        cache.pin(library)
    assert proxy.bytes() < 1_000_000  # of 8 MB: the root document, columns and shard indexes
    assert cache.info().pinned_bytes == 0
    some = cache.pin(library.select(ids=IDS))
    with pytest.raises(UsageError, match=rf"limit is 2.0 MB, and {some.bytes / 1e6:.1f} MB are pinned"):
        cache.pin(library.select(first=30))
    assert cache.info().pinned_bytes == some.bytes
    with pytest.raises(UsageError, match=r"a limit of 1.0 MB is less than what is pinned"):
        msl.Cache(cache.folder, "1 MB")


def test_a_pin_that_turns_out_too_large_leaves_nothing_pinned(distant, tmp_path, monkeypatch):
    url, _ = distant
    cache = msl.Cache(tmp_path / "cache", "1 MB")
    library = msl.open(url, cache=cache)
    monkeypatch.setattr("msl_store.store.pinning._size", lambda requests: 1)
    with pytest.raises(UsageError, match=r"the pin needs .* bytes or more"):
        cache.pin(library)
    assert cache.info().pinned_bytes == 0
    assert used_bytes(cache.folder) <= 1_000_000


def test_a_pin_goes_on_where_its_server_went_away(distant, cache):
    from servers.proxy import Fault

    url, proxy = distant
    library = msl.open(url, cache=cache).select(first=40)
    cut = 0

    def cut_off(done, everything):
        nonlocal cut
        if done and not cut:
            cut = done
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.pin(library, parts=["images"], progress=cut_off)
    (held,) = cache.info().libraries
    assert [pin.complete for pin in held.pins] == [False]
    proxy.inject(Fault("error", every=1, times=1))
    proxy.reset()
    pin = cache.pin(library, parts=["images"])
    assert pin.complete
    proxy.inject(None)
    cache.clear()
    assert len(everything_of(msl.open(url, cache=offline(cache)).select(first=40))) == 40


def everything_of(library):
    return list(library.instances(parts=["images"]))


def test_a_library_that_changes_while_it_is_pinned_is_not_pinned(spoiled, web, cache):
    url = f"{web(spoiled.parent).url}/{spoiled.name}"
    library = msl.open(url, cache=cache)
    root = spoiled / "zarr.json"

    def change(done, everything):
        if done:
            document = json.loads(root.read_text())
            document["attributes"]["title"] = "another one"
            root.write_text(json.dumps(document))

    with pytest.raises(IntegrityError, match="has changed while it was being pinned; open it and pin it again"):
        cache.pin(library.select(first=3), progress=change)
    assert cache.info().pinned_bytes == 0


def test_what_was_opened_without_the_cache_cannot_be_pinned(distant, cache, tmp_path):
    url, _ = distant
    for library in (msl.open(url), msl.open(url, cache=msl.Cache(tmp_path / "other", "2 MB"))):
        with pytest.raises(UsageError, match=r"was opened without this cache \(.*cache\); allowed is a library that"):
            cache.pin(library)
    with pytest.raises(UsageError, match="parts: colours unknown; allowed: mesh, point_cloud, occupancy, images"):
        cache.pin(msl.open(url, cache=cache), parts=["colours"])


def test_a_damaged_pin_says_that_it_is_no_longer_complete(distant, cache):
    url, _ = distant
    library = msl.open(url, cache=cache).select(ids=[WHOLE])
    pin = cache.pin(library)
    assert flip_in_packs(cache) > 5
    damages = cache.verify()
    assert any(damage.pinned for damage in damages)
    assert [[p.complete for p in held.pins] for held in cache.info().libraries] == [[False]]
    assert cache.pin(library) == pin
    cache.clear()
    assert_same(record_of(msl.open(url, cache=offline(cache)).instance(WHOLE)), made_records()[WHOLE])


def test_an_editions_images_are_cached_and_pinned_with_its_shapes(tmp_path, web, delay_proxy, cache):
    shapes = ingest(ShapesSource(3), locate(tmp_path / "shapes.zarr")) and msl.open(tmp_path / "shapes.zarr")
    msl.write(msl.simulate(shapes, "epi1", views=["0"]), tmp_path / "edition.zarr")
    proxy = delay_proxy(web(tmp_path).url, delay_s=0)
    urls = f"{proxy.url}/shapes.zarr", f"{proxy.url}/edition.zarr"
    both = msl.open(urls[0], cache=cache).with_edition(urls[1], cache=cache)
    cache.pin(both)
    cache.clear()
    proxy.reset()
    away = msl.open(urls[0], cache=offline(cache)).with_edition(urls[1], cache=offline(cache))
    expected = shapes.with_edition(tmp_path / "edition.zarr")
    np.testing.assert_array_equal(away.images, expected.images)
    np.testing.assert_array_equal(away.mesh(20).vertices, shapes.mesh(20).vertices)
    assert proxy.requests() == []
    assert sorted(held.url for held in cache.info().libraries) == sorted(urls)


def test_clearing_leaves_pins_unless_they_are_meant_too(distant, cache):
    url, _ = distant
    pin = cache.pin(msl.open(url, cache=cache).select(ids=[WHOLE]))
    (cache.folder / "mine.txt").write_text("mine")
    cache.clear()
    assert cache.info().pinned_bytes == pin.bytes
    cache.clear(pins=True)
    info = cache.info()
    assert (info.libraries, info.entries, info.pinned_bytes) == ((), 0, 0)
    assert sorted(path.name for path in cache.folder.iterdir()) == [
        "ledger",
        "libraries",
        "lock",
        "mine.txt",
        "msl-cache.json",
        "urls",
    ]
