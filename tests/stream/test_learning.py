"""A network trained from a web server ends in the same weights, to the last bit, as one trained from local files."""

from __future__ import annotations

import numpy as np
import pytest
from small_library import build

import msl_store as msl
from ingest.procedural import instance
from ingest.record import Record
from ingest.sampling import occupancy, point_cloud

torch = pytest.importorskip("torch")

from benchmarks.occupancy_network import score, train  # noqa: E402


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(number: int) -> Record:
    mesh, rng = instance("dot", number, 0), np.random.default_rng(number)
    return Record(number, mesh, point_cloud(mesh, rng), occupancy(mesh, rng))


def test_remote_and_local_training_agree_to_the_bit(tmp_path, web, one_thread):
    library = build([drawn(number) for number in range(1, 17)], tmp_path / "dots.zarr")
    remote = msl.open(f"{web(tmp_path).url}/dots.zarr")
    ends = []
    for place in (library, remote):
        network, loss, batches = train(place, 6)
        assert batches.following().epoch > 0
        weights = [value.numpy().tobytes() for value in network.state_dict().values()]
        ends.append((weights, loss, score(network, place)))
    assert ends[0] == ends[1]
