"""Splits: frozen by a hash of the id, the same in every library; and one's own, which have nothing in common."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import small_library
from hypothesis import given
from hypothesis import strategies as st
from small_library import build, made_record

import msl_store as msl
from msl_store.errors import UsageError
from msl_store.splits import RULE, SHARES, SPLITS, split_of


@pytest.fixture(scope="module")
def lib():
    return msl.open(small_library.built())


@given(st.lists(st.integers(0, 2**62), max_size=30))
def test_the_rule_is_what_it_says(ids):
    for instance, found in zip(ids, split_of(ids), strict=True):
        u = int(hashlib.sha256(f"3dmsl-split-1:{instance}".encode("ascii")).hexdigest()[:16], 16) / 2**64
        assert SPLITS[found] == ("train" if u < 0.7 else "val" if u < 0.8 else "test")


def test_the_published_ids_never_change_their_split():
    found = split_of(range(1, 27_273))
    assert np.bincount(found).tolist() == [19070, 2740, 5462]
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "92e99f0bffd0eeba"


def test_shares_are_those_of_the_rule():
    counts = np.bincount(split_of(range(10**5)))
    expected = np.array(SHARES) * 10**4
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # 2 degrees of freedom: once in 1,000 times


def test_a_library_stores_its_split_and_how_it_came_about(lib):
    (stored,) = lib.store.columns(["instances/split"]).values()
    np.testing.assert_array_equal(stored, split_of(lib.store.ids.tolist()), strict=True)
    assert lib.store.groups["instances"]["splits"] == list(SPLITS)
    assert lib.store.groups["instances"]["split_rule"] == RULE


def test_splits_divide_a_library_and_its_subsets(lib):
    for library in (lib, lib.select(first=30), lib.select(ids=lib.ids[::-3])):
        parts = library.splits()
        assert list(parts) == list(SPLITS)
        together = np.concatenate([part.ids for part in parts.values()])
        assert sorted(together) == sorted(library.ids)
        for name, part in parts.items():
            assert part.ids.tolist() == [i for i in library.ids.tolist() if SPLITS[split_of([i])[0]] == name]
            assert set(part.table["split"].values) <= {name}


def test_a_split_goes_with_the_other_conditions(lib):
    test = lib.select(split="test", where="vertex_count > 40", first=4)
    expected = lib.table.to_dataframe().query("split == 'test' and vertex_count > 40").index[:4]
    assert test.ids.tolist() == expected.tolist()
    backwards = lib.select(ids=lib.ids[::-1], split="val")
    assert backwards.ids.tolist() == lib.select(split="val").ids.tolist()[::-1]


def test_an_instance_keeps_its_split_when_others_are_added(tmp_path):
    few = build([made_record(i, parts="m") for i in (3, 5, 8)], tmp_path / "few.zarr")
    more = build([made_record(i, parts="m") for i in range(1, 12)], tmp_path / "more.zarr")
    for name in SPLITS:
        assert set(few.select(split=name).ids) == set(more.select(split=name).ids) & {3, 5, 8}


def test_a_library_of_before_has_the_same_splits(lib, tmp_path):
    folder = shutil.copytree(small_library.built(), tmp_path / "old.zarr")
    shutil.rmtree(folder / "instances" / "split")
    root = json.loads((folder / "zarr.json").read_text())
    del root["consolidated_metadata"]["metadata"]["instances/split"]
    (folder / "zarr.json").write_text(json.dumps(root))
    old = msl.open(folder)
    for name, part in lib.splits().items():
        assert old.select(split=name).ids.tolist() == part.ids.tolist()
    assert old.table["split"].values.tolist() == lib.table["split"].values.tolist()


def test_splits_of_ones_own(lib):
    parts = lib.splits({"small": "vertex_count < 40", "rest": None, "large": "vertex_count > 70 and has_images"})
    assert list(parts) == ["small", "rest", "large"]
    assert parts["small"].ids.tolist() == lib.select(where="vertex_count < 40").ids.tolist()
    assert sorted(np.concatenate([part.ids for part in parts.values()])) == lib.ids.tolist()
    assert len(lib.splits({"all": None})["all"]) == len(lib)
    some = lib.splits({"a": "vertex_count == 21", "b": "vertex_count == 22"})
    assert sum(map(len, some.values())) < len(lib)


def test_splits_that_share_an_instance_are_refused(lib):
    both = lib.select(where="40 < vertex_count < 60")
    with pytest.raises(UsageError, match=rf"{len(both)} instances are in both a and b: {both.ids[0]}, .*exclude each"):
        lib.splits({"a": "vertex_count > 40", "b": "vertex_count < 60 and vertex_count > 0"})
    with pytest.raises(UsageError, match="a, b are all to have the rest; allowed for one split only"):
        lib.splits({"a": None, "b": None})
    with pytest.raises(UsageError, match=r"splits \['train'\]: allowed is a mapping of names to conditions"):
        lib.splits(["train"])


def test_a_split_that_there_is_not_is_refused(lib):
    with pytest.raises(UsageError, match="split='tests': allowed are train, val, test; see also Library"):
        lib.select(split="tests")
