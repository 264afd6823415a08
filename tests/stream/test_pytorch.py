"""PyTorch's DataLoader: the same batches with any workers, forked or spawned, from S3; a state that counts right."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import streamed
from streamed import as_plain, ids_of

import msl_store as msl
from msl_store.errors import UsageError
from msl_store.stream import Batches, Cloud, Images, Instances, Meshes, Queries, Rank

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from msl_store.stream.pytorch import Loader, as_tensors  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),  # from Python 3.12 on: this process has threads
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
]

WORKERS = [(0, None, False), (2, "fork", False), (4, "fork", True), (2, "spawn", True)]
"""How many, how they start, and whether they persist from epoch to epoch."""

SECONDS = 60
"""After so long without a batch a worker counts as hanging, and the loader raises."""


def loader(batches, workers, context, **options):
    return Loader(batches, workers=workers, context=context, timeout=SECONDS if workers else 0, **options)


def test_every_kind_of_worker_yields_the_same_batches_from_s3(many, bucket):
    """Three epochs of each, in the same order and with the same arrays; nothing hangs."""
    library = msl.open(bucket.upload(streamed.many()), bucket.storage_options).select(first=30)
    fields = {"mesh": Meshes("packed")}
    local = Batches(many.select(first=30), fields, 8, seed=4)
    expected = [[as_plain(batch) for batch in local] for _ in range(3)]
    assert len({str(epoch) for epoch in expected}) == 3
    for workers, context, persistent in WORKERS:
        found = loader(Batches(library, fields, 8, seed=4), workers, context, persistent_workers=persistent)
        for epoch in expected:
            assert len(found) == len(epoch)
            assert [as_plain(batch) for batch in found] == epoch, f"{workers} workers, {context}"


@pytest.mark.parametrize("persistent", [False, True])
def test_a_loader_resumes_with_other_workers_ranks_and_sizes(many, persistent):
    fields = {"mesh": Meshes("list")}
    order = Batches(many, fields).order(0).tolist()
    one = loader(Batches(many, fields, 16), 2, "fork", persistent_workers=persistent)
    found = ids_of(islice(one, 4))
    assert one.state_dict()["done"] == 64
    ranks = [Batches(many, fields, 10, rank=Rank(rank, 2)) for rank in range(2)]
    for batches in ranks:
        batches.load_state_dict(one.state_dict())
    turns = [ids_of(islice(loader(batches, 3, "fork"), 3)) for batches in ranks]
    found += [ids for step in zip(*turns, strict=True) for ids in step]
    one.load_state_dict(ranks[1].state_dict())
    found += ids_of(one)
    assert [instance for ids in found for instance in ids] == order
    one.set_epoch(5)
    assert [instance for ids in ids_of(one) for instance in ids] == one.batches.order(5).tolist()


def test_tensors_have_the_arrays_values(full):
    batches = Batches(full, {"image": Images("conf2"), "points": Queries(10), "cloud": Cloud(10)}, 4)
    arrays = next(iter(batches))
    tensors = as_tensors(arrays)
    assert set(tensors) == set(arrays)
    assert tensors["image"].dtype == torch.int32
    assert tensors["points"].dtype == torch.float32
    assert tensors["points.inside"].dtype == torch.bool
    for name, array in arrays.items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)
    listed = as_tensors({"mesh": [np.zeros((2, 3), np.uint32)], "name": "x"})
    assert listed["mesh"][0].dtype == torch.int64
    assert listed["name"] == "x"


@pytest.mark.parametrize("workers", [0, 2])
def test_pytorch_loads_a_map_style_data_set_with_its_own_sampler(full, workers):
    data = Instances(full, {"points": Queries(20), "image": Images("conf2", dtype="float32")}, seed=1)
    generator = torch.Generator().manual_seed(0)
    batches = list(
        DataLoader(data, 4, shuffle=True, num_workers=workers, generator=generator, timeout=SECONDS * (workers > 0))
    )
    ids = [instance for batch in batches for instance in batch["id"].tolist()]
    assert sorted(ids) == sorted(data.ids.tolist())
    assert ids != data.ids.tolist()
    for batch in batches:
        for place, instance in enumerate(batch["id"].tolist()):
            own = {name: value[place].numpy() for name, value in batch.items()}
            assert as_plain(own) == as_plain(data.by_id(instance))


def test_an_error_in_a_worker_reaches_the_loop(many):
    batches = Batches(many, {"mesh": Meshes("list")}, 16, transform=refuse)
    with pytest.raises(ValueError, match="no such batch"):
        list(loader(batches, 0, None))


def refuse(_batch):
    raise ValueError("no such batch")


@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (2, "spawn")])
def test_a_loader_tells_progress_and_what_it_cost(many, workers, context):
    seen = []
    batches = Batches(many, {"mesh": Meshes("list")}, 50, progress=Seen(seen))
    own = loader(batches, workers, context)
    assert own.stats.instances == 0
    for epoch in (1, 2):
        list(own)
        assert seen == [(50, 192), (100, 192), (150, 192), (192, 192)] * epoch
        assert (own.stats.batches, own.stats.instances) == (4 * epoch, 192 * epoch)
    stats = own.stats
    assert 0 < stats.wait_s <= stats.seconds
    alone = Batches(many, {"mesh": Meshes("list")}, 50)
    for _ in range(2):
        list(alone)
    assert stats.bytes == pytest.approx(alone.stats.bytes, rel=0.3)  # each worker reads the indexes of its shards
    assert stats.requests > 0
    assert stats.held_bytes > 0
    assert repr(own) == f"<Loader with {workers} workers of {batches!r}>"


class Seen:
    """A progress that spawned workers can be sent; only the main process's list is looked at."""

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, done, everything):
        self.seen.append((done, everything))


def test_what_the_batches_say_a_loader_does_not_take(many):
    batches = Batches(many, {"mesh": Meshes("list")})
    with pytest.raises(UsageError, match=r"not allowed here is batch_size: Batches\(size=...\) says it, shuffle: Bat"):
        Loader(batches, batch_size=4, shuffle=True)
    with pytest.raises(UsageError, match=r"allowed is Batches\(library, fields, size\)"):
        Loader(many)
