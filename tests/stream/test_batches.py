"""Order, coverage and resumption for any workers, ranks, batch sizes, read-ahead and interruptions; and what comes."""

from __future__ import annotations

import json
import pickle
from itertools import chain, islice, zip_longest

import numpy as np
import pytest
import streamed
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import made_records
from streamed import as_plain, ids_of

import msl_store as msl
from msl_store.errors import MissingError, UsageError
from msl_store.stream import Batches, Cloud, Images, Instances, Meshes, Queries, Rank, Shuffle

MESH = {"mesh": Meshes("list")}


def flat(batches):
    return list(chain.from_iterable(ids_of(batches)))


@st.composite
def arrangements(draw):
    """How a stream runs for a while: ranks, batch size, workers of each rank, memory; and how many steps it makes."""
    return {
        "world": draw(st.integers(1, 4)),
        "size": draw(st.integers(1, 40)),
        "workers": draw(st.integers(1, 3)),
        "ahead_bytes": draw(st.sampled_from([0, 10_000, 2**26])),
        "steps": draw(st.integers(0, 6)),
    }


def by_workers(batches, workers):
    """What a loader yields whose workers take turns: every worker has a copy of the stream, as a process would."""
    start, rank = batches.following(), batches.rank
    copies = [pickle.loads(pickle.dumps(batches)) for _ in range(workers)]
    runs = [copy.run(start, rank, worker=number, workers=workers) for number, copy in enumerate(copies)]
    try:
        yield from (found for turn in zip_longest(*runs) for found in turn if found is not None)
    finally:
        for run in runs:
            run.close()


@settings(deadline=None, max_examples=25)
@given(
    phases=st.lists(arrangements(), min_size=1, max_size=4),
    seed=st.integers(0, 2**40),
    shuffle=st.sampled_from([None, Shuffle(), Shuffle(64), Shuffle(30)]),
    first=st.integers(1, 192),
)
def test_an_epoch_is_the_same_however_it_is_run_and_interrupted(phases, seed, shuffle, first):
    """Each phase resumes from the state of the one before, in another arrangement; the last one runs to the end."""
    library = msl.open(streamed.many())
    library = library.select(ids=library.ids[library.has_part("mesh")][:first])
    state, found = None, []
    for number, phase in enumerate(phases):
        last = number == len(phases) - 1
        turns, states = [], []
        for rank in range(phase["world"]):
            batches = Batches(
                library,
                MESH,
                phase["size"],
                seed=seed,
                shuffle=shuffle,
                rank=Rank(rank, phase["world"]),
                ahead_bytes=phase["ahead_bytes"],
            )
            if state is not None:
                batches.load_state_dict(json.loads(json.dumps(state)))
            epoch = batches.following().epoch
            taken = []
            for step, batch in islice(by_workers(batches, phase["workers"]), None if last else phase["steps"]):
                assert len(batch["id"]) == step.stop - step.start
                batches.move_to(type(batches.following())(epoch, step.done))
                taken.append(batch)
            turns.append(ids_of(taken))
            states.append(batches.state_dict())
        found += [(epoch, one) for step in zip_longest(*turns, fillvalue=[]) for one in chain.from_iterable(step)]
        if len(turns) == 1 or len({len(turn) for turn in turns}) == 1:
            assert all(other == states[0] for other in states)
        state = max(states, key=lambda one: (one["epoch"], one["done"]))
    reference = Batches(library, MESH, seed=seed, shuffle=shuffle)
    epochs = sorted({epoch for epoch, _ in found})
    assert epochs == list(range(epochs[-1] + 1))
    for epoch in epochs:
        expected = reference.order(epoch).tolist()
        assert sorted(expected) == sorted(library.ids.tolist())
        assert [instance for e, instance in found if e == epoch] == expected
    assert state["done"] == 0
    assert state["epoch"] == epochs[-1] + 1


def test_iterating_goes_on_where_it_stopped(many):
    batches = Batches(many, MESH, 16, seed=3)
    whole = Batches(many, MESH, 16, seed=3)
    first, second = [ids_of(whole) for _ in range(2)]
    assert len(batches) == len(first) == 12
    parts = ids_of(islice(batches, 5))
    assert (batches.epoch, len(batches)) == (0, 7)
    parts += ids_of(islice(batches, 7))
    assert parts == first
    assert (batches.epoch, len(batches)) == (0, 12)
    assert ids_of(batches) == second
    assert batches.epoch == 2
    batches.set_epoch(1)
    assert ids_of(batches) == second


def test_ranks_that_have_no_last_batch_go_on_to_the_next_epoch(many):
    library = many.select(ids=many.ids[many.has_part("mesh")][:11])
    ranks = [Batches(library, MESH, 3, rank=Rank(rank, 3)) for rank in range(3)]
    for epoch in range(3):
        turns = [ids_of(batches) for batches in ranks]
        assert [len(turn) for turn in turns] == [2, 2, 1]
        assert [i for step in zip_longest(*turns, fillvalue=[]) for one in step for i in one] == ranks[0].order(
            epoch
        ).tolist()
        assert all(batches.state_dict() == ranks[0].state_dict() for batches in ranks)


def test_a_state_from_the_middle_of_a_loop_counts_the_batch_at_hand(many):
    batches, states, found = Batches(many, MESH, 50), [], []
    for batch in batches:
        found.append(batch["id"].tolist())
        states.append(batches.state_dict())
    for number, state in enumerate(states[:-1]):
        resumed = Batches(many, MESH, 50)
        resumed.load_state_dict(state)
        assert ids_of(resumed) == found[number + 1 :]
    assert (states[-1]["epoch"], states[-1]["done"]) == (1, 0)


def test_a_state_of_something_else_is_refused(many):
    batches = Batches(many, MESH, 16)
    state = batches.state_dict()
    for other, what in [
        (Batches(many, MESH, 16, seed=1), "another seed"),
        (Batches(many, MESH, 16, shuffle=None), "another shuffle"),
        (Batches(many.select(first=100), MESH, 16), "another set of instances"),
    ]:
        with pytest.raises(UsageError, match=f"this state is of {what} .* make the batches as those were made"):
            other.load_state_dict(state)
    with pytest.raises(
        UsageError, match=r"this is no state of batches: it lacks epoch, done, .*; give what state_dict"
    ):
        batches.load_state_dict({"seed": 0})
    for damage in ({"done": -16}, {"done": 193}, {"epoch": -1}):
        with pytest.raises(UsageError, match=r"this state is at instance .* it was damaged or changed"):
            batches.load_state_dict({**state, **damage})
    assert batches.state_dict() == state


def test_a_second_iteration_ends_the_first(many):
    batches = Batches(many, MESH, 16)
    one = iter(batches)
    next(one)
    next(iter(batches))
    with pytest.raises(UsageError, match="another iteration has begun, or moved it; iterate once at a time"):
        next(one)


def test_what_lacks_something_is_left_out_and_named(full):
    batches = Batches(full, {"mesh": Meshes(), "image": Images("conf2", views=("0",))}, 8, shuffle=None)
    has = {
        instance
        for instance, record in made_records().items()
        if record.mesh is not None and record.images is not None and record.images.present[1, 0]
    }
    assert set(batches.ids.tolist()) == has
    assert set(batches.left_out.tolist()) == set(full.ids.tolist()) - has
    assert flat(batches) == batches.ids.tolist()
    assert f"mesh, image of {len(has)} instances, {len(full) - len(has)} left out" in repr(batches)


def test_what_is_drawn_depends_on_seed_epoch_and_id_alone(full):
    fields = {"points": Queries(100), "image": Images("conf2", views=2), "cloud": Cloud(50)}
    reference = Instances(full, fields, seed=5)
    found = {}
    for size, world in [(1, 1), (3, 2), (64, 1)]:
        for rank in range(world):
            batches = Batches(full.select(ids=full.ids[::-1]), fields, size, seed=5, rank=Rank(rank, world))
            for epoch in range(2):
                for batch in batches:
                    for place, instance in enumerate(batch["id"].tolist()):
                        own = as_plain({name: value[place] for name, value in batch.items()})
                        reference.set_epoch(epoch)
                        expected = as_plain(reference.by_id(instance))
                        assert own == expected == found.setdefault((epoch, instance), own)
    epochs = [[found[epoch, instance]["points"] for instance in reference.ids.tolist()] for epoch in range(2)]
    assert all(one != other for one, other in zip(*epochs, strict=True))


def test_other_fields_change_nothing(full):
    alone = Instances(full, {"points": Queries(100)}, seed=5)
    beside = Instances(full, {"other": Queries(50), "cloud": Cloud(50), "points": Queries(100)}, seed=5)
    instance = int(beside.ids[0])
    one, other = alone.by_id(instance), beside.by_id(instance)
    assert one["points"].tobytes() == other["points"].tobytes()


def test_a_transform_changes_what_is_delivered_and_travels(many):
    batches = Batches(many, MESH, 64, transform=ids_only)
    found = list(batches)
    assert found == [one.tolist() for one in np.split(batches.order(0), range(64, len(batches.ids), 64))]
    again = pickle.loads(pickle.dumps(batches))
    again.set_epoch(0)
    assert list(again) == found


def ids_only(batch):
    return batch["id"].tolist()


def test_progress_and_figures(many):
    seen = []
    batches = Batches(many, MESH, 50, progress=lambda *done: seen.append(done))
    assert batches.stats.instances == 0
    list(batches)
    assert seen == [(50, 192), (100, 192), (150, 192), (192, 192)]
    stats = batches.stats
    assert (stats.batches, stats.instances) == (4, 192)
    assert 0 < stats.wait_s <= stats.seconds
    assert stats.requests > 0
    assert stats.bytes_per_instance == stats.bytes / 192 > 100
    assert 0 < stats.held_bytes <= batches.ahead_bytes
    assert "192 instances in 4 batches" in str(stats)


def test_reading_ahead_keeps_to_its_memory(many):
    for limit in (0, 2**22):
        batches = Batches(many, MESH, 4, ahead_bytes=limit)
        list(batches)
        one = max(batches._recipe.nbytes(np.arange(start, start + 4)) for start in range(0, 192, 4))
        assert 0 < batches.stats.held_bytes <= max(limit, one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "allowed are a size of 1 or more"),
        ({"ahead_bytes": -1}, "size -1: allowed is a number of bytes, or text such as"),
        ({"tail": "repeat"}, "tail 'repeat': .*keep or drop"),
        ({"seed": -1}, "seed -1: allowed is an integer, 0 to"),
        ({"fields": {}}, "fields none: allowed are names"),
        ({"seed": 1.5}, "seed 1.5: allowed is an integer"),
        ({"seed": None}, "seed None: allowed is an integer"),
        ({"fields": [Meshes()]}, r"allowed is a mapping of names to forms, as in {'points': Queries\(2048\)}"),
        ({"fields": {"id": Meshes()}}, "not id"),
        ({"fields": {"my mesh": Meshes()}}, "allowed are names such as points or image"),
        ({"fields": {"mesh": Meshes}}, r"fields: mesh is <class .*Meshes'>; allowed is a form with its options"),
        ({"fields": {"mesh": "meshes"}}, "fields: mesh is 'meshes'; allowed is a form"),
        ({"size": 2.5}, "size 2.5"),
        (
            {"size": 193, "tail": "drop"},
            r"leaves no batch of 193 on each of 1 ranks: there are 192 instances; take a sm",
        ),
        ({"size": 97, "tail": "drop", "rank": Rank(1, 2)}, r"no batch of 97 on each of 2 ranks"),
        ({"shuffle": True}, r"shuffle True: allowed are Shuffle\(\), with its window, and None"),
        ({"rank": 1}, r"rank 1: allowed is Rank\(number, world\)"),
    ],
)
def test_arguments_beyond_what_is_allowed_are_refused(many, arguments, message):
    with pytest.raises(UsageError, match=message):
        Batches(many, **{"fields": MESH, **arguments})


def test_nothing_that_has_it_all_is_an_error(full):
    lacking = full.select(ids=full.ids[~full.has_part("mesh")])
    with pytest.raises(MissingError, match=rf"none of {len(lacking)} instances has all that is asked for \(mesh: 0\)"):
        Batches(lacking, MESH)


def test_instances_by_position_and_id(full):
    data = Instances(full, {"cloud": Cloud(20)}, seed=2)
    assert len(data) == len(data.ids) == int(full.has_part("point_cloud").sum())
    assert as_plain(data[-1]) == as_plain(data[len(data) - 1]) == as_plain(data.by_id(int(data.ids[-1])))
    assert [one["id"] for one in data] == data.ids.tolist()
    assert [as_plain(one) for one in data.__getitems__([3, 0])] == [as_plain(data[3]), as_plain(data[0])]
    assert as_plain(pickle.loads(pickle.dumps(data))[1]) == as_plain(data[1])
    with pytest.raises(IndexError, match=f"position {len(data)}: allowed is -{len(data)} to {len(data) - 1}; by id"):
        data[len(data)]
    with pytest.raises(TypeError, match="'slice' object cannot be interpreted as an integer"):
        data[:2]
    assert repr(data) == f"<Instances: cloud of {len(data)}, {len(full) - len(data)} left out, epoch 0, at {full.url}>"
    without = int(data.left_out[0])
    with pytest.raises(MissingError, match=f"instance {without}: it lacks something of what is asked for"):
        data.by_id(without)
    with pytest.raises(MissingError, match="instance 1: it is not there"):
        data.by_id(1)
    with pytest.raises(UsageError, match="epoch -1: allowed is 0 or more"):
        data.set_epoch(-1)


def test_memory_may_be_given_as_text(many):
    assert Batches(many, MESH, ahead_bytes="1.5 MiB").ahead_bytes == 3 * 2**19
