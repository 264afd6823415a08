"""A library that is whole has no damage, and each kind of damage is found and named, also where nothing lists."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import small_library
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import WHOLE, built, made_records

import msl_store as msl
from msl_store import schema
from msl_store.layout import Layout, library_sizes
from msl_store.store import locate, open_store
from msl_store.store.sharding import decode_chunk, decode_index, encode_chunk, encode_shard, index_bytes
from msl_store.store.writing import column_object

SPECS = {spec.path: spec for spec in schema.ARRAYS}
SHARDED = [path for path, spec in SPECS.items() if spec.kind in {"rows", "ragged"}]
COLUMNS = [path for path, spec in SPECS.items() if spec.kind == "column"]
ROW = list(made_records()).index(WHOLE)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Six instances of the small library, with every part among them, and one that was set aside; read it only."""
    place = tmp_path_factory.mktemp("few") / "few.zarr"
    msl.subset(
        msl.open(built()).with_set_aside(), place, ids=[*small_library.shown()[:6], small_library.instance_of(12)]
    )
    return place


@pytest.fixture
def spoiled(few, tmp_path):
    """A copy of the few for this test alone."""
    return shutil.copytree(few, tmp_path / "spoiled.zarr")


@contextmanager
def changed(path, data):
    """Store other bytes at a path, none where `data` is None, and set it right afterwards."""
    whole = path.read_bytes()
    path.unlink() if data is None else path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def flipped(few, tmp_path_factory):
    """A copy of the few in which one thing at a time is wrong."""
    return shutil.copytree(few, tmp_path_factory.mktemp("flipped") / "few.zarr")


def damages(place, options=None, **how):
    """What is wrong with a library, as text."""
    found = msl.verify(msl.open(place, options), **{"scheduler": "synchronous", **how})
    return [str(damage) for damage in found.damages]


def object_of(path, block=0):
    """The first stored object of an array in a block."""
    spec = schema.SPECS[path]
    return f"{path}/c/{block}{'/0' * (len(spec.dims) - 1)}"


def test_a_whole_library_has_no_damage():
    found = msl.verify(msl.open(built()).select(first=2))
    store = open_store(built())
    chunks = set()
    contents = msl.open(built())._contents
    for row in range(len(store.ids)):
        for _, want in contents.wants(row, small_library.schema.GROUPS):
            chunks |= {(piece.path, piece.number) for piece in store.pieces(want)}
    assert (found.damages, found.unlisted, found.quick) == ((), "", False)
    assert (found.instances, found.chunks) == (70, len(chunks))


@pytest.mark.parametrize("quick", [False, True])
def test_a_whole_library_has_no_damage_anywhere(quick, few, web, bucket, tmp_path):
    site = f"{web(few.parent).url}/{few.name}"
    for path, _ in locate(few).list():
        locate(f"{bucket.url}/lib.zarr", bucket.storage_options).put(path, locate(few).get(path))
    zipped = shutil.make_archive(str(tmp_path / "lib"), "zip", few)
    for url, options in [(site, {}), (f"{bucket.url}/lib.zarr", bucket.storage_options), (zipped, {})]:
        found = msl.verify(msl.open(url, options), quick=quick)
        assert found.damages == ()
        assert bool(found.unlisted) == (url == site)


def test_a_cluster_verifies(spoiled, client):
    (spoiled / object_of("occupancy/points")).unlink()
    found = msl.verify(msl.open(spoiled), scheduler=client)
    assert [str(damage) for damage in found.damages] == ["occupancy/points/c/0/0/0: the object is missing"]


# --- bits, bytes and objects


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(flipped, data):
    names = [path.relative_to(flipped).as_posix() for path in flipped.rglob("*") if path.is_file()]
    name = data.draw(st.sampled_from(sorted(set(names) - {"zarr.json"})))
    path = flipped / name
    whole = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    with changed(path, whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]):
        found = damages(flipped)
    array = name.partition("/c/")[0]
    assert any(text.startswith((name, array)) for text in found), found


@pytest.mark.parametrize("path", SHARDED)
def test_a_damaged_chunk_is_named_with_its_instance_and_is_all_there_is(path, flipped):
    place = flipped / object_of(path)
    whole = place.read_bytes()
    array = open_store(flipped).array(path)
    index = decode_index(memoryview(whole)[: array.shard_index_bytes], "here")
    per_row = int(np.prod(array.chunks_per_shard[1:]))
    number = ROW * per_row if schema.SPECS[path].kind == "rows" else _first_chunk(flipped, path)
    start = int(index[number, 0])
    with changed(place, whole[:start] + bytes([whole[start] ^ 8]) + whole[start + 1 :]):
        (text,) = damages(flipped)
        assert damages(flipped, quick=True) == []
    assert text.startswith(f"{object_of(path)} chunk {number} (instance {WHOLE}): the CRC-32C of")


def _first_chunk(place, path):
    dim = schema.SPECS[path].dims[0]
    starts = open_store(place).columns([f"mesh/{dim}_start"])[f"mesh/{dim}_start"]
    return int(starts[ROW]) // schema.SPECS[path].chunk[0]


@pytest.mark.parametrize("path", [path for path, spec in SPECS.items() if spec.kind == "block"])
def test_what_is_stored_a_block_is_named_once(path, flipped):
    place = flipped / object_of(path)
    with changed(place, place.read_bytes()[:-1]):
        (text,) = damages(flipped)
        assert text.startswith(f"{object_of(path)}: the CRC-32C of")
    with changed(place, None):
        assert damages(flipped) == [f"{object_of(path)}: the object is missing"]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("path", SHARDED)
def test_a_missing_or_short_or_long_object_is_named_once(path, quick, flipped, web):
    name = object_of(path)
    whole = (flipped / name).read_bytes()
    site = web(flipped).url
    index = index_bytes(open_store(flipped).array(path).chunks_per_shard)
    for kept, reason in [
        (None, "the object is missing"),
        (whole[:-1], f"has {len(whole) - 1} bytes, its index says {len(whole)}: it was cut short"),
        (whole + b"more", f"has {len(whole) + 4} bytes, its index says {len(whole)}: something follows"),
        (whole[: index - 1], f"bytes 0 to {index} were asked for, but it has {index - 1}"),
    ]:
        with changed(flipped / name, kept):
            here, remote = damages(flipped, quick=quick), damages(site, quick=quick)
        (text,) = here
        assert text.startswith(f"{name}: ")
        if quick or kept is None or len(kept) > len(whole):
            assert reason in text
        if quick or kept is None or len(kept) < len(whole):
            (text,) = remote
            assert text.startswith(f"{name}: ")


def test_every_damage_is_named_and_the_rest_is_looked_at(tmp_path):
    spoiled = shutil.copytree(built(), tmp_path / "spoiled.zarr")
    (spoiled / object_of("occupancy/points")).unlink()
    (spoiled / "left-by-someone.txt").write_text("hello")
    (spoiled / "mesh/zarr.json").unlink()
    path = spoiled / object_of("images/counts", block=1)
    path.write_bytes(path.read_bytes()[:-3])
    data = bytearray((spoiled / "instances/genus/c/0").read_bytes())
    data[3] ^= 1
    (spoiled / "instances/genus/c/0").write_bytes(data)
    found = damages(spoiled)
    assert [text.split(": ")[0] for text in found] == [
        "images/counts/c/1/0/0/0/0",
        "instances/genus",
        "left-by-someone.txt",
        "mesh/zarr.json",
        "occupancy/points/c/0/0/0",
    ]


def test_a_chunk_that_the_index_lacks_or_has_too_many_of(spoiled):
    path = spoiled / object_of("images/counts")
    data = path.read_bytes()
    index = decode_index(memoryview(data)[: index_bytes([64 * 18])], "here")
    chunks = [None if start == 2**64 - 1 else data[int(start) : int(start + length)] for start, length in index]
    absent = chunks.index(None)
    chunks[absent], chunks[18 * ROW] = chunks[18 * ROW], None
    path.write_bytes(encode_shard(chunks))
    name = object_of("images/counts")
    for quick in (True, False):
        assert damages(spoiled, quick=quick) == sorted(
            [
                f"{name} chunk {absent}: is there, though no instance has it",
                f"{name} chunk {18 * ROW}: is missing, though an instance has it",
            ]
        )


# --- values that are sound as bytes, and wrong


def rewrite(place, path, change):
    """Change an instance's first chunk of an array and store it with a checksum that fits."""
    array = open_store(place).array(path)
    file = place / object_of(path)
    data = memoryview(file.read_bytes())
    index = decode_index(data[: array.shard_index_bytes], "here")
    number = (
        _first_chunk(place, path)
        if schema.SPECS[path].kind == "ragged"
        else ROW * int(np.prod(array.chunks_per_shard[1:]))
    )
    chunks = [None if start == 2**64 - 1 else data[int(start) : int(start + length)] for start, length in index]
    values = decode_chunk(chunks[number], array.chunk, array.dtype, "here")
    change(values)
    chunks[number] = encode_chunk(values)
    file.write_bytes(encode_shard(chunks))


@pytest.mark.parametrize("path", SHARDED)
def test_another_value_is_found_by_the_digest(path, spoiled):
    def change(values):
        values[(0,) * values.ndim] = 1

    rewrite(spoiled, path, change)
    assert damages(spoiled) == [
        f"instance {WHOLE}: its arrays do not have the digest in instances/digest: they, or it, have changed"
    ]


def test_a_face_beyond_the_vertices_is_named(spoiled):
    count = len(made_records()[WHOLE].mesh.vertices)

    def change(values):
        values[5, 2] = count

    rewrite(spoiled, "mesh/faces", change)
    first, second = damages(spoiled)
    assert first == f"instance {WHOLE}: a face names vertex {count}, but the mesh has {count} (0 to {count - 1})"
    assert second.startswith(f"instance {WHOLE}: its arrays do not have the digest")


def rewrite_column(place, path, change):
    """Change a column and store it with a checksum that fits."""
    store = open_store(place)
    values = store.columns([path])[path].copy()
    change(values)
    layout = Layout(len(store.ids), library_sizes(), (1,) * len(store.ids), (1,) * len(store.ids))
    name, data = column_object(layout.array(schema.SPECS[path], length=len(values)), values)
    (place / name).write_bytes(data)


def another(values):
    """Change one value of any type."""
    place = (min(ROW, len(values) - 1), *(0,) * (values.ndim - 1))
    values[place] = not values[place] if values.dtype == np.bool_ else np.nan_to_num(values[place]) < 1


@pytest.mark.parametrize("path", COLUMNS)
def test_a_wrong_column_is_named(path, spoiled):
    rewrite_column(spoiled, path, another)
    for quick in (True, False):
        found = damages(spoiled, quick=quick)
        assert any(text.startswith(f"{path}: does not have the digest that the root's") for text in found), found


@pytest.mark.parametrize("path", COLUMNS)
def test_a_wrong_column_of_a_library_without_column_digests(path, spoiled):
    """What contradicts something else is found still; a morphometric value alone has nothing to contradict."""
    change_root(spoiled, lambda attributes: attributes.pop("column_digests"))
    rewrite_column(spoiled, path, another)
    alone = {"origin", "volume_um3", "area_um2", "sphericity", "elongation", "extent_um", "euler_number", "genus"}
    found = damages(spoiled)
    assert bool(found) == (path.partition("/")[2] not in alone | {"component_count"}), found


def change_root(place, change):
    root = json.loads((place / "zarr.json").read_text())
    change(root["attributes"])
    (place / "zarr.json").write_text(json.dumps(root))


def test_a_wrong_digest_of_the_library_is_found(spoiled):
    change_root(spoiled, lambda attributes: attributes.update(digest="0" * 64))
    assert damages(spoiled) == ["instances/digest: its ids and digests do not have the library's digest"]


@pytest.mark.parametrize(
    ("path", "change", "reason"),
    [
        ("mesh/vertex_start", lambda v: v.__setitem__(2, v[2] + 1), "has a start that is no multiple of 16384"),
        ("mesh/vertex_start", lambda v: v.__setitem__(2, v[1]), "has instances that overlap"),
        ("mesh/face_start", lambda v: v.__setitem__(2, 32768 * 100000), "leaves mesh/faces, which has"),
        ("mesh/face_count", lambda v: v.__setitem__(1, 0), f"contradicts has_mesh for instance {WHOLE}"),
        ("instances/status", lambda v: v.__setitem__(1, 7), "has a number that means nothing; allowed: 0 to 2"),
        ("instances/status", lambda v: v.__setitem__(1, 2), "sets others aside than the attributes"),
        ("instances/id", lambda v: v.__setitem__(1, v[0]), "has an id twice"),
        ("instances/origin", lambda v: v.__setitem__(1, 9), "has 9, which is no position in origins"),
        ("instances/findings", lambda v: v.__setitem__(0, 0), "is no JSON: "),
        ("images/present", lambda v: v.__setitem__((1, 0, 0), False), "contradicts instances/has_images"),
        ("images/rotation", lambda v: v.__setitem__((0, 0, 0, 0), 2), "has a matrix that is no rotation"),
    ],
)
def test_what_contradicts_is_named(path, change, reason, spoiled):
    rewrite_column(spoiled, path, change)
    assert any(text.startswith(f"{path}: {reason}") for text in damages(spoiled, quick=True))


def test_where_instances_lie_is_needed_to_look_at_them(spoiled):
    (spoiled / "mesh/vertex_start/c/0").unlink()
    found = damages(spoiled)
    assert "instances: were not looked at: the columns that say where their data lies are damaged" in found
    assert any(
        text.startswith("mesh/vertex_start/c/0: chunk 0 is missing") or "mesh/vertex_start: " in text for text in found
    )


def test_metadata_that_differs_from_the_roots_is_named(spoiled):
    document = json.loads((spoiled / "images/counts/zarr.json").read_text())
    (spoiled / "images/counts/zarr.json").write_text(json.dumps({**document, "shape": [1, 3, 6, 128, 128]}))
    (spoiled / "mesh/zarr.json").write_bytes(b"{")
    first, second = damages(spoiled)
    assert first == "images/counts/zarr.json: differs from what zarr.json of the root says of it"
    assert second.startswith("mesh/zarr.json: is no JSON: ")


def test_what_was_read_before_does_not_count(spoiled):
    library = msl.open(spoiled)
    list(library.instances())
    (spoiled / object_of("occupancy/points")).unlink()
    assert [damage.place for damage in msl.verify(library).damages] == [object_of("occupancy/points")]
