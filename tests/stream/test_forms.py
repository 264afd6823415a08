"""Every form gives what the library holds: the same numbers, in the layout and frame asked for."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_edition
from small_library import WHOLE

import msl_store as msl
from msl_store import stream
from msl_store.errors import MissingError, UsageError
from msl_store.shapes import normalize
from msl_store.store import Objects
from msl_store.stream import Batches, Cloud, Images, Instances, Meshes, Queries


def one(library, form, **options):
    """The arrays of one field of the instance that has everything."""
    found = Instances(library, {"x": form}, **options).by_id(WHOLE)
    return {name.removeprefix("x").removeprefix("."): value for name, value in found.items() if name != "id"}


def rows(array):
    """The rows of an array as bytes, for looking them up."""
    return [row.tobytes() for row in np.ascontiguousarray(array)]


@pytest.mark.parametrize(("n", "spread"), [(1, 1), (2048, 1), (2048, 7), (25_000, 1)])
def test_queries_come_with_their_answers(full, n, spread):
    stored = full.occupancy(WHOLE)
    answer = dict(zip(rows(stored.points), stored.inside.tolist(), strict=True))
    found = one(full, Queries(n, spread=spread, dtype="float16", frame=True))
    assert found[""].shape == (n, 3)
    assert [answer[point] for point in rows(found[""])] == found["inside"].tolist()
    np.testing.assert_array_equal(found["loc"], stored.loc, strict=True)
    assert found["scale"] == stored.scale


def test_all_queries_are_all_there_are(full):
    stored, found = full.occupancy(WHOLE), one(full, Queries(100_000, dtype="float16"))
    assert sorted(zip(rows(stored.points), stored.inside, strict=True)) == sorted(
        zip(rows(found[""]), found["inside"], strict=True)
    )


def test_queries_are_float32_unless_asked_otherwise(full):
    wide, narrow = (one(full, Queries(64, **options)) for options in ({}, {"dtype": "float16"}))
    assert wide[""].dtype == np.float32
    np.testing.assert_array_equal(wide[""], narrow[""])


@pytest.mark.parametrize("spread", [1, 10])
def test_points_of_the_surface_come_with_their_normals(full, spread):
    stored = full.point_cloud(WHOLE)
    normal = dict(zip(rows(stored.points), rows(stored.normals), strict=True))
    found = one(full, Cloud(500, spread=spread, normals=True))
    assert found[""].shape == found["normals"].shape == (500, 3)
    assert [normal[point] for point in rows(found[""])] == rows(found["normals"])
    assert set(one(full, Cloud(500))) == {""}


def test_clouds_without_normals_are_left_out_where_normals_are_asked_for(full):
    assert set(Instances(full, {"x": Cloud(5, normals=True)}).ids) < set(Instances(full, {"x": Cloud(5)}).ids)
    bare = full.select(ids=full.ids[~full.has_part("normals")])
    with pytest.raises(MissingError, match=r"no point cloud has normals; ask for Cloud\(normals=False\)"):
        Instances(bare, {"x": Cloud(5, normals=True)})


def test_images_by_name_and_drawn(full):
    stored = full.instance(WHOLE).images
    named = one(full, Images("epi1", views=("z90", "0")))
    np.testing.assert_array_equal(named[""], stored[2, [5, 0]], strict=True)
    np.testing.assert_array_equal(named["rotation"], full.rotations.values[2, [5, 0]], strict=True)
    assert named["view"].tolist() == [5, 0]
    seen = set()
    for epoch in range(40):
        drawn = one(full, Images("conf1", views=2, dtype="float32"), epoch=epoch)
        np.testing.assert_array_equal(drawn[""], stored[0, drawn["view"]].astype(np.float32), strict=True)
        np.testing.assert_array_equal(drawn["rotation"], full.rotations.values[0, drawn["view"]], strict=True)
        assert len(set(drawn["view"].tolist())) == 2
        seen |= set(drawn["view"].tolist())
    assert seen == set(range(6))


def test_images_are_drawn_of_those_that_are_there(full):
    library = full.select(ids=full.ids[full.has_part("images")])
    present = library.images.present.values[:, 1]
    batches = Batches(library, {"x": Images("conf2", views=5)}, 8)
    assert set(batches.ids.tolist()) == set(library.ids[present.sum(axis=1) >= 5].tolist())
    for batch in batches:
        for instance, views in zip(batch["id"], batch["x.view"], strict=True):
            assert present[list(library.ids).index(instance), views].all()


def mesh_batch(library, ids, form):
    batches = Batches(library.select(ids=ids), {"m": form}, len(ids), shuffle=None)
    return next(iter(batches)), [library.mesh(instance) for instance in ids]


def test_meshes_in_every_layout(full):
    ids = full.ids[full.has_part("mesh")][:5].tolist()
    assert WHOLE in ids
    listed, meshes = mesh_batch(full, ids, Meshes("list"))
    padded, _ = mesh_batch(full, ids, Meshes())
    packed, _ = mesh_batch(full, ids, Meshes("packed"))
    first = 0
    for place, mesh in enumerate(meshes):
        vertices, faces = len(mesh.vertices), len(mesh.faces)
        for batch in (listed, padded, packed):
            assert (batch["m.vertex_count"][place], batch["m.face_count"][place]) == (vertices, faces)
        np.testing.assert_array_equal(listed["m.vertices"][place], mesh.vertices, strict=True)
        np.testing.assert_array_equal(listed["m.faces"][place], mesh.faces)
        np.testing.assert_array_equal(padded["m.vertices"][place, :vertices], mesh.vertices)
        np.testing.assert_array_equal(padded["m.faces"][place, :faces], mesh.faces)
        assert (padded["m.vertices"][place, vertices:] == 0).all()
        assert (padded["m.faces"][place, faces:] == -1).all()
        np.testing.assert_array_equal(packed["m.vertices"][first : first + vertices], mesh.vertices)
        first += vertices
    assert packed["m.vertices"].shape == (first, 3)
    corners = packed["m.vertices"][packed["m.faces"]]
    np.testing.assert_array_equal(corners, np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes]))
    assert listed["m.faces"][0].dtype == padded["m.faces"].dtype == packed["m.faces"].dtype == np.int32


def test_meshes_in_the_frame_of_the_queries(full):
    found = one(full, Meshes(frame="normalized"))
    mesh = full.mesh(WHOLE)
    loc, scale = mesh.box()
    np.testing.assert_array_equal(found["vertices"], normalize(mesh.vertices, loc, scale).astype(np.float32))
    np.testing.assert_array_equal(found["loc"], loc)
    assert found["scale"] == scale
    assert np.ptp(found["vertices"], axis=0).max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Queries(100_001), "100001 points were asked for; allowed is 1 to 100000"),
        (Cloud(10, spread=11), "spread 11: allowed is 1 to 10"),
        (Images("conf9"), r"Images\(microscope='conf9'\): allowed is one of conf1, conf2, epi1"),
        (Images(), r"Images\(microscope=None\): allowed is one of conf1, conf2, epi1"),
        (Images("conf1", views=7), r"Images\(views=7\): allowed is 1 to 6, or names of 0, x90"),
        (
            Images("conf1", views=("x91",)),
            r"Images\(views=\('x91',\)\): allowed are a number, or a tuple of some of 0, x90",
        ),
        (Images("conf1", views="x90"), "allowed are a number, or a tuple"),
    ],
)
def test_what_a_library_has_not_is_refused(full, form, message):
    with pytest.raises(UsageError, match=message):
        Instances(full, {"x": form})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layout": "flat"}, "allowed are padded, packed, list"), ({"frame": "um"}, "allowed are raw, normalized")],
)
def test_a_mesh_in_no_known_layout_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Meshes(**options)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda: Queries(5, dtype="float64"), r"Queries\(dtype='float64'\): allowed are float32, float16"),
        (lambda: Images("conf1", dtype="uint8"), r"Images\(dtype='uint8'\): allowed are stored, float32"),
        (lambda: Meshes("torn"), r"Meshes\(layout='torn'\): allowed are padded, packed, list"),
        (lambda: Meshes(frame="lab"), r"Meshes\(frame='lab'\): allowed are raw, normalized"),
        (lambda: Queries(10.5), r"Queries\(n=10.5\): allowed is an integer"),
        (lambda: Queries(10, spread="all"), r"Queries\(spread='all'\): allowed is an integer"),
        (lambda: Cloud("many"), r"Cloud\(n='many'\): allowed is an integer"),
        (lambda: stream.Voxels(True), r"Voxels\(size=True\): allowed is an integer"),
        (lambda: stream.Distances(1.0), r"Distances\(n=1.0\): allowed is an integer"),
        (lambda: stream.Simulated(images=1.5), r"Simulated\(images=1.5\): allowed is an integer"),
        (lambda: stream.Simulated("confocal-60x-oil", brightness=2), r"brightness=2\): allowed is a tuple"),
        (lambda: stream.Simulated(focus_um=[-1, 1]), r"focus_um=\[-1, 1\]\): allowed are a number, or a tuple"),
        (lambda: stream.Simulated(focus_um=(-1, 0, 1)), "allowed are a number, or a tuple"),
    ],
)
def test_an_option_that_is_none_is_refused(form, message):
    with pytest.raises(UsageError, match=message):
        form()


@pytest.mark.parametrize(
    ("form", "part"),
    [
        (Queries(5), "occupancy"),
        (Cloud(5), "point cloud"),
        (Meshes(), "mesh"),
        (stream.Distances(5), "occupancy"),
        (stream.Voxels(8), "mesh"),
        (stream.Simulated(), "mesh"),
    ],
)
def test_a_library_without_a_form_says_what_it_has(form, part, tmp_path):
    tiny_edition.write(Objects(str(tmp_path / "edition.zarr")), instances=3)
    edition = msl.open(tmp_path / "edition.zarr")
    with pytest.raises(MissingError, match=rf"edition.zarr: has no {part}; of each instance it has: images"):
        Batches(edition, {"x": form})


def test_images_of_several_microscopes_are_several_fields(full):
    with pytest.raises(UsageError, match="allowed is one of conf1, conf2, epi1, and a field for each"):
        Batches(full, {"x": Images(("conf1", "conf2"))})
    batch = next(iter(Batches(full, {name: Images(name) for name in ("conf1", "epi1")}, 2)))
    assert batch["conf1"].shape == batch["epi1"].shape


def test_all_forms_are_offered_by_completion():
    assert set(dir(stream)) == set(stream.__all__) >= {"Simulated", "Voxels", "Distances", "Loader"}
