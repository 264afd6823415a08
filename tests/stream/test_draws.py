"""What is drawn of an instance: a pure function of its key, and every stored point as likely as the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.stream.draws import Draw, Sampling

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 100))


def points_of(sampling, rng):
    """The drawn points, numbered through the instance."""
    chosen = sampling.chosen(rng)
    assert all((np.diff(places) > 0).all() for _, places in chosen)
    assert all(places[0] >= 0 and places[-1] < sampling.chunk for _, places in chosen)
    return np.concatenate([number * sampling.chunk + places for number, places in chosen])


@given(st.data(), SIZES, st.integers(0, 2**32))
def test_points_are_drawn_once_each_from_few_chunks(data, sizes, seed):
    stored, chunk = sizes
    count = data.draw(st.integers(1, stored))
    spread = data.draw(st.integers(1, -(-stored // chunk)))
    sampling = Sampling(stored, chunk, count, spread)
    drawn = points_of(sampling, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn.tolist())) == count
    assert drawn.max() < stored
    touched = len(set((drawn // chunk).tolist()))
    assert touched <= sampling.chunks_read
    if stored % chunk == 0:
        assert touched == min(count, max(spread, -(-count // chunk)))


@pytest.mark.parametrize(
    ("stored", "chunk", "count", "spread"),
    [
        (1000, 100, 20, 1),
        (1000, 100, 20, 4),
        (1000, 100, 130, 1),
        (950, 100, 20, 1),
        (950, 100, 130, 1),
        (70, 100, 9, 1),
    ],
)
def test_every_stored_point_is_equally_likely(stored, chunk, count, spread):
    """Each point's number of draws is binomial; the largest deviation of all points stays within chance."""
    sampling, epochs = Sampling(stored, chunk, count, spread), 4000
    seen = np.zeros(stored)
    for epoch in range(epochs):
        seen[points_of(sampling, Draw(0, epoch, 17).stream("points"))] += 1
    share = count / stored
    deviation = (seen - epochs * share) / np.sqrt(epochs * share * (1 - share))
    assert np.abs(deviation).max() < 5  # for 1,000 normal numbers: exceeded once in 1,700 times
    assert abs(deviation.mean()) < 1e-9


def test_a_draw_of_one_chunk_is_uniform_where_the_stored_order_is_random():
    """Octants of the cube hold as many of the drawn points as they would of independent uniform points."""
    rng = np.random.default_rng(5)
    stored = rng.uniform(-0.55, 0.55, (20_000, 3))
    sampling, counts = Sampling(20_000, 2000, 512), np.zeros(8)
    for epoch in range(200):
        drawn = stored[points_of(sampling, Draw(3, epoch, 1).stream("points"))]
        counts += np.bincount((drawn > 0) @ [1, 2, 4], minlength=8)
    held = np.bincount((stored > 0) @ [1, 2, 4], minlength=8) / len(stored)
    expected = held * counts.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 24  # 7 degrees of freedom: once in 900 times


def test_spreading_makes_up_for_a_stored_order():
    """The mean of points that are stored in order: from one chunk it varies widely, from all chunks hardly."""
    stored = np.sort(np.random.default_rng(0).uniform(size=1000))

    def spread_of_means(spread):
        sampling = Sampling(1000, 100, 100, spread)
        return np.std([stored[points_of(sampling, Draw(1, e, 1).stream("cloud"))].mean() for e in range(300)])

    one, some, every = (spread_of_means(spread) for spread in (1, 4, 10))
    simple = np.std([stored[np.random.default_rng(e).choice(1000, 100, replace=False)].mean() for e in range(300)])
    assert every < simple < some < one


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(0, 2**62), st.text("abc", min_size=1))
def test_a_stream_is_a_pure_function_of_its_key(seed, epoch, instance, name):
    def numbers(*key):
        return Draw(*key[:3]).stream(key[3]).integers(2**62, size=3).tolist()

    own = numbers(seed, epoch, instance, name)
    assert own == numbers(seed, epoch, instance, name)
    others = [(seed ^ 1, epoch, instance, name), (seed, epoch + 1, instance, name), (seed, epoch, instance + 1, name)]
    assert all(own != numbers(*key) for key in [*others, (seed, epoch, instance, f"{name}d")])


def test_streams_of_neighbouring_keys_do_not_correlate():
    fields = np.array([Draw(s, e, i).stream("x").random(2000) for s in (0, 1) for e in (0, 1) for i in (1, 2, 3)])
    correlation = np.corrcoef(fields)[np.triu_indices(len(fields), 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(2000)


@pytest.mark.parametrize(
    ("count", "spread", "message"),
    [
        (0, 1, "0 points were asked for; allowed is 1 to 1000"),
        (1001, 1, "1001 points were asked for"),
        (5, 11, "spread 11: allowed is 1 to 10, the chunks of an instance"),
        (5, 0, "spread 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(count, spread, message):
    with pytest.raises(UsageError, match=message):
        Sampling(1000, 100, count, spread)
