"""Arrays, microscopes and views that a subset leaves out are not there, and the rest is as it was."""

from __future__ import annotations

import numpy as np
import small_library
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import WHOLE, built, made_records, record_of
from subsets import IDS, SHOWN, taken_to

import msl_store as msl
from msl_store import schema

KEPT = {
    "mesh": ("vertices", "faces"),
    "point_cloud": ("points", "normals"),
    "point_cloud/points": ("points",),
    "occupancy": ("queries", "bits", "loc", "scale"),
    "images": ("counts", "present"),
}
"""The arrays of a record that the name of an array of a library stands for."""

CHOICES = st.fixed_dictionaries(
    {
        "ids": IDS,
        "arrays": st.none() | st.sets(st.sampled_from(sorted(KEPT))).map(sorted),
        "microscopes": st.none() | st.sets(st.sampled_from(schema.MICROSCOPES), min_size=1).map(sorted),
        "views": st.none() | st.sets(st.sampled_from(schema.VIEWS), min_size=1).map(sorted),
    }
).filter(lambda choice: choice["arrays"] is None or "images" in choice["arrays"] or not choice["views"])


def expected_of(instance, arrays, microscopes, views):
    """What an instance of the small library is when some of it is left out, as `arrays_of` has it."""
    record = small_library.arrays_of(made_records()[instance])
    names = {name for array in (KEPT if arrays is None else arrays) for name in KEPT[array]}
    found = {name: values if name in names else None for name, values in record.items()}
    if found["counts"] is not None:
        grid = np.ix_(
            [name in (microscopes or schema.MICROSCOPES) for name in schema.MICROSCOPES],
            [name in (views or schema.VIEWS) for name in schema.VIEWS],
        )
        there = record["present"][grid].any()
        found.update({name: record[name][grid] if there else None for name in ("counts", "present")})
    return found


@settings(max_examples=9, deadline=None)
@given(choice=CHOICES)
def test_what_is_left_out_is_not_there_and_the_rest_is_as_it_was(folder, choice):
    ids, arrays = choice.pop("ids"), choice["arrays"]
    if arrays is not None and "images" not in arrays:
        choice["microscopes"] = None
    subset = taken_to(folder / "parts.zarr", msl.open(built()), ids=ids, **choice)
    assert msl.verify(subset, scheduler="synchronous").damages == ()
    everything = subset.with_set_aside()
    assert everything.ids.tolist() == ids
    shown = []
    for found, row in zip(everything.instances(), everything.table.to_dataframe().itertuples(), strict=True):
        expected = expected_of(found.id, **choice)
        for name, values in small_library.arrays_of(record_of(found)).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=f"{found.id}: {name}")
        parts = [found.mesh, found.point_cloud, found.occupancy]
        assert [row.has_mesh, row.has_point_cloud, row.has_occupancy] == [part is not None for part in parts]
        assert row.has_normals == (expected["normals"] is not None)
        assert row.has_images == (found.present is not None and bool(found.present.all()))
        if any(part is not None for part in (*parts, found.present)):
            shown.append(found.id)
    assert subset.ids.tolist() == shown


def test_what_is_left_out_is_named_and_costs_nothing(library, folder):
    subset = taken_to(folder / "few.zarr", library, ids=SHOWN, arrays=["occupancy", "images:conf2"], views=["x90", "0"])
    assert set(subset.store.groups) == {"instances", "occupancy", "images"}
    assert (subset.microscopes, subset.views) == ([library.microscopes[1]], ["0", "x90"])
    (step,) = subset.attributes["derived_from"]
    assert step["left_out"] == [
        "mesh",
        "point_cloud",
        "microscope conf1",
        "microscope epi1",
        *(f"view {view}" for view in ("x180", "y90", "y180", "z90")),
    ]
    images = library.images.sel(microscope=["conf2"], view=["0", "x90"], instance=subset.ids)
    assert subset.images.drop_attrs().identical(images.drop_attrs())
    lost = sorted(set(SHOWN) - set(subset.ids.tolist()))
    assert lost
    said = {f["instance"]: f["reason"] for f in subset.findings if f["reason"].startswith("has none of what")}
    assert said == dict.fromkeys(lost, "has none of what this subset holds: images, occupancy")
    assert set(subset.table.status.values.tolist()) == {"complete", "partial"}


def test_normals_alone_can_be_left_out(library, folder):
    subset = taken_to(folder / "points.zarr", library, ids=[WHOLE], arrays=["point_cloud/points"])
    assert "point_cloud/normals" not in subset.store.arrays
    assert subset.point_cloud(WHOLE).normals is None
    assert library.point_cloud(WHOLE).normals is not None
    assert not subset.has_part("normals").any()
