"""A subset is a library like the selection it was made of, its chunks the same bytes, wherever both lie."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import small_library
import tiny_edition
from hypothesis import given, settings
from hypothesis import strategies as st
from mortal import Death, Mortal, bury, changes_of
from small_library import WHOLE, assert_same, built, made_records, record_of
from tiny_edition import stored

import msl_store as msl
from msl_store import schema
from msl_store.errors import FormatError, IntegrityError, MissingError, MSLError, UsageError
from msl_store.extract import extract, stored_size
from msl_store.store import Objects, Want, locate
from msl_store.subsetting import write_extract

ROWS = [spec.path for spec in schema.ARRAYS if spec.kind in {"rows", "ragged"}]
SHOWN = small_library.shown()
IDS = st.lists(st.sampled_from(SHOWN), unique=True, min_size=1, max_size=8)


@pytest.fixture(scope="module")
def library():
    """The small library, open."""
    return msl.open(built())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for this module's libraries."""
    return tmp_path_factory.mktemp("subsets")


def taken_to(place, library, **choice):
    """Make a subset anew at a place on the disk and open it."""
    shutil.rmtree(place, ignore_errors=True)
    msl.subset(library, place, scheduler="synchronous", **choice)
    return msl.open(place)


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


def assert_reads_alike(one, other):
    """Fail unless two libraries give the same answers."""
    assert one.ids.tolist() == other.ids.tolist()
    assert one.table.drop_attrs().identical(other.table.drop_attrs())
    for found, expected in zip(one.instances(), other.instances(), strict=True):
        assert_same(record_of(found), record_of(expected))
    for instance in one.ids.tolist():
        np.testing.assert_array_equal(one.stored_digest(instance), other.stored_digest(instance))
    assert one.images.drop_attrs().identical(other.images.drop_attrs())
    assert one.rotations.identical(other.rotations)
    assert (one.microscopes, one.views, one.license) == (other.microscopes, other.views, other.license)
    chosen = set(one.ids.tolist())
    assert one.findings == [finding for finding in other.findings if finding["instance"] in chosen]
    for part in ("mesh", "point_cloud", "normals", "occupancy", "images"):
        np.testing.assert_array_equal(one.has_part(part), other.has_part(part))


# --- a subset is what was selected


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


# --- arrays, microscopes and views that are left out

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


# --- editions


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


# --- the size, said beforehand


def test_the_size_is_that_of_the_chunks(library):
    for choice in ({}, {"arrays": ["mesh", "images:epi1"], "views": ["z90"]}, {"arrays": ["point_cloud/points"]}):
        taken = extract(library.select(ids=SHOWN[::3]), **choice)
        expected = dict.fromkeys(taken.of_kind("rows", "ragged"), 0)
        for path in expected:
            for place in np.flatnonzero(taken.has(path)).tolist():
                pieces = taken.store.pieces(taken.want(path, place))
                assert taken.store.learn(pieces) == {}
                expected[path] += sum(b - a for a, b in map(taken.store.range_of, pieces))
        size = stored_size(taken)
        assert (size.by_array, size.exact) == (expected, True)
        assert size.stored_bytes == sum(expected.values()) > 0


def test_the_size_of_many_blocks_is_estimated_from_some(monkeypatch):
    library = msl.open(built())
    exact = stored_size(extract(library))
    monkeypatch.setattr("msl_store.extract.SIZED_BLOCKS", 1)
    estimated = stored_size(extract(msl.open(built())))
    first = int((library.rows_of(library.ids) < schema.BLOCK).sum())
    in_first = stored_size(extract(library.select(first=first)))
    assert exact.exact
    assert not estimated.exact
    for path, size in estimated.by_array.items():
        assert size == round(in_first.by_array[path] * len(library) / first)


def test_progress_tells_the_size_before_anything_is_written(library, folder):
    told = []
    shutil.rmtree(folder / "told.zarr", ignore_errors=True)
    done = msl.subset(library, folder / "told.zarr", scheduler="synchronous", progress=told.append)
    assert [state.blocks for state in told] == [0, 1, 2]
    assert [state.instances for state in told] in ([0, 64, len(library)], [0, len(library) - 64, len(library)])
    assert (told[0].stored_bytes, told[0].size.exact) == (0, True)
    assert told[-1].stored_bytes == done.stored_bytes > told[0].size.stored_bytes
    assert msl.subset(library, folder / "told.zarr").state == "published"


# --- from anywhere to anywhere


@pytest.mark.parametrize(
    ("source", "target"), [("disk", "memory"), ("disk", "s3"), ("zip", "disk"), ("web", "disk"), ("s3", "s3")]
)
def test_from_anywhere_to_anywhere(source, target, library, tmp_path, request):
    url, options = str(built()), {}
    if source == "zip":
        url = shutil.make_archive(str(tmp_path / "lib"), "zip", built())
    elif source == "web":
        url = f"{request.getfixturevalue('web')(built().parent).url}/{built().name}"
    elif source == "s3":
        bucket = request.getfixturevalue("bucket")
        url, options = f"{bucket.url}/source.zarr", bucket.storage_options
        for path, data in stored(locate(built())).items():
            locate(url, options).put(path, data)
    place, place_options = str(tmp_path / "subset.zarr"), {}
    if target == "memory":
        place = f"memory://{tmp_path.name}/subset.zarr"
    elif target == "s3":
        bucket = request.getfixturevalue("bucket")
        place, place_options = f"{bucket.url}/subset.zarr", bucket.storage_options
    ids = [WHOLE, SHOWN[-1], SHOWN[0]]
    done = msl.subset(msl.open(url, options), place, place_options, ids=ids)
    assert (done.state, done.instances) == ("new", 3)
    subset = msl.open(place, place_options)
    assert_reads_alike(subset, library.select(ids=ids))
    assert subset.digest == done.digest


def test_a_cluster_copies(library, folder, client):
    subset_url = folder / "cluster.zarr"
    msl.subset(library, subset_url, ids=SHOWN, arrays=["mesh", "occupancy"], scheduler=client)
    alone = taken_to(folder / "alone.zarr", library, ids=SHOWN, arrays=["mesh", "occupancy"])
    assert stored(locate(subset_url)) == stored(locate(alone.url))


def test_a_remote_block_takes_few_round_trips(folder, web, delay_proxy):
    """The indexes of all shards together, then the chunks: latency is paid per block, not per chunk."""
    from servers.request_log import round_trips

    proxy = delay_proxy(web(built().parent).url, delay_s=0.1)
    library = msl.open(f"{proxy.url}/{built().name}")
    taken_to(folder / "far.zarr", library, first=60)
    requests = proxy.requests()
    assert round_trips(requests) <= 5  # the root, columns, indexes, what is stored a block, chunks
    assert {r.method for r in requests} == {"GET"}
    paths = [(r.path, r.range) for r in requests]
    assert len(paths) == len(set(paths))


# --- what goes wrong


@pytest.fixture
def damaged(tmp_path):
    """A copy of the small library with a chunk of its first block damaged: the path, and the byte to set right."""
    place = shutil.copytree(built(), tmp_path / "damaged.zarr")
    path = place / "images/counts/c/0/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    return place, path


def test_a_damaged_chunk_is_named_and_the_other_blocks_are_done(damaged, tmp_path):
    place, path = damaged
    target = tmp_path / "subset.zarr"
    with pytest.raises(IntegrityError, match=r"images/counts/c/0/0/0/0/0 chunk \d+: .*CRC-32C.*1 of 2 blocks failed"):
        msl.subset(msl.open(place), target)
    with pytest.raises(MissingError, match="not finished"):
        msl.open(target)
    assert [p.name for p in (target / "_unpublished/blocks").iterdir()] == ["000001.json"]
    shutil.copy(built() / path.relative_to(place), path)
    assert msl.subset(msl.open(place), target).state == "resumed"
    assert_reads_alike(msl.open(target), msl.open(built()))


@pytest.mark.parametrize("kind", ["missing", "short", "index", "chunk"])
def test_damage_of_any_kind_is_an_error(kind, damaged, tmp_path):
    place, path = damaged
    data = bytearray((built() / path.relative_to(place)).read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "chunk":
        pass
    else:
        data[50] ^= 4
        path.write_bytes(data if kind == "index" else data[:1000])
    with pytest.raises(IntegrityError, match="images/counts/c/0/0/0/0/0"):
        msl.subset(msl.open(place), tmp_path / "subset.zarr")


def test_chunks_that_hold_more_than_is_taken_are_refused(library, tmp_path):
    taken = extract(library.select(first=3))
    spec = replace(taken.arrays["images/counts"], chunk=(1, 1, 2, 128, 128))
    other = replace(taken, arrays={**taken.arrays, "images/counts": spec})
    with pytest.raises(
        FormatError, match=r"images/counts/c/0/0/0/0/0 chunk \d+: holds more than .* ingest this library"
    ):
        write_extract(
            other, locate(tmp_path / "new.zarr"), "", {}, scheduler="synchronous", overwrite=False, progress=print
        )


def test_a_source_that_changes_while_it_is_copied_is_refused(library, tmp_path):
    place = shutil.copytree(built(), tmp_path / "changing.zarr")
    opened = msl.open(place)
    tiny_edition.write(Objects(str(place)), source="b", overwrite=True)
    with pytest.raises(MSLError):
        msl.subset(opened, tmp_path / "subset.zarr", scheduler="processes", first=3)
    with pytest.raises(MissingError):
        msl.open(tmp_path / "subset.zarr")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"first": 0}, "none of its 68 instances is left by first 0; allow one or more"),
        ({"where": "genus > 99", "split": "val"}, "none of its 68 instances is left by where genus > 99, split val;"),
        ({"arrays": ["sdf"]}, r"arrays: 'sdf' unknown; allowed: images, mesh, occupancy, point_cloud, point_cloud/poi"),
        ({"arrays": ["mesh:conf1"]}, "arrays: 'mesh:conf1' unknown"),
        ({"arrays": ["point_cloud/normals"]}, "arrays: 'point_cloud/normals' unknown"),
        ({"arrays": ["mesh"], "views": ["0"]}, r"views: no images are taken; allowed: 0, x90, .*, with images among"),
        ({"microscopes": ["conf9"]}, "microscopes: conf9 unknown; allowed: conf1, conf2, epi1"),
        ({"views": []}, "views: "),
        ({"views": "x90"}, r"views='x90': allowed is a list of names, as in \['x90'\]"),
        ({"arrays": "mesh"}, r"arrays='mesh': allowed is a list of names"),
        ({"arrays": ["images:conf1"], "microscopes": ["conf2"]}, r"named in arrays too \(images:...\)"),
    ],
)
def test_a_wrong_choice_says_what_is_allowed(library, tmp_path, choice, message):
    with pytest.raises(UsageError, match=message):
        msl.subset(library, tmp_path / "subset.zarr", **choice)
    assert not (tmp_path / "subset.zarr").exists()


def test_a_library_is_not_written_over_itself(tmp_path, web, bucket):
    place = shutil.copytree(built(), tmp_path / "a" / "lib.zarr")
    for url in (place, place / "mesh", tmp_path / "a", f"file://{place}"):
        with pytest.raises(UsageError, match="is, holds or lies in the library"):
            msl.subset(msl.open(place), url, first=1, overwrite=True)
    remote = Objects(f"{bucket.url}/lib.zarr", bucket.storage_options)
    tiny_edition.write(remote, instances=3)
    with pytest.raises(UsageError, match="is, holds or lies in the library"):
        msl.subset(msl.open(remote.url, bucket.storage_options), remote.url, bucket.storage_options, overwrite=True)
    with pytest.raises(UsageError, match="a web server takes no writes; allowed is a folder or a bucket"):
        msl.subset(msl.open(place), f"{web(tmp_path).url}/new.zarr", first=1)
    with pytest.raises(UsageError, match="a zipped library is read-only; allowed is a folder or a bucket"):
        msl.subset(msl.open(place), tmp_path / "new.zip", first=1)


def test_a_joined_library_is_refused(library, tmp_path):
    edition_of(tmp_path / "edition.zarr", source_digest=library.digest)
    with pytest.raises(UsageError, match="is joined to it; allowed is one library at a time"):
        msl.subset(library.with_edition(tmp_path / "edition.zarr"), tmp_path / "subset.zarr")


def test_another_selection_is_refused_and_overwrites_when_told(library, folder):
    target = folder / "replaced.zarr"
    taken_to(target, library, first=5)
    with pytest.raises(UsageError, match="the source or the selection has changed"):
        msl.subset(library, target, first=6)
    assert msl.subset(library, target, first=6, overwrite=True).state == "new"
    assert_reads_alike(msl.open(target), library.select(first=6))


# --- death at any moment


def test_death_at_any_write_is_resumed_to_the_same_subset(tmp_path):
    source = Objects(str(tmp_path / "source.zarr"))
    tiny_edition.write(source)
    taken = extract(msl.open(source.url).select(first=66), views=["x90"])

    def work(target):
        write_extract(taken, target, source.url, {}, scheduler="synchronous", overwrite=False, progress=lambda _: None)

    reference = Objects(str(tmp_path / "reference.zarr"))
    count = changes_of(work, reference.url)
    assert count > 25
    opened = []
    for changes in range(count):
        target = Objects(str(tmp_path / f"{changes}.zarr"))
        with pytest.raises(Death):
            work(Mortal(target.url, changes=changes))
        try:
            opened.append(len(msl.open(target.url)) == 66)
        except MissingError:
            opened.append(False)
        bury(target)
        work(target)
        assert stored(target) == stored(reference), f"died after {changes} changes"
    assert opened == sorted(opened)
    assert 0 < sum(opened) < count


# --- what an instance's digest counts


def test_digests_of_what_was_taken_are_those_of_what_is_read(library, folder):
    subset = taken_to(folder / "digests.zarr", library, ids=SHOWN, arrays=["occupancy", "images:conf1"])
    for found in subset.with_set_aside().instances():
        assert subset.with_set_aside().stored_digest(found.id).tobytes() == found.digest
    (counts,) = subset.store.read([Want("images/present")])
    assert counts.shape == (len(SHOWN), 1, 6)
