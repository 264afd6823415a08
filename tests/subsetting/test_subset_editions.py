"""Editions join the subsets of what they were simulated from, and subsets of editions what those join."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_edition
from subsets import SHOWN, taken_to

import msl_store as msl
from msl_store.errors import UsageError
from msl_store.store import Objects


def edition_of(place, *, source_digest, **provenance):
    """A tiny edition (ids 0 to 69) that says what it was simulated from."""
    tiny_edition.write(Objects(str(place)), source_digest=source_digest, provenance=provenance)
    return msl.open(place)


def test_editions_join_a_subset_and_its_subsets(library, folder, tmp_path):
    edition = edition_of(tmp_path / "edition.zarr", source_digest=library.digest)
    subset = taken_to(folder / "joined.zarr", library, ids=SHOWN[3:9])
    deeper = taken_to(folder / "deeper.zarr", subset, first=4)
    for one in (library, subset, deeper):
        joined = one.with_edition(edition.url)
        assert joined.ids.tolist() == one.ids.tolist() if one is not library else len(joined) > 40
        instance = SHOWN[4]
        np.testing.assert_array_equal(
            joined.images.sel(instance=instance).values, tiny_edition.image("a", instance), strict=True
        )


def test_a_subset_of_an_edition_joins_what_the_edition_joins(library, folder, tmp_path):
    edition = edition_of(tmp_path / "edition.zarr", source_digest=library.digest)
    part = taken_to(folder / "part.zarr", edition, ids=SHOWN[:5], views=["x90"])
    assert part.attributes["provenance"] == edition.attributes["provenance"]
    joined = library.with_edition(part.url)
    assert (joined.ids.tolist(), joined.images.view.values.tolist()) == (SHOWN[:5], ["x90"])
    subset = taken_to(folder / "both.zarr", library, ids=SHOWN[2:20])
    assert subset.with_edition(part.url).ids.tolist() == SHOWN[2:5]


def test_an_edition_of_a_subset_joins_the_library_and_its_other_subsets(library, folder, tmp_path):
    subset = taken_to(folder / "simulated.zarr", library, ids=SHOWN[:6], arrays=["mesh"])
    provenance = msl.simulate(subset, "conf2", views=["0"]).attrs["provenance"]
    assert provenance["source_digest"] == subset.digest
    edition = edition_of(tmp_path / "of-subset.zarr", **provenance)
    other = taken_to(folder / "other.zarr", library, ids=SHOWN[4:9])
    assert library.with_edition(edition.url).ids.tolist()[:3] == SHOWN[:3]
    assert other.with_edition(edition.url).ids.tolist() == SHOWN[4:9]
    assert "source_lineage" not in msl.simulate(library, "conf2", views=["0"]).attrs["provenance"]


def test_an_edition_of_another_library_is_refused(library, folder, tmp_path):
    edition = edition_of(tmp_path / "foreign.zarr", source_digest="f" * 64)
    subset = taken_to(folder / "mine.zarr", library, first=2)
    with pytest.raises(UsageError, match=r"was simulated from a library with digest f+, .* or a subset of that"):
        subset.with_edition(edition.url)


def test_a_joined_library_is_refused(library, tmp_path):
    edition_of(tmp_path / "edition.zarr", source_digest=library.digest)
    with pytest.raises(UsageError, match="is joined to it; allowed is one library at a time"):
        msl.subset(library.with_edition(tmp_path / "edition.zarr"), tmp_path / "subset.zarr")
