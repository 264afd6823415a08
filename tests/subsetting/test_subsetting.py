"""A subset is a library like the selection it was made of, its chunks the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_edition
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import WHOLE, built, made_records
from subsets import IDS, SHOWN, assert_reads_alike, taken_to
from tiny_edition import stored

import msl_store as msl
from msl_store import schema
from msl_store.store import Objects, Want, locate

ROWS = [spec.path for spec in schema.ARRAYS if spec.kind in {"rows", "ragged"}]


def encoded(library, instance):
    """Every stored chunk of an instance by array and position in what the instance has of it."""
    store = library.store
    (row,) = library.rows_of(instance).tolist()
    wants = dict(library._contents.wants(row, ("mesh", "point_cloud", "occupancy", "images")))
    found = {}
    for path in ROWS:
        pieces = store.pieces(wants[path]) if path in wants else []
        assert store.learn(pieces) == {}
        keys = [(path, *(to.start for to in piece.to)) for piece in pieces]
        store.fetch(pieces, lambda number, data, keys=keys: found.__setitem__(keys[number], bytes(data)))
    return found


@settings(max_examples=6, deadline=None)
@given(ids=IDS)
def test_a_subset_reads_as_the_selection_does(folder, ids):
    library = msl.open(built())
    subset = taken_to(folder / "drawn.zarr", library, ids=ids)
    assert_reads_alike(subset, library.select(ids=ids))
    assert msl.verify(subset, scheduler="synchronous").damages == ()
    assert subset.attributes["counts"]["findings"] == len(subset.findings)


@settings(max_examples=3, deadline=None)
@given(outer=IDS, data=st.data())
def test_a_subset_of_a_subset_is_the_subset(folder, outer, data):
    library = msl.open(built())
    inner = data.draw(st.lists(st.sampled_from(outer), unique=True, min_size=1))
    twice = taken_to(folder / "twice.zarr", taken_to(folder / "outer.zarr", library, ids=outer), ids=inner)
    once = taken_to(folder / "once.zarr", library, ids=inner)
    assert_reads_alike(twice, once)
    assert twice.digest == once.digest
    assert twice.lineage == (once.digest, msl.open(folder / "outer.zarr").digest, library.digest)
    objects = (stored(locate(folder / name)) for name in ("twice.zarr", "once.zarr"))
    one, other = ({path: data for path, data in found.items() if path != "zarr.json"} for found in objects)
    assert one == other


def test_the_whole_library_keeps_its_digest_and_the_bytes_of_its_shards(library, folder):
    whole = taken_to(folder / "whole.zarr", library.with_set_aside())
    assert (whole.digest, whole.ids.tolist()) == (library.digest, library.ids.tolist())
    assert whole.with_set_aside().ids.tolist() == list(made_records())
    here, there = stored(locate(built())), stored(locate(folder / "whole.zarr"))
    assert set(here) == set(there)
    assert [path for path in here if here[path] != there[path] and path != "zarr.json"] == []


def test_chunks_are_moved_as_they_are(library, folder):
    ids = [WHOLE, *SHOWN[::9]]
    subset = taken_to(folder / "moved.zarr", library, ids=list(dict.fromkeys(ids)))
    for instance in subset.ids.tolist():
        assert encoded(subset, instance) == encoded(library, instance)
    assert {path for path, *_ in encoded(subset, WHOLE)} == set(ROWS)


def test_nothing_is_compressed_again_but_what_is_stored_a_block(library, folder, monkeypatch):
    from msl_store.store import sharding, writing

    shapes = []
    monkeypatch.setattr(
        writing, "encode_chunk", lambda values: shapes.append(values.shape) or sharding.encode_chunk(values)
    )
    taken_to(folder / "counted.zarr", library, ids=[WHOLE])
    columns = sum(spec.kind == "column" for spec in schema.ARRAYS)
    assert len(shapes) == columns + 2
    assert {(schema.BLOCK, 3), (schema.BLOCK,)} <= set(shapes)


@pytest.mark.parametrize(("before", "after"), [(2**28, 700), (700, 2**28), (700, 2100)])
def test_shards_of_other_sizes_are_filled_anew(before, after, tmp_path, monkeypatch):
    """Where an instance's images are large, a shard holds a part of a block, and a part of them fits more."""
    monkeypatch.setattr("msl_store.layout.PART_BYTES", before)
    tiny_edition.write(Objects(str(tmp_path / "edition.zarr")))
    monkeypatch.setattr("msl_store.layout.PART_BYTES", after)
    edition = msl.open(tmp_path / "edition.zarr")
    ids = edition.ids[::-2].tolist()
    subset = taken_to(tmp_path / "subset.zarr", edition, ids=ids, views=["x90"])
    assert subset.store.array("images/counts").shard != edition.store.array("images/counts").shard
    np.testing.assert_array_equal(subset.images.values, edition.images.sel(instance=ids, view=["x90"]).values)
    assert msl.verify(subset, scheduler="synchronous").damages == ()


def test_a_selection_counts_before_the_first_and_the_condition(library, folder):
    ids = SHOWN[::-1]
    subset = taken_to(folder / "where.zarr", library, ids=ids, where="has_mesh and vertex_count < 60", first=3)
    assert subset.ids.tolist() == library.select(ids=ids, where="has_mesh and vertex_count < 60", first=3).ids.tolist()
    (step,) = subset.attributes["derived_from"]
    assert step["selection"] == {"first": 3, "where": "has_mesh and vertex_count < 60", "ids_given": len(ids)}
    assert (step["url"], step["digest"], step["instances"]) == (str(built()), library.digest, 70)
    assert subset.attributes["doi"] == library.attributes["doi"]


def test_the_source_says_how_it_was_narrowed(library, folder):
    chosen = library.select(where="genus == 0")
    for target, source, asked, told in [
        ("split.zarr", library, {"split": "val"}, {"split": "val"}),
        ("chosen.zarr", chosen, {}, {"ids_given": len(chosen)}),
        ("whole-again.zarr", library, {}, {}),
    ]:
        (step,) = taken_to(folder / target, source, **asked).attributes["derived_from"]
        assert step["selection"] == told
    assert msl.open(folder / "split.zarr").ids.tolist() == library.select(split="val").ids.tolist()


def test_digests_of_what_was_taken_are_those_of_what_is_read(library, folder):
    subset = taken_to(folder / "digests.zarr", library, ids=SHOWN, arrays=["occupancy", "images:conf1"])
    for found in subset.with_set_aside().instances():
        assert subset.with_set_aside().stored_digest(found.id).tobytes() == found.digest
    (counts,) = subset.store.read([Want("images/present")])
    assert counts.shape == (len(SHOWN), 1, 6)
