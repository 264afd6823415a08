"""The order of an epoch: every instance once, from nothing but (instances, seed, epoch), and mixed as it says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.schema import BLOCK
from msl_store.stream import Shuffle, epoch_order, mixing

ROWS = st.lists(st.integers(0, 2000), unique=True, max_size=300).map(lambda rows: np.array(rows, np.int64))
SHUFFLES = st.sampled_from([None, Shuffle(None), Shuffle(1), Shuffle(7), Shuffle(64), Shuffle(256), Shuffle()])


@given(ROWS, st.integers(0, 2**63 - 1), st.integers(0, 1000), SHUFFLES)
def test_every_instance_comes_once(rows, seed, epoch, shuffle):
    order = epoch_order(rows, seed=seed, epoch=epoch, shuffle=shuffle)
    assert sorted(order.tolist()) == list(range(len(rows)))


@given(ROWS, st.integers(0, 100), SHUFFLES.filter(bool), st.randoms())
def test_a_shuffled_order_does_not_depend_on_the_order_of_the_rows(rows, seed, shuffle, random):
    other = rows.tolist()
    random.shuffle(other)
    orders = [
        given_rows[epoch_order(given_rows, seed=seed, epoch=3, shuffle=shuffle)].tolist()
        for given_rows in (rows, np.array(other, np.int64))
    ]
    assert orders[0] == orders[1]


def test_without_a_shuffle_instances_keep_their_order():
    assert epoch_order(np.array([9, 2, 5]), seed=3, epoch=8, shuffle=None).tolist() == [0, 1, 2]


def test_seeds_and_epochs_have_orders_of_their_own():
    rows = np.arange(300)
    orders = {
        tuple(epoch_order(rows, seed=seed, epoch=epoch, shuffle=shuffle).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
        for shuffle in (Shuffle(None), Shuffle(128))
    }
    assert len(orders) == 8


def test_an_order_never_changes():
    """States that were saved with an earlier version, and runs to be repeated, depend on it."""
    order = epoch_order(np.arange(1000), seed=42, epoch=7, shuffle=Shuffle(256))
    digest = hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
    assert (order[:5].tolist(), digest[:16]) == ([485, 540, 553, 119, 126], "80e2eecf695a11e6")


def test_a_window_holds_whole_blocks():
    rows = np.arange(64 * BLOCK)
    order = epoch_order(rows, seed=1, epoch=0, shuffle=Shuffle(8 * BLOCK))
    for window in order.reshape(-1, 8 * BLOCK):
        blocks, counts = np.unique(rows[window] // BLOCK, return_counts=True)
        assert len(blocks) == 8
        assert (counts == BLOCK).all()


@pytest.mark.parametrize("shuffle", [Shuffle(None), Shuffle(4 * BLOCK)])
def test_every_instance_is_as_likely_at_every_position(shuffle):
    """Counts of (instance, position) in tenths, over many epochs, against the chi-square distribution."""
    count, epochs = 10 * BLOCK, 600
    seen = np.zeros((10, 10))
    for epoch in range(epochs):
        order = epoch_order(np.arange(count), seed=9, epoch=epoch, shuffle=shuffle)
        for tenth, part in enumerate(order.reshape(10, -1)):
            # one instance of each tenth of the rows: those of a block move together
            seen[tenth] += np.isin(np.arange(0, count, BLOCK), part)
    expected = epochs / 10
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert chi_square < 130  # 81 degrees of freedom: exceeded by chance once in 2,000 times


def test_a_larger_window_mixes_more_and_a_full_shuffle_is_uniform():
    rows = np.arange(192 * BLOCK)
    found = [mixing(rows[epoch_order(rows, seed=0, epoch=0, shuffle=Shuffle(w))]) for w in (256, 1024, 4096, None)]
    bits = [one.block_bits for one in found]
    assert bits == sorted(bits)
    # a window of 64 blocks mixes as a library of 64 blocks that is shuffled uniformly
    assert abs(bits[2] - mixing(np.arange(64 * BLOCK)).uniform_bits) < 0.05
    assert abs(found[3].block_bits - found[3].uniform_bits) < 0.05
    assert abs(found[3].distance - 1) < 0.02
    assert mixing(rows).distance < 0.001


def test_a_window_of_nothing_is_refused():
    with pytest.raises(UsageError, match="window 0: allowed is 1 or more instances, or None for all"):
        Shuffle(0)


def test_a_few_instances_are_measured_as_one_batch():
    few = mixing(np.arange(5) * BLOCK)
    assert few.block_bits == few.uniform_bits == pytest.approx(np.log2(5))
    with pytest.raises(UsageError, match="an order of 1 in batches of 64: allowed are 2 instances or more"):
        mixing(np.arange(1))
