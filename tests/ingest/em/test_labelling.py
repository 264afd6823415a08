"""Objects found block by block are those found in memory, whatever the blocks."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from held_volume import HeldVolume
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ingest.em.components import all_components, chosen
from ingest.em.labelling import FACES, NEIGHBOURS, Labelling, block_of, measure_pieces, pieces_of
from ingest.em.merging import LATER, BlockPlanes, joined_pairs, joined_pieces
from ingest.em.stages import Stage
from ingest.em.volume import Grid
from msl_store.errors import UsageError
from msl_store.store import locate

pytest.importorskip("cc3d")
pytest.importorskip("fastremap")

FRESH = itertools.count()


def quiet(*_):
    pass


def taken_apart(values, block, connectivity, *, by_label=False, scheduler="synchronous"):
    """The labelling of a volume in memory, its stage, and the objects."""
    labelling = Labelling(Grid(values.shape, block), connectivity, by_label)
    work = locate(f"memory://labelling-{next(FRESH)}")
    start = Stage(work, "labels", "start")
    labelling.labels(start).create(("z", "y", "x"))
    tasks = {n: partial(labelling.label_block, HeldVolume(values), start, n) for n in range(len(labelling.grid))}
    start.run(tasks, scheduler=scheduler, progress=quiet)
    joined = joined_pieces(labelling, start, start.next("joins"), scheduler=scheduler, progress=quiet)
    found = all_components(labelling, start, joined)
    own = painted(labelling, start, found)
    for path, _ in work.list():
        work.delete(path)
    return labelling, own, found


def painted(labelling, stage, components):
    """Every voxel's object by the rows of the components, -1 outside, from the labels as they are stored."""
    stored = labelling.labels(stage).reading().read([slice(0, side) for side in labelling.grid.shape])
    out = np.full(labelling.grid.shape, -1)
    for row in range(len(components)):
        for block, label in components.pieces(row):
            part = labelling.grid.box(block).slices
            out[part][stored[part] == label] = row
    return out


@st.composite
def volumes(draw):
    """Random labels, dense enough that objects are joined by faces, edges and corners alike."""
    shape = draw(st.tuples(*[st.integers(1, 8)] * 3))
    kind, high = draw(st.sampled_from([("bool", 1), ("uint8", 1), ("uint16", 3), ("int64", 2), ("uint64", 2**63)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inside = rng.random(shape) < draw(st.sampled_from([0.1, 0.3, 0.5, 0.9]))
    choices = np.array([1, 2, high][: 1 if high == 1 else 3], kind)
    return np.where(inside, rng.choice(choices, shape), np.zeros((), kind))


BLOCKS = st.tuples(*[st.integers(2, 6)] * 3)


def in_memory(values, connectivity):
    """Connected components by SciPy, label by label: another program than the one that labels blocks."""
    near = ndimage.generate_binary_structure(3, NEIGHBOURS[connectivity])
    out = np.zeros(values.shape, np.int64)
    for label in np.unique(values[values != 0]):
        found, _ = ndimage.label(values == label, near)
        out[found > 0] = found[found > 0] + out.max()
    return out


def first_voxels(labels):
    found, first = np.unique(labels.ravel(), return_index=True)
    return first[found != 0]


@settings(max_examples=150, deadline=None)
@given(volumes(), BLOCKS, st.sampled_from([6, 18, 26]))
def test_objects_are_those_found_in_memory(values, block, connectivity):
    _, own, found = taken_apart(values, block, connectivity)
    expected = in_memory(values, connectivity)
    assert ((own >= 0) == (expected > 0)).all()
    pairs = np.unique(np.stack([own[own >= 0], expected[own >= 0]]), axis=1)
    assert pairs.shape[1] == len(found) == expected.max(initial=0)  # one to one
    assert found.ids.tolist() == sorted(first_voxels(expected).tolist())
    for row in range(len(found)):
        where = np.argwhere(own == row)
        assert found.voxels[row] == len(where)
        np.testing.assert_allclose(found.centroid[row], where.mean(axis=0), rtol=1e-12, atol=1e-12)
        assert found.low[row].tolist() == where.min(axis=0).tolist()
        assert found.high[row].tolist() == (where.max(axis=0) + 1).tolist()
        assert found.value[row] == values[tuple(where[0])]
        at_border = (where == 0) | (where == np.array(values.shape) - 1)
        assert found.touches_border[row] == at_border.any()


@settings(max_examples=60, deadline=None)
@given(volumes(), BLOCKS, BLOCKS, st.integers(0, 12), st.sampled_from(["keep", "mark", "drop"]))
def test_choice_and_numbers_do_not_depend_on_blocks(values, block, other, dust, border):
    found = []
    for size in (block, other):
        labelling, _, components = taken_apart(values, size, 26)
        found.append(chosen(components, labelling, dust=dust, border=border))
    one, two = found
    for name in ("ids", "voxels", "centroid", "low", "high", "touches_border", "value"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.ids.tolist() == list(range(1, len(one) + 1))
    assert (one.voxels >= dust).all()
    if border == "drop":
        assert not one.touches_border.any()


@settings(max_examples=60, deadline=None)
@given(volumes(), BLOCKS)
def test_trusted_labels_are_objects_wherever_their_voxels_lie(values, block):
    if values.dtype == np.uint64:
        values = np.minimum(values, np.uint64(2**63 - 1))
    labelling, own, found = taken_apart(values, block, 26, by_label=True)
    assert found.ids.tolist() == [label for label in np.unique(values).tolist() if label]
    for row, label in enumerate(found.ids.tolist()):
        np.testing.assert_array_equal(own == row, values.astype(np.int64) == label)
    assert chosen(found, labelling, dust=0).ids.tolist() == found.ids.tolist()


def test_labels_that_are_no_ids_are_refused_where_they_are_trusted():
    with pytest.raises(UsageError, match=r"labels run from 5 to 9223372036854775808; allowed are 0 outside"):
        taken_apart(np.array([[[5, 2**63]]], np.uint64), (2, 2, 2), 26, by_label=True)


def test_negative_labels_are_refused():
    with pytest.raises(UsageError, match="labels run from -3 to 2; allowed are 0 outside"):
        taken_apart(np.array([[[-3, 0, 2]]], np.int16), (2, 2, 2), 26)


def test_dust_is_what_is_small_after_pieces_are_joined():
    values = np.zeros((4, 4, 40), bool)
    values[1, 1, 2:38] = True  # 36 voxels, at most 5 in a block
    values[3, 3, 0:4] = True
    labelling, _, found = taken_apart(values, (4, 4, 5), 6)
    assert chosen(found, labelling, dust=36).voxels.tolist() == [36]
    assert chosen(found, labelling, dust=4).voxels.tolist() == [36, 4]


def planes_of(values, connectivity):
    labels, count = pieces_of(values, connectivity)
    planes = {name: labels.take(0 if name.startswith("low") else -1, axis=int(name[-1])) for name in FACES}
    return BlockPlanes(values.shape, planes, np.ones(count, np.uint8))


@pytest.mark.parametrize("connectivity", NEIGHBOURS)
@pytest.mark.parametrize("step", LATER)
def test_two_voxels_at_a_border_are_joined_as_the_connectivity_says(connectivity, step):
    here, there = np.zeros((2, 3, 3, 3), bool)
    for at, by in itertools.product(itertools.product(range(3), repeat=3), itertools.product((-1, 0, 1), repeat=3)):
        to = [a + s for a, s in zip(at, by, strict=True)]
        if [t // 3 for t in to] != list(step):
            continue
        here[:], there[:] = False, False
        here[at] = there[tuple(t % 3 for t in to)] = True
        pairs = joined_pairs(planes_of(here, 6), planes_of(there, 6), step, connectivity)
        assert pairs.tolist() == ([[1, 1]] if sum(map(abs, by)) <= NEIGHBOURS[connectivity] else [])


def test_threads_change_nothing():
    values = np.random.default_rng(3).random((17, 18, 19)) < 0.25
    expected = taken_apart(values, (8, 8, 8), 26)[2]
    found = taken_apart(values, (8, 8, 8), 26, scheduler="threads")[2]
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_array_equal(found.piece_label, expected.piece_label)


def test_an_empty_volume_has_no_objects():
    labelling, _, found = taken_apart(np.zeros((5, 5, 5), np.uint8), (2, 2, 2), 26)
    assert len(found) == len(chosen(found, labelling)) == 0


def test_measures_are_in_the_volumes_coordinates():
    values = np.zeros((2, 3, 4), np.uint16)
    values[1, 0:2, 3] = 7
    labels, count = pieces_of(values, 6)
    found = measure_pieces(labels, values, count, (10, 20, 30), (100, 100, 100))
    assert {name: value.tolist() for name, value in found.items()} == {
        "voxels": [2],
        "sums": [[22, 41, 66]],
        "low": [[11, 20, 33]],
        "high": [[12, 22, 34]],
        "first": [(11 * 100 + 20) * 100 + 33],
        "value": [7],
    }


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Labelling(Grid((4, 4, 4), (2, 2, 2)), 8), r"connectivity 8: allowed are 6 \(faces\)"),
        (lambda: block_of(100), "block 100: allowed are 8 to 64 voxels, and multiples of 64"),
        (lambda: block_of(4), "block 4"),
        (lambda: chosen(None, None, dust=-1), "dust -1: allowed is 0 or more"),
        (lambda: chosen(None, None, border="cut"), "border 'cut': allowed are keep, drop, mark"),
    ],
)
def test_what_is_not_allowed_is_said(call, match):
    with pytest.raises(UsageError, match=match):
        call()
