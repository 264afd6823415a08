"""An epoch divided among ranks: a prefix of the order after every step, and nothing twice."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.stream import Rank
from msl_store.stream.ranks import current_rank, step_count, steps


@given(
    st.integers(0, 200), st.integers(1, 9), st.integers(1, 7), st.sampled_from(["keep", "drop"]), st.integers(0, 200)
)
def test_ranks_share_every_step(count, size, world, tail, done):
    done = min(done, count)
    own = [list(steps(count, size=size, rank=Rank(number, world), tail=tail, done=done)) for number in range(world)]
    for number, mine in enumerate(own):
        assert len(mine) == step_count(count, size=size, rank=Rank(number, world), tail=tail, done=done)
        assert all(0 < step.stop - step.start <= size for step in mine)
    at = done
    for turn in range(max(map(len, own))):
        parts = [mine[turn] for mine in own if turn < len(mine)]
        for step in parts:
            assert step.start == at
            at = step.stop
        assert {step.done for step in parts} == {at}
        assert max(s.stop - s.start for s in parts) - min(s.stop - s.start for s in parts) <= 1
    if tail == "keep":
        assert at == count
        assert max(map(len, own)) - min(map(len, own)) <= 1
    else:
        assert count - at < size * world
        assert {step.stop - step.start for mine in own for step in mine} <= {size}
        assert len({len(mine) for mine in own}) == 1


def test_the_rank_is_that_of_torch_distributed_where_it_is_in_use(monkeypatch):
    state = {"initialised": False}
    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: state["initialised"],
        get_rank=lambda: 2,
        get_world_size=lambda: 5,
    )
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed)
    assert current_rank() == Rank(0, 1)
    state["initialised"] = True
    assert current_rank() == Rank(2, 5)
    monkeypatch.delitem(sys.modules, "torch.distributed")
    assert current_rank() == Rank(0, 1)


@pytest.mark.parametrize(("number", "world"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_beyond_its_world_is_refused(number, world):
    with pytest.raises(UsageError, match=f"rank {number} of {world}"):
        Rank(number, world)
