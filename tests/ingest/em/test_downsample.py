"""A smaller volume holds what most of the voxels are, whatever the blocks in which it was made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.em.downsample import _copied_block, copied, copying, mode_of_cells
from ingest.em.ngff import zarr_volume
from ingest.em.stages import Stage
from ingest.em.volume import Box
from msl_store.errors import UsageError
from msl_store.store import BlockArray, locate

FACTOR = st.tuples(*[st.integers(1, 4)] * 3)


def reference(values, factor):
    """The mode of every cell, the smallest of equals, by counting in Python."""
    shape = [extent // f for extent, f in zip(values.shape, factor, strict=True)]
    out = np.empty(shape, values.dtype)
    for place in np.ndindex(*shape):
        cell = values[tuple(slice(p * f, (p + 1) * f) for p, f in zip(place, factor, strict=True))]
        found, counts = np.unique(cell, return_counts=True)
        out[place] = found[counts.argmax()]
    return out


@st.composite
def volumes(draw):
    shape = draw(st.tuples(*[st.integers(4, 11)] * 3))
    kind = draw(st.sampled_from(["bool", "uint16", "uint64"]))
    high = draw(st.sampled_from([1, 2, 5]))
    values = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, high, shape, endpoint=True)
    return (values * (1 if kind == "bool" else 50)).astype(kind)


def held(values, place="memory://volume"):
    """A volume of some values, in chunks of 3."""
    objects = locate(f"{place}-{abs(hash(values.tobytes()))}")
    array = BlockArray(objects, "v", values.shape, str(values.dtype), (3, 3, 3), (3, 3, 3))
    array.create(("z", "y", "x"))
    for number in np.ndindex(*(-(-extent // 3) for extent in values.shape)):
        array.put(number, values[tuple(slice(3 * n, 3 * n + 3) for n in number)])
    return zarr_volume(array.reading(), None)


@settings(max_examples=60, deadline=None)
@given(volumes(), FACTOR)
def test_a_cell_becomes_its_most_frequent_value(values, factor):
    found = mode_of_cells(values, factor)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, reference(values, factor))


def test_half_of_a_cell_is_outside():
    assert not mode_of_cells(np.array([[[True, False]]]), (1, 1, 2)).any()


@settings(max_examples=25, deadline=None)
@given(volumes(), FACTOR, st.integers(1, 2000))
def test_a_copy_made_in_blocks_is_that_made_whole(values, factor, budget):
    volume = held(values)
    stage = Stage(locate("memory://work"), "volume", f"{abs(hash((values.tobytes(), factor, budget))):016x}")
    result = copied(copying(volume, factor, budget), stage, scheduler="synchronous", progress=lambda *_: None)
    np.testing.assert_array_equal(result.read(Box((0, 0, 0), result.shape)), reference(values, factor))
    assert result.digest == stage.digest


@given(st.tuples(*[st.integers(1, 300)] * 3), FACTOR, st.tuples(*[st.integers(4, 3000)] * 3), st.integers(10**4, 10**8))
def test_blocks_of_a_copy_keep_to_the_budget_and_are_multiples_of_chunks(chunk, factor, shape, budget):
    chunk = tuple(map(min, zip(chunk, shape, strict=True)))
    small = tuple(extent // f for extent, f in zip(shape, factor, strict=True))
    block = _copied_block(chunk, factor, small, budget)
    inside = [min(side, extent) * f for side, extent, f in zip(block, small, factor, strict=True)]
    assert math.prod(inside) <= max(budget, math.prod(factor))
    assert all(side <= 64 or side % 64 == 0 for side in block)


@pytest.mark.parametrize("factor", [(0, 1, 1), (1, 1, 5)])
def test_factors_that_leave_nothing_are_refused(factor):
    with pytest.raises(UsageError, match="allowed are whole numbers from 1 to the extents"):
        copying(held(np.zeros((4, 4, 4), np.uint8)), factor, 1000)


def test_slices_are_copied_by_whole_slices():
    block = _copied_block((1, 1024, 1024), (1, 1, 1), (1024, 1024, 1024), 256**3)
    assert block == (16, 1024, 1024)
    assert _copied_block((1, 3072, 3072), (3, 3, 3), (341, 1024, 1024), 256**3)[1:] == (512, 1024)
