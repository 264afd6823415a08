"""A library and its subsets: ids, table, shapes, images and tree, each lazy and each true to what was ingested."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import small_library
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import WHOLE, assert_same, build, built, contents, made_record, made_records, record_of

import msl_store as msl
from msl_store import schema
from msl_store.contents import PARTS
from msl_store.digest import instance_digest, joint_digest
from msl_store.errors import MissingError, UsageError
from msl_store.optics.rotations import published_rotation, rotation_vectors

CHUNK_ROWS = schema.SPECS["mesh/vertices"].chunk[0]


@pytest.fixture(scope="module")
def library():
    """The small library, open."""
    return msl.open(built())


def lacking(part):
    """An instance that is shown and lacks a part."""
    return next(i for i in small_library.shown() if getattr(made_records()[i], part) is None)


# --- a record becomes part of a library and comes back

PARTS_SETS = st.sets(st.sampled_from("mcnoi")).map("".join)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_record_to_library_to_record_is_the_identity(tmp_path_factory, data):
    blocks = data.draw(st.lists(st.booleans(), min_size=1, max_size=3), label="block has anything")
    records = []
    for block, has_any in enumerate(blocks):
        rows = schema.BLOCK if block + 1 < len(blocks) else data.draw(st.integers(1, schema.BLOCK), label="rows")
        full = data.draw(st.sets(st.integers(0, rows - 1), min_size=1, max_size=3)) if has_any else set()
        for row in range(rows):
            parts = data.draw(PARTS_SETS) if row in full else ""
            vertices = data.draw(st.integers(3, 40_000) | st.sampled_from([CHUNK_ROWS, CHUNK_ROWS + 1]))
            missing = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=4))
            instance = 1000 * block + 2 * row
            records.append(made_record(instance, parts=parts, vertices=vertices if row in full else 3, missing=missing))
    library = build(records, tmp_path_factory.mktemp("identity") / "lib.zarr")
    found = contents(library)
    assert list(found) == [record.id for record in records]
    for record in records:
        assert_same(found[record.id], record)


def test_an_instance_knows_its_digest(library):
    whole = library.with_set_aside()
    for found in whole.instances():
        digest = instance_digest(
            mesh=found.mesh,
            point_cloud=found.point_cloud,
            occupancy=found.occupancy,
            images=found.images,
            present=found.present,
        )
        assert whole.stored_digest(found.id).tobytes() == digest
    assert library.digest == joint_digest(whole.ids.tolist(), (whole.stored_digest(i).tobytes() for i in whole.ids))


# --- ids and subsets


def test_ids_are_of_instances_that_have_anything(library):
    assert library.ids.tolist() == small_library.shown()
    assert len(library) == len(small_library.shown()) == len(made_records()) - 2
    assert library.with_set_aside().ids.tolist() == list(made_records())
    assert WHOLE in library
    assert small_library.instance_of(12) not in library
    assert small_library.instance_of(12) in library.with_set_aside()


def test_the_representation_names_place_size_and_licence(library):
    assert repr(library) == (
        "<Library '3D Mitochondria Shape Library for Optical Microscopy (3DMSL)': "
        f"68 instances at {built()}; CC BY-NC 4.0>"
    )
    assert library.attributes["doi"] == "10.18710/JX6JXF"


SUBSET = st.lists(st.sampled_from(small_library.shown()), unique=True, max_size=30)


@settings(deadline=None)
@given(SUBSET, st.data())
def test_select_of_select_is_one_select(ids, data):
    library = msl.open(built())
    inner = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    assert library.select(ids=ids).select(ids=inner).ids.tolist() == library.select(ids=inner).ids.tolist() == inner
    few, fewer = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 40))
    assert library.select(first=few).select(first=fewer).ids.tolist() == library.ids[: min(few, fewer)].tolist()
    assert library.select(ids=ids).select(first=few).ids.tolist() == library.select(ids=ids, first=few).ids.tolist()
    one, two = "has_mesh and instance > 20", "vertex_count < 60"
    assert (
        library.select(ids=ids, where=one).select(where=two).ids.tolist()
        == library.select(ids=ids, where=f"({one}) and {two}").ids.tolist()
    )


def test_a_condition_chooses_in_order_before_the_first_few_are_taken(library):
    ids = library.ids[::-1]
    frame = library.table.to_dataframe()
    chosen = library.select(ids=ids, where="volume_um3 > 0.1 and status == 'partial'", first=5)
    expected = [i for i in ids if frame.volume_um3[i] > 0.1 and frame.status[i] == "partial"]
    assert chosen.ids.tolist() == expected[:5]
    assert len(expected) > 5


def test_a_subset_reads_its_own_instances(library):
    subset = library.select(ids=[library.ids[40], WHOLE])
    assert [found.id for found in subset.instances()] == subset.ids.tolist()
    assert_same(record_of(subset.instance(WHOLE)), made_records()[WHOLE])
    with pytest.raises(MissingError, match=rf"has no instance {library.ids[0]} \(1 of 1 asked for\); it has 2 \("):
        subset.mesh(library.ids[0])


def test_an_empty_subset_is_a_library_too(library):
    empty = library.select(first=0)
    assert (len(empty), empty.ids.tolist(), list(empty.instances())) == (0, [], [])
    assert empty.table.to_dataframe().empty
    assert empty.images.load().shape == (0, 3, 6, 128, 128)
    assert len(empty.select(where="has_mesh")) == 0


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ({"ids": [WHOLE, WHOLE]}, UsageError, f"id {WHOLE} is given twice; allowed: once each"),
        ({"first": -1}, UsageError, "first=-1: allowed is 0 or more"),
        (
            {"ids": [5, WHOLE, 6]},
            MissingError,
            r"has no instance 5, 6 \(2 of 3 asked for\); it has 68 \(10 to 85\); see",
        ),
        ({"ids": ["3"]}, UsageError, r"ids \['3'\]: allowed are integers"),
        ({"ids": [1.5]}, UsageError, "allowed are integers"),
        ({"first": 2.5}, UsageError, "first=2.5: allowed is 0 or more"),
        ({"ids": range(1000, 1009)}, MissingError, r"1000, 1001, 1002, 1003, 1004, \.\.\. \(9 of 9"),
        (
            {"where": "volume > 2"},
            UsageError,
            r"where='volume > 2': name 'volume' is not defined; columns: instance, area_um2, ",
        ),
        ({"where": np.ones(68, bool)}, UsageError, r"where: is of type ndarray; .* select\(ids=library.ids\[mask\]\)"),
        ({"where": "volume_um3 >"}, UsageError, "where='volume_um3 >': "),
        ({"where": "volume_um3 * 2"}, UsageError, "is no condition; allowed: a comparison such as"),
        ({"where": "1 < 2"}, UsageError, "is no condition; allowed: a comparison such as"),
    ],
)
def test_a_wrong_choice_says_what_is_allowed(library, choice, error, message):
    with pytest.raises(error, match=message):
        library.select(**choice)


def test_a_library_pickles_with_its_selection(library):
    again = pickle.loads(pickle.dumps(library.select(ids=[WHOLE, library.ids[0]])))
    assert again.ids.tolist() == [WHOLE, library.ids[0]]
    assert_same(record_of(again.instance(WHOLE)), made_records()[WHOLE])


# --- the table


def test_the_table_tells_what_each_instance_has(library):
    frame = library.table.to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    assert frame.index.tolist() == small_library.shown()
    for instance, record in made_records().items():
        if instance not in library:
            continue
        row = frame.loc[instance]
        present = record.images is not None and record.images.present.all()
        parts = [record.mesh is not None, record.point_cloud is not None, record.occupancy is not None, present]
        assert [row.has_mesh, row.has_point_cloud, row.has_occupancy, row.has_images] == parts
        assert row.status == ("complete" if all(parts) else "partial")
        assert row.origin == f"part{instance % 2}.zip"
        assert row.vertex_count == (0 if record.mesh is None else len(record.mesh.vertices))
        assert np.isnan(row.area_um2) == (record.mesh is None)
        if record.mesh is not None:
            extent = (record.mesh.vertices.max(axis=0) - record.mesh.vertices.min(axis=0)) * 0.024
            np.testing.assert_allclose(row[["extent_0_um", "extent_1_um", "extent_2_um"]].astype(float), extent, 1e-5)


def test_every_column_of_the_table_has_units(library):
    units = {name: variable.attrs["units"] for name, variable in library.table.data_vars.items()}
    assert (units["volume_um3"], units["area_um2"], units["extent_2_um"]) == ("um^3", "um^2", "um")
    assert library.table.attrs["license"] == library.license == "CC BY-NC 4.0"


def test_has_part_agrees_with_the_records(library):
    for part in PARTS:
        if part != "images":
            expected = [getattr(made_records()[i], part) is not None for i in library.ids.tolist()]
            assert library.has_part(part).tolist() == expected
    clouds = [made_records()[i].point_cloud for i in library.ids.tolist()]
    assert library.has_part("normals").tolist() == [c is not None and c.normals is not None for c in clouds]


def test_findings_name_instance_and_reason(library):
    expected = sorted(i for i, record in made_records().items() if record.findings)
    assert sorted(finding["instance"] for finding in library.findings) == expected
    assert {finding["reason"] for finding in library.findings} == {"lacks parts"}


# --- shapes


def test_shapes_of_an_instance(library):
    record = made_records()[WHOLE]
    np.testing.assert_array_equal(library.mesh(WHOLE).vertices, record.mesh.vertices, strict=True)
    np.testing.assert_array_equal(library.point_cloud(WHOLE).normals, record.point_cloud.normals, strict=True)
    np.testing.assert_array_equal(library.occupancy(WHOLE).inside, record.occupancy.inside, strict=True)


@pytest.mark.parametrize("part", ["mesh", "point_cloud", "occupancy"])
def test_a_part_that_is_missing_is_an_error_with_its_finding(library, part):
    instance = lacking(part)
    message = rf"instance {instance} has no {part.replace('_', ' ')} \(part\d.zip: {instance}/: lacks parts\)"
    with pytest.raises(MissingError, match=message):
        getattr(library, part)(instance)
    assert getattr(library.instance(instance), part) is None


def test_only_the_parts_asked_for_are_read(library):
    (found,) = library.instances([WHOLE], parts=["mesh"])
    assert found.mesh is not None
    assert found.point_cloud is found.occupancy is found.images is found.present is None
    with pytest.raises(UsageError, match="parts: skeleton unknown; allowed: mesh, point_cloud, occupancy, images, sdf"):
        next(library.instances(parts=["skeleton"]))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_instances_come_in_the_order_asked_for(library, batch):
    ids = library.ids[[40, 3, 17, 5]]
    for found, instance in zip(library.instances(ids, batch=batch), ids.tolist(), strict=True):
        assert_same(record_of(found), made_records()[instance])


# --- images and tree


def test_images_are_lazy_and_carry_what_they_need(library, monkeypatch):
    reads = []
    read = type(library.store).read
    monkeypatch.setattr(type(library.store), "read", lambda self, wants: reads.append(wants) or read(self, wants))
    images = library.images
    assert images.dims == ("instance", "microscope", "view", "y", "x")
    assert (images.dtype, images.name, images.attrs["units"]) == (np.uint16, "counts", "count")
    assert images.microscope.values.tolist() == list(schema.MICROSCOPES)
    assert images.view.values.tolist() == list(schema.VIEWS)
    assert images.pixel_um.dims == images.wavelength_um.dims == ("microscope",)
    assert images.pixel_um.sel(microscope="epi1") == 0.109
    assert images.pixel_um.attrs["units"] == images.wavelength_um.attrs["units"] == "um"
    assert images.present.dims == ("instance", "microscope", "view")
    assert {variable.attrs["units"] for name, variable in images.coords.items() if str(name).startswith("rot")} == {
        "rad"
    }
    assert not any(want.path == "images/counts" for wants in reads for want in wants)
    assert isinstance(images.sel(instance=WHOLE, view="x90").values, np.ndarray)
    assert sum(want.path == "images/counts" for wants in reads for want in wants) == 1


def test_images_are_what_was_ingested_and_zero_where_absent(library):
    images = library.images
    values, present = images.values, images.present.values
    for place, instance in enumerate(library.ids.tolist()):
        record = made_records()[instance].images
        expected = np.zeros((3, 6), np.bool_) if record is None else record.present
        np.testing.assert_array_equal(present[place], expected)
        np.testing.assert_array_equal(values[place], 0 if record is None else record.counts)
    assert not present.all()


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_images_index_as_numpy_does(data):
    library = msl.open(built()).select(ids=small_library.shown()[5:25:3])
    whole = np.stack(
        [
            np.zeros(small_library.IMAGES_SHAPE) if r is None else r.counts
            for r in (made_records()[i].images for i in library.ids)
        ]
    )
    index = tuple(
        data.draw(
            st.integers(-size, size - 1)
            | st.slices(size).filter(lambda chosen, size=size: len(range(*chosen.indices(size))) > 0)
            | st.lists(st.integers(-size, size - 1), min_size=1, max_size=4)
        )
        for size in whole.shape
    )
    found = library.images.isel(dict(zip(library.images.dims, index, strict=True)))
    expected = xr.DataArray(whole, dims=library.images.dims)[index]
    np.testing.assert_array_equal(found.values, expected.values)


def test_rotations_are_those_of_the_published_images(library):
    for microscope in schema.MICROSCOPES:
        for view in schema.VIEWS:
            found = library.rotations.sel(microscope=microscope, view=view).values
            np.testing.assert_array_equal(found, published_rotation(microscope, view))


@settings(deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1), st.floats(0, np.pi))
def test_a_rotation_vector_is_axis_times_angle(axis, angle):
    unit = np.array(axis) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), unit)
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues, for columns
    found = rotation_vectors(matrix.T)
    same = np.abs(found - angle * unit).max()
    assert min(same, np.abs(found + angle * unit).max() if angle > 3.1 else same) < 1e-5


def test_the_tree_has_the_groups_of_the_store_and_the_units_of_the_schema(library):
    tree = library.tree
    assert isinstance(tree, xr.DataTree)
    assert set(tree.children) == {spec.group for spec in schema.ARRAYS}
    assert tree.instance.values.tolist() == small_library.shown()
    for path, spec in ((spec.path, spec) for spec in schema.ARRAYS):
        if path not in {"instances/id", "instances/findings"}:
            variable = tree[path]
            assert (variable.dims, variable.dtype, variable.attrs["units"]) == (spec.dims, spec.dtype, spec.units)


def test_the_tree_gives_the_shapes_of_a_subset(library):
    subset = library.select(ids=[library.ids[30], WHOLE])
    record = made_records()[WHOLE]
    tree = subset.tree
    np.testing.assert_array_equal(tree["point_cloud/points"].sel(instance=WHOLE).values, record.point_cloud.points)
    np.testing.assert_array_equal(tree["occupancy/loc"].sel(instance=WHOLE).values, record.occupancy.loc)
    start = int(tree["mesh/vertex_start"].sel(instance=WHOLE))
    count = int(tree["mesh/vertex_count"].sel(instance=WHOLE))
    np.testing.assert_array_equal(tree["mesh/vertices"][start : start + count].values, record.mesh.vertices)


def test_the_tree_marks_what_is_missing(library):
    tree = library.tree
    for path, part in [
        ("occupancy/loc", "occupancy"),
        ("occupancy/points", "occupancy"),
        ("point_cloud/points", "point_cloud"),
    ]:
        values = tree[path].values.reshape(len(library), -1)
        np.testing.assert_array_equal(np.isnan(values).all(axis=1), ~library.has_part(part))
    vertices = tree["mesh/vertices"].values
    starts, counts = tree["mesh/vertex_start"].values, tree["mesh/vertex_count"].values
    held = np.zeros(len(vertices), np.bool_)
    for start, count in zip(starts, counts, strict=True):
        held[start : start - (-count // CHUNK_ROWS) * CHUNK_ROWS] = True
    np.testing.assert_array_equal(np.isnan(vertices).all(axis=1), ~held)


def test_a_library_without_images_says_so(library, tmp_path):
    msl.subset(library, tmp_path / "mesh.zarr", first=3, arrays=["mesh"])
    bare = msl.open(tmp_path / "mesh.zarr")
    for ask in (lambda: bare.images, lambda: bare.rotations):
        with pytest.raises(
            MissingError, match=r"mesh.zarr: has no array images/\w+; it has instances/\.\.\., mesh/\.\.\."
        ):
            ask()
    made_without = r"has no occupancy \(.*this subset of .*small.zarr was made without; open that"
    with pytest.raises(MissingError, match=made_without):
        bare.occupancy(int(bare.ids[0]))


@pytest.mark.parametrize(
    "verb", [msl.verify, lambda url: msl.subset(url, "no.zarr"), lambda url: msl.simulate(url, "conf1")]
)
def test_a_url_that_was_not_opened_is_no_library(library, verb):
    with pytest.raises(
        UsageError, match=r"small.zarr': is no library; allowed is what msl_store.open or Library.select"
    ):
        verb(library.url)


def test_a_text_is_no_list_of_parts_and_no_storage_options(library):
    with pytest.raises(UsageError, match=r"parts='mesh': allowed is a list of names, as in \['mesh'\]"):
        next(library.instances(parts="mesh"))
    with pytest.raises(UsageError, match="storage_options 'anon': allowed is a mapping"):
        msl.open(library.url, "anon")
