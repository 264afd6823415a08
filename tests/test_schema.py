"""The schema keeps its own rules for every size of library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_store import schema
from msl_store.errors import FormatError
from msl_store.layout import PART_BYTES, Layout, blocks_of, library_sizes
from msl_store.schema import ARRAYS, BLOCK, FURTHER_ARRAYS, RAGGED_SHARD_CHUNKS, SPECS, edition_arrays

EDITIONS = [
    {"planes": planes, "frames": frames, "dtype": dtype}
    for planes in (False, True)
    for frames in (False, True)
    for dtype in ("uint16", "float32")
]
ALL_ARRAYS = {
    spec.path: spec
    for spec in (*ARRAYS, *FURTHER_ARRAYS, *(spec for edition in EDITIONS for spec in edition_arrays(**edition)))
}

COUNTS = st.lists(st.integers(0, 200_000), min_size=1, max_size=2 * BLOCK + 5)


@pytest.mark.parametrize("spec", ALL_ARRAYS.values(), ids=ALL_ARRAYS)
def test_every_array_says_what_it_is(spec):
    assert spec.units
    assert spec.note
    assert spec.group in schema.GROUPS
    assert len(spec.dims) == len(spec.chunk) == len(set(spec.dims))
    assert spec.path.rpartition("/")[2] not in {dim for other in ALL_ARRAYS.values() for dim in other.dims}
    assert np.dtype(spec.dtype).itemsize
    assert spec.attributes == {"units": spec.units, "long_name": spec.note}


def test_no_array_is_there_twice():
    assert len(SPECS) == len(ARRAYS) + len(FURTHER_ARRAYS)
    assert {spec.group for spec in (*ARRAYS, *FURTHER_ARRAYS)} == set(schema.GROUPS)


@given(COUNTS, st.integers(1, 300), st.integers(1, 100_000), st.integers(1, 100_000))
def test_shards_are_multiples_of_chunks_and_one_block_long(counts, side, samples, queries):
    sizes = library_sizes(image_shape=(side, side), samples=samples, queries=queries)
    layout = Layout(len(counts), sizes, tuple(counts), tuple(counts))
    for spec in ARRAYS:
        array = layout.array(spec, length=7)
        assert len(array.shape) == len(array.chunk) == len(spec.dims)
        assert all(chunk > 0 for chunk in array.chunk)
        if array.shard is not None:
            assert [s % c for s, c in zip(array.shard, array.chunk, strict=True)] == [0] * len(array.chunk)
            assert all(n > 0 for n in array.chunks_per_shard)
        if spec.kind == "rows":
            assert array.shard is not None
            assert array.shard[0] == BLOCK
            assert all(s >= extent for s, extent in zip(array.shard[1:], array.shape[1:], strict=True))
        if spec.kind == "block":
            assert (array.shard, array.chunk[0]) == (None, BLOCK)
        if spec.kind == "column":
            assert (array.shard, array.chunk) == (None, tuple(max(1, extent) for extent in array.shape))


@given(st.sampled_from(EDITIONS), st.integers(1, 18), st.integers(1, 40), st.integers(1, 2000), st.integers(1, 1024))
def test_a_shard_is_small_or_one_instance_and_blocks_are_whole_shards(edition, images, planes, frames, side):
    arrays = edition_arrays(**edition)
    sizes = {"microscope": 1, "view": images, "frame": frames, "z": planes, "y": side, "x": side}
    layout = Layout(100, sizes, arrays=arrays)
    (spec,) = (spec for spec in arrays if spec.kind == "rows")
    array = layout.array(spec)
    assert BLOCK % array.shard[0] == 0
    instance = int(np.prod(array.shard[1:], dtype=object)) * np.dtype(spec.dtype).itemsize
    assert array.shard[0] == 1 or array.shard[0] * instance <= PART_BYTES
    assert array.shard[0] == BLOCK or 2 * array.shard[0] * instance > PART_BYTES


@given(COUNTS)
def test_ragged_instances_start_on_chunks_and_blocks_on_shards(counts):
    layout = Layout(len(counts), library_sizes(), tuple(counts), tuple(reversed(counts)))
    for path, own in (("mesh/vertices", counts), ("mesh/faces", counts[::-1])):
        chunk = SPECS[path].chunk[0]
        shard = chunk * RAGGED_SHARD_CHUNKS
        starts, length = layout.starts(path)
        assert layout.counts(path) == tuple(own)
        assert length % shard == 0
        assert layout.array(SPECS[path]).shape[0] == length >= 1
        ends = starts + own
        assert (starts % chunk == 0).all()
        assert (starts[1:] >= ends[:-1]).all()
        assert ends[-1] <= length
        assert all(starts[block * BLOCK] % shard == 0 for block in range(layout.blocks))
        shards = [
            {
                number
                for row in layout.rows(block)
                for number in range(starts[row] // shard, -(-ends[row] // shard) if own[row] else 0)
            }
            for block in range(layout.blocks)
        ]
        assert sum(map(len, shards)) == len(set().union(*shards))


@given(st.integers(1, 1000))
def test_blocks_cover_every_row_once(instances):
    layout = Layout(instances, library_sizes())
    assert [row for block in range(layout.blocks) for row in layout.rows(block)] == list(range(instances))
    assert [len(layout.rows(block)) for block in range(layout.blocks)] == list(blocks_of(instances))


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_edition_has_identities_and_images_but_no_shapes(edition):
    planes, frames, dtype = edition["planes"], edition["frames"], edition["dtype"]
    specs = {spec.path: spec for spec in edition_arrays(**edition)}
    assert {path.partition("/")[0] for path in specs} == {"instances", "images"}
    (image,) = (spec for spec in specs.values() if spec.kind == "rows")
    assert image.dtype == dtype
    assert ("z" in image.dims, "frame" in image.dims) == (planes, frames)
    sizes = {"microscope": 1, "view": 2, "frame": 4, "z": 3, "y": 32, "x": 32}
    assert Layout(5, sizes, arrays=tuple(specs.values())).array(image).shape == (
        5,
        1,
        2,
        *((4,) if frames else ()),
        *((3,) if planes else ()),
        32,
        32,
    )


def test_the_published_library_has_the_published_sizes():
    layout = Layout(27_272, library_sizes(), (18_600,) * 27_272, (37_200,) * 27_272)
    shapes = {spec.path: layout.array(spec).shape for spec in ARRAYS}
    assert shapes["images/counts"] == (27_272, 3, 6, 128, 128)
    assert shapes["point_cloud/points"] == shapes["occupancy/points"] == (27_272, 100_000, 3)
    assert shapes["occupancy/inside_bits"] == (27_272, 12_500)
    assert layout.blocks == 427


@given(st.sets(st.integers(0, 500), min_size=1), st.data())
def test_instance_attributes_tell_ids_and_what_was_set_aside(ids, data):
    rows = np.array(sorted(ids), np.int64)
    status = np.array([data.draw(st.integers(0, 2)) for _ in rows], np.uint8)
    told = schema.instance_attributes(rows, status)
    assert [i for first, last in told["id_runs"] for i in range(first, last + 1)] == rows.tolist()
    assert all(after[0] - before[1] > 1 for before, after in zip(told["id_runs"], told["id_runs"][1:], strict=False))
    assert told["set_aside"] == [row for row, number in enumerate(status) if number == 2]
    assert told["statuses"] == ["complete", "partial", "set_aside"]


DIMS = {spec.path: spec.dims for spec in ARRAYS}


@pytest.mark.parametrize(
    ("attributes", "arrays", "message"),
    [
        (
            {},
            DIMS,
            r"u://x: this Zarr hierarchy is no 3DMSL library .* name the folder or prefix that msl-ingest wrote",
        ),
        ({"msl_schema_version": "1"}, DIMS, "is no 3DMSL library"),
        (
            {"msl_schema_version": 2},
            DIMS,
            r"schema version 2, this program reads up to 1; upgrade with: pip install -U",
        ),
        ({"msl_schema_version": 1}, {}, "the array instances/id is missing; ingest the library again"),
        ({"msl_schema_version": 1}, {**DIMS, "mesh/faces": ("corner", "face")}, "mesh/faces has dims"),
        ({"msl_schema_version": 1}, {**DIMS, "mesh/faces": None}, "mesh/faces has dims None"),
    ],
)
def test_what_is_no_library_says_why(attributes, arrays, message):
    with pytest.raises(FormatError, match=message):
        schema.check("u://x", attributes, arrays)


def test_a_library_passes_with_arrays_of_others_in_it():
    assert schema.check("u://x", {"msl_schema_version": 1}, {**DIMS, "mine/extra": ("what", "ever")}) is None


def test_the_size_before_compression_is_that_of_all_values():
    layout = Layout(2, library_sizes(samples=10, queries=16), (5, 7), (4, 0))
    values = 2 * (2 * 10 * 3 * 4) + 2 * (16 * 3 * 2 + 2) + (12 * 12 + 4 * 12) + 2 * 18 * 128 * 128 * 2
    columns = layout.nbytes - values
    assert 0 < columns < 2000
    assert Layout(4, library_sizes(samples=10, queries=16)).nbytes > layout.nbytes
