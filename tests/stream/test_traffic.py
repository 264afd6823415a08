"""What a training step moves over the network, counted at the network; and a network that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny_edition
from benchmarks.image_library import made_up_images
from servers.proxy import Fault
from servers.request_log import round_trips
from small_library import build
from streamed import as_plain

import msl_store as msl
from ingest.record import Images as StoredImages
from ingest.record import Record
from msl_store import schema
from msl_store.shapes import Occupancy, PointCloud
from msl_store.store import Objects
from msl_store.stream import Batches, Cloud, Images, Instances, Queries

if TYPE_CHECKING:
    from pathlib import Path

STEP = {"image": Images("conf2", views=1), "points": Queries(2048)}
"""A step of an occupancy network: one image of one view, 2,048 points, their labels."""

GOAL_BYTES = 90_000


def incompressible(instance: int) -> Record:
    """An instance whose parts take as much room as a real one's: random points, noisy images."""
    rng = np.random.default_rng(instance)
    points = rng.uniform(-0.55, 0.55, (schema.SAMPLES, 3)).astype(np.float16)
    inside = np.linalg.norm(points * [1, 2, 3], axis=1) < 0.5
    directions = rng.standard_normal((schema.SAMPLES, 3)).astype(np.float32)
    return Record(
        instance,
        point_cloud=PointCloud(directions / np.linalg.norm(directions, axis=1, keepdims=True) / 2),
        occupancy=Occupancy(points, np.packbits(inside), np.zeros(3), 100.0),
        images=StoredImages(made_up_images(rng), np.ones((3, 6), np.bool_)),
    )


@pytest.fixture(scope="module")
def real_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real-size")
    build([incompressible(instance) for instance in range(1, 13)], folder / "lib.zarr")
    return folder / "lib.zarr"


@pytest.fixture
def remote(real_size, web, delay_proxy):
    """The library at a web server, and the proxy that writes down what it is asked for."""
    proxy = delay_proxy(web(real_size.parent).url, delay_s=0)
    return f"{proxy.url}/{real_size.name}", proxy


def test_a_step_moves_no_more_than_its_goal(remote):
    url, proxy = remote
    batches = Batches(msl.open(url), STEP, 4)
    proxy.reset()
    for epoch in range(2):
        list(batches)
        moved = proxy.bytes()
        # of the first epoch the shards' indexes are part, 39 kB for the up to 64 instances of a block
        assert 60_000 < moved / 12 < GOAL_BYTES, f"epoch {epoch}"
        proxy.reset()


def test_figures_are_those_of_the_network(remote):
    url, proxy = remote
    batches = Batches(msl.open(url), STEP, 4)
    proxy.reset()
    list(batches)
    assert (batches.stats.bytes, batches.stats.requests) == (proxy.bytes(), len(proxy.requests()))
    # an image, a chunk of points and near answers together; three indexes, perhaps read by two threads at once
    assert 2 * 12 < batches.stats.requests <= 3 * 12 + 2 * 3


def test_the_frame_of_a_block_is_read_once(remote):
    url, proxy = remote
    batches = Batches(msl.open(url), {"points": Queries(64, frame=True)}, 12)
    proxy.reset()
    for _ in range(3):
        list(batches)
    frames = [request.path for request in proxy.requests() if "occupancy/loc" in request.path]
    assert len(frames) == 1


def test_a_batch_takes_two_round_trips(remote):
    url, proxy = remote
    batches = Batches(msl.open(url), STEP, 12)
    proxy.set_delay(0.05)
    proxy.reset()
    next(iter(batches))
    assert round_trips(proxy.requests()) == 2
    proxy.reset()
    batches.set_epoch(1)
    next(iter(batches))
    assert round_trips(proxy.requests()) == 1


def test_a_cache_keeps_what_a_stream_has_read(remote, real_size, tmp_path):
    url, proxy = remote
    library = msl.open(url, cache=msl.Cache(tmp_path / "cache", limit="1 GB"))
    batches = Batches(library, STEP, 4)
    found = list(batches)
    batches.set_epoch(0)
    proxy.reset()
    again = list(batches)
    assert proxy.requests() == []
    local = list(Batches(msl.open(real_size), STEP, 4))
    assert [as_plain(batch) for batch in found] == [as_plain(batch) for batch in again] == list(map(as_plain, local))


def test_opening_for_a_stream_takes_two_round_trips(remote):
    url, proxy = remote
    proxy.set_delay(0.05)
    proxy.reset()
    Batches(msl.open(url), STEP, 12)
    assert round_trips(proxy.requests()) == 2


def test_spreading_reads_what_it_says(remote):
    url, proxy = remote
    batches = Batches(msl.open(url), {"cloud": Cloud(2048, spread=5)}, 6)
    list(batches)
    proxy.reset()
    list(batches)
    chunks = [request for request in proxy.requests() if "point_cloud/points" in request.path]
    assert 12 * 5 * 90_000 < proxy.bytes() < 12 * 10 * 120_000
    assert 0 < len(chunks) <= 12 * 5


@pytest.mark.parametrize("client", ["obstore", "fsspec"])
@pytest.mark.parametrize("kind", ["error", "cut"])
def test_passing_faults_of_the_network_change_nothing(remote, real_size, kind, client):
    url, proxy = remote
    library = msl.open(url, {"client": "fsspec"} if client == "fsspec" else None)
    batches = Batches(library, STEP, 4)
    proxy.inject(Fault(kind, every=5, times=6))
    found = list(batches)
    assert sum(request.fault is not None for request in proxy.requests()) == 6
    proxy.inject(None)
    expected = Instances(msl.open(real_size), STEP)
    for batch in found:
        for place, instance in enumerate(batch["id"].tolist()):
            assert as_plain({name: value[place] for name, value in batch.items()}) == as_plain(expected.by_id(instance))


def test_the_figures_count_what_an_edition_is_asked_for(real_size, tmp_path, web, delay_proxy):
    library = msl.open(real_size)
    tiny_edition.write(Objects(str(tmp_path / "edition.zarr")), instances=12, source_digest=library.digest)
    proxy = delay_proxy(web(tmp_path).url, delay_s=0)
    both = library.with_edition(f"{proxy.url}/edition.zarr")
    batches = Batches(both, {"image": Images()}, 4)
    before = len(proxy.requests())
    list(batches)
    assert batches.stats.requests == len(proxy.requests()) - before > 0
