"""Blocks become shards that Zarr readers understand, each block's apart from the others'."""

from __future__ import annotations

import json

import numpy as np
import pytest
import small_library
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store import schema
from msl_store.errors import IntegrityError
from msl_store.layout import Layout, library_sizes
from msl_store.schema import BLOCK, RAGGED_SHARD_CHUNKS
from msl_store.store import BlockWriter

CORE_CODECS = {"blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose"}
"""Of the Zarr v3 core specification, https://zarr-specs.readthedocs.io/en/latest/v3/codecs."""

CHUNK_ROWS = schema.SPECS["mesh/vertices"].chunk[0]


def tiny(vertices, faces=None):
    """A layout of instances with those numbers of vertices, everything else small."""
    sizes = library_sizes(image_shape=(4, 4), samples=16, queries=16)
    return Layout(len(vertices), sizes, tuple(vertices), tuple(vertices if faces is None else faces))


def array_documents(folder):
    for path in folder.rglob("zarr.json"):
        document = json.loads(path.read_text())
        if document["node_type"] == "array":
            yield path.parent.relative_to(folder).as_posix(), document


def codec_names(codecs):
    for codec in codecs:
        yield codec["name"]
        for inner in ("codecs", "index_codecs"):
            yield from codec_names(codec["configuration"].get(inner, ()) if "configuration" in codec else ())


def test_every_codec_is_of_the_core_specification(small):
    named = {path: set(codec_names(document["codecs"])) for path, document in array_documents(small)}
    assert len(named) == len(schema.ARRAYS)
    assert all(names <= CORE_CODECS and {"blosc", "crc32c"} <= names for names in named.values())


def test_every_array_has_units_and_dims_and_none_is_named_like_a_dim(small):
    for path, document in array_documents(small):
        assert document["attributes"]["units"], path
        assert len(document["dimension_names"]) == len(document["shape"]), path
        assert path.rpartition("/")[2] not in document["dimension_names"], path


def test_every_stored_shard_is_a_multiple_of_its_chunk(small):
    sharded = 0
    for path, document in array_documents(small):
        if document["codecs"][0]["name"] == "sharding_indexed":
            shard = document["chunk_grid"]["configuration"]["chunk_shape"]
            chunk = document["codecs"][0]["configuration"]["chunk_shape"]
            assert [s % c for s, c in zip(shard, chunk, strict=True)] == [0] * len(shard), path
            sharded += 1
    assert sharded == sum(spec.kind in {"rows", "ragged"} for spec in schema.ARRAYS)


def test_the_root_holds_every_other_document(small):
    root = json.loads((small / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    others = {path.parent.relative_to(small).as_posix() for path in small.rglob("*/zarr.json")}
    assert set(root) == others == {name for spec in schema.ARRAYS for name in (spec.path, spec.group)}
    for path in root:
        own = json.loads((small / path / "zarr.json").read_text())
        assert {name: root[path][name] for name in own if name != "consolidated_metadata"} == own


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3 * CHUNK_ROWS), min_size=1, max_size=3), st.integers(1, 2 * BLOCK + 3))
def test_no_two_blocks_write_the_same_object(counts, instances):
    layout = tiny([counts[row % len(counts)] for row in range(instances)])
    written = []
    for block in range(layout.blocks):
        writer = BlockWriter(layout, block)
        for row in layout.rows(block)[:: BLOCK // 4]:
            count = layout.vertex_counts[row]
            writer.put("mesh/vertices", row, np.ones((count, 3), np.float32))
            writer.put("occupancy/scale", row, np.asarray(float(row)))
            writer.put("images/counts", row, np.ones((3, 6, 4, 4), np.uint16))
        written += [path for path, _ in writer.objects()]
    assert len(written) == len(set(written))


def test_a_block_without_values_makes_no_object():
    assert list(BlockWriter(tiny([5]), 0).objects()) == []


def test_the_bytes_do_not_depend_on_the_order_of_the_rows():
    layout = tiny([CHUNK_ROWS + 5, 3, 70])
    meshes = [np.full((count, 3), count, np.float32) for count in layout.vertex_counts]

    def objects(order):
        writer = BlockWriter(layout, 0)
        for row in order:
            writer.put("mesh/vertices", row, meshes[row])
        return list(writer.objects())

    assert objects([0, 1, 2]) == objects([2, 0, 1])


def test_what_is_not_present_is_not_written():
    writer = BlockWriter(tiny([5]), 0)
    writer.put("images/counts", 0, np.ones((3, 6, 4, 4), np.uint16), present=np.array([True, False, True]))
    ((_, data),) = writer.objects()
    from msl_store.store.sharding import MISSING, decode_index, index_bytes

    index = decode_index(memoryview(data)[: index_bytes([BLOCK * 3 * 6])], "here")
    assert np.flatnonzero(index[:, 0] != MISSING).tolist() == [*range(6), *range(12, 18)]


def test_rows_of_another_block_are_refused():
    with pytest.raises(IndexError, match=r"row 64 is not of this block \(0 to 63\)"):
        BlockWriter(tiny([5] * 70), 0).put("mesh/vertices", BLOCK, np.ones((5, 3), np.float32))


@pytest.mark.parametrize(
    "values", [np.ones((16, 3), np.float64), np.ones((15, 3), np.float32), np.ones((16, 2), np.float32)]
)
def test_another_dtype_or_shape_is_refused(values):
    with pytest.raises(ValueError, match=r"point_cloud/points: an instance has float32 \(16, 3\), not "):
        BlockWriter(tiny([5]), 0).put("point_cloud/points", 0, values)


@pytest.mark.parametrize("rows", [4, 6, CHUNK_ROWS + 1])
def test_a_mesh_of_another_size_than_planned_is_refused(rows):
    with pytest.raises(IntegrityError, match=f"row 1 of the library was planned with 5 rows, {rows} came"):
        BlockWriter(tiny([5, 5, 5]), 0).put("mesh/vertices", 1, np.ones((rows, 3), np.float32))


def test_ragged_rows_start_on_chunks_and_blocks_on_shards(small):
    import zarr

    group = zarr.open_group(small, mode="r")
    for name, chunk in (("vertex", CHUNK_ROWS), ("face", schema.SPECS["mesh/faces"].chunk[0])):
        starts = group[f"mesh/{name}_start"][:]
        counts = group[f"mesh/{name}_count"][:]
        assert (starts % chunk == 0).all()
        assert starts[BLOCK] % (chunk * RAGGED_SHARD_CHUNKS) == 0
        assert (starts[1:] >= starts[:-1] + counts[:-1]).all()
    assert counts.max() > schema.SPECS["mesh/faces"].chunk[0]
    assert group["instances/id"][:].tolist() == list(small_library.made_records())
