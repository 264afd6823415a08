"""Blocks run anywhere with the same outcomes, and one that fails stops no other."""

from __future__ import annotations

import os
import platform
import resource
from functools import partial

import blocks
import pytest
from servers.process import free_port

from msl_store.blockwise import Outcome, run_blocks
from msl_store.errors import IntegrityError, NetworkError, UsageError

NUMBERS = [0, 1, 2, 3, 4, 7]


@pytest.fixture(params=["threads", "processes", "synchronous", "client", "address", "client in force", "nothing said"])
def scheduler(request):
    """Every way to say where blocks run."""
    if request.param in {"client", "client in force"}:
        client = request.getfixturevalue("client")
        return client if request.param == "client" else None
    if request.param == "address":
        return request.getfixturevalue("cluster").address
    return None if request.param == "nothing said" else request.param


def tasks_of(function, numbers=NUMBERS):
    return {number: partial(function, number) for number in numbers}


def test_every_block_is_reported_once_with_its_value(scheduler):
    outcomes = []
    run_blocks(tasks_of(blocks.tenfold), scheduler=scheduler, done=outcomes.append)
    assert sorted(outcomes, key=lambda outcome: outcome.block) == [Outcome(n, 10 * n) for n in NUMBERS]


def test_a_block_that_fails_stops_no_other_and_is_raised_in_the_end(scheduler):
    outcomes = []
    with pytest.raises(
        IntegrityError, match=r"block 1 is damaged \(3 of 6 blocks failed; run this again to finish them\)"
    ):
        run_blocks(tasks_of(blocks.odd_ones_fail), scheduler=scheduler, done=outcomes.append)
    assert {outcome.block: outcome.value for outcome in outcomes} == {0: 0, 1: None, 2: 20, 3: None, 4: 40, 7: None}
    assert {outcome.block: str(outcome.error) for outcome in outcomes if outcome.error} == {
        1: "block 1 is damaged",
        3: "block 3 is not there",
        7: "block 7 is damaged",
    }


def test_a_mistake_is_raised_as_it_is(scheduler):
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        run_blocks(tasks_of(blocks.a_mistake, [1]), scheduler=scheduler)


def test_no_blocks_are_no_work(scheduler):
    outcomes = []
    run_blocks({}, scheduler=scheduler, done=outcomes.append)
    assert outcomes == []


def places(scheduler):
    outcomes = []
    run_blocks(tasks_of(blocks.where_it_runs), scheduler=scheduler, done=outcomes.append)
    return {outcome.value for outcome in outcomes}


def test_blocks_run_where_they_should(client, cluster):
    assert places("synchronous") == {(os.getpid(), True)}
    assert places("threads") == {(os.getpid(), False)}
    assert os.getpid() not in {pid for pid, _ in places("processes")}
    workers = set(cluster.worker_pids().values())
    for scheduler in (client, cluster.address, None):
        assert {pid for pid, _ in places(scheduler)} <= workers


def test_what_is_done_is_heard_of_while_others_still_run(tmp_path):
    seen = []

    def done(outcome):
        seen.append((outcome.block, sorted(int(path.name) for path in tmp_path.iterdir())))

    tasks = {number: partial(blocks.left_a_mark, str(tmp_path), number) for number in (0, 1, 2)}
    run_blocks(tasks, scheduler="synchronous", done=done)
    assert sorted(len(marks) for _, marks in seen) == [1, 2, 3]


def test_an_unknown_scheduler_is_a_usage_error():
    with pytest.raises(
        UsageError, match=r"scheduler 'thread': allowed are threads, processes, synchronous and a cluster's"
    ):
        run_blocks(tasks_of(blocks.tenfold), scheduler="thread")


def test_a_cluster_that_is_not_there_is_a_network_error(monkeypatch):
    monkeypatch.setattr("msl_store.blockwise.CONNECT_S", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(NetworkError, match=rf"scheduler {address}: .*; start one with: dask scheduler"):
        run_blocks(tasks_of(blocks.tenfold), scheduler=address)


def test_an_address_of_no_known_protocol_is_a_usage_error():
    with pytest.raises(UsageError, match=r"scheduler 'foo://127.0.0.1:1': allowed are .* tls, ucx"):
        run_blocks(tasks_of(blocks.tenfold), scheduler="foo://127.0.0.1:1")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep freed memory")
def test_a_worker_uses_freed_memory_again(client):
    outcomes = []
    run_blocks(tasks_of(blocks.pages_faulted_by_arrays, [0]), scheduler=client, done=outcomes.append)
    one_array = 4 * 2**20 // resource.getpagesize()
    assert outcomes[0].value < 5 * one_array  # of 50 that are mapped where a nanny's setting is left in force
