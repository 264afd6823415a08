"""Zips read in place: what is listed, what is read, and from where."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile

import numpy as np
import pytest
from published_zip import folder_files, instance_files, published, write_zip, zipped

from ingest.archive import ZipSource, open_source
from ingest.formats import read_npz, read_off, read_ply, read_tiff
from ingest.layout import IMAGES, PARTS, file_name
from ingest.locations import find_archives
from ingest.record import Entry
from msl_store.errors import FormatError, IntegrityError, MissingError, UsageError


def check_record(record, files, number):
    """A record holds what the files of its instance hold, and nothing was found wrong."""
    assert record.id == number
    assert record.findings == ()
    mesh = read_off(files["raw_mesh.off"])
    assert np.array_equal(record.mesh.vertices, mesh.vertices)
    assert np.array_equal(record.mesh.faces, mesh.faces)
    cloud = read_ply(files["pointcloud.ply"])
    assert np.array_equal(record.point_cloud.points, cloud.points)
    assert np.array_equal(record.point_cloud.normals, cloud.normals)
    occupancy = read_npz(files["occupancies.npz"])
    assert np.array_equal(record.occupancy.points, occupancy.points)
    assert np.array_equal(record.occupancy.inside_bits, occupancy.inside_bits)
    assert record.images.present.all()
    images = np.stack([read_tiff(files[file_name(part, number)]) for part in IMAGES])
    assert np.array_equal(record.images.counts.reshape(18, 128, 128), images)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, made_up):
    """A folder of two zips, and what macOS and people leave beside them."""
    folder = tmp_path_factory.mktemp("data_zip")
    write_zip(folder / "part1.zip", {3: made_up[3], 20: made_up[20]})
    write_zip(folder / "more" / "part2.zip", {2: made_up[2]}, top="3dmsl/all of it/")
    (folder / "._part1.zip").write_bytes(b"\0\5\26\7")
    (folder / "notes.txt").write_text("no zip")
    return folder


def test_a_folder_of_zips_is_listed_by_id_and_read_in_any_order(folder, made_up):
    source = ZipSource(str(folder))
    assert source.name == str(folder)
    listing = source.listing()
    assert listing.findings == ()
    assert [entry.id for entry in listing.entries] == [2, 3, 20]
    assert [entry.origin for entry in listing.entries] == ["more/part2.zip", "part1.zip", "part1.zip"]
    assert all(entry.parts == PARTS for entry in listing.entries)
    assert {(entry.vertex_count, entry.face_count) for entry in listing.entries} == {(6, 8)}
    for order in ((0, 1, 2), (2, 0, 1), (1, 1)):
        entries = [listing.entries[at] for at in order]
        for entry, record in zip(entries, source.records(entries), strict=True):
            check_record(record, made_up[entry.id], entry.id)
    assert list(source.records([])) == []


def test_the_published_instance_is_read_from_a_zip_as_from_its_files(instance_1, tmp_path):
    files = folder_files(instance_1)
    source = ZipSource(str(write_zip(tmp_path / "part1.zip", {1: files}, top="data/")))
    listing = source.listing()
    assert [(entry.id, entry.vertex_count, entry.face_count) for entry in listing.entries] == [(1, 3584, 7164)]
    assert [str(finding) for finding in listing.findings] == ["part1.zip: data/1/pointcloud.ply: is missing"]
    (record,) = source.records(listing.entries)
    assert record.point_cloud is None
    assert record.findings == listing.findings
    assert record.images.present.all()
    assert np.array_equal(record.images.counts[1, 2], read_tiff(files["Conf2_imgs/0_1_x180.tif"]))
    assert np.array_equal(record.mesh.vertices, read_off(files["raw_mesh.off"]).vertices)


def test_only_what_is_asked_for_is_fetched(folder, monkeypatch):
    from msl_store.store.objects import Objects

    fetched = []
    get_many = Objects.get_many

    def spy(self, requests):
        fetched.append(sum(stop - start for _, ranges in requests for start, stop in ranges))
        return get_many(self, requests)

    monkeypatch.setattr(Objects, "get_many", spy)
    source = ZipSource(str(folder / "part1.zip"))
    entry = source.listing().entries[0]
    assert sum(fetched) < 100_000  # the archive has 4 MB: its directory and the heads of two meshes
    assert len(fetched) <= 3
    fetched.clear()
    list(source.records([entry]))
    assert len(fetched) == 1
    packed = sum(member.packed for member in entry.members)
    assert packed < fetched[0] < packed + 21 * 200  # local headers come along


def test_sources_and_entries_pickle(folder, made_up):
    source = ZipSource(str(folder))
    entries = source.listing().entries
    again, copies = pickle.loads(pickle.dumps((source, entries)))
    assert copies == entries
    for entry, record in zip(copies, again.records(copies), strict=True):
        check_record(record, made_up[entry.id], entry.id)
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.location = "elsewhere"


def test_the_digest_follows_the_files_and_not_the_archive(made_up, tmp_path):
    def digest(files, **options):
        path = tmp_path / "part1.zip"
        path.write_bytes(zipped(published({2: files}), **options))
        return ZipSource(str(path)).listing().entries[0].digest

    files = made_up[2]
    reference = digest(files)
    assert digest(dict(reversed(files.items())), method=zipfile.ZIP_STORED) == reference
    changed = [
        {**files, "raw_mesh.off": files["raw_mesh.off"].replace(b"30.0", b"30.5", 1)},
        {
            **files,
            "Epi1_imgs/0_2_0.tif": files["Epi1_imgs/0_2_x90.tif"],
            "Epi1_imgs/0_2_x90.tif": files["Epi1_imgs/0_2_0.tif"],
        },
        {path: data for path, data in files.items() if path != "pointcloud.ply"},
    ]
    assert len({reference, *map(digest, changed)}) == 4


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_members(method, made_up, tmp_path):
    (tmp_path / "part1.zip").write_bytes(zipped(published({2: made_up[2]}), method=method))
    source = ZipSource(str(tmp_path / "part1.zip"))
    (record,) = source.records(source.listing().entries)
    check_record(record, made_up[2], 2)


def test_archives_with_a_comment_or_a_preamble_are_read(made_up, tmp_path):
    path = write_zip(tmp_path / "part1.zip", {2: made_up[2]})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"made on a Mac " * 3000
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    source = ZipSource(str(path))
    (record,) = source.records(source.listing().entries)
    check_record(record, made_up[2], 2)


def test_a_directory_longer_than_the_tail_and_zip64_records(tmp_path, made_up, monkeypatch):
    monkeypatch.setattr("ingest.zipdir._TAIL", 300)
    monkeypatch.setattr("zipfile.ZIP64_LIMIT", 1000)
    monkeypatch.setattr("zipfile.ZIP_FILECOUNT_LIMIT", 10)
    path = write_zip(tmp_path / "part1.zip", {2: made_up[2], 3: made_up[3]})
    monkeypatch.undo()
    assert path.read_bytes()[-42:-38] == b"PK\6\7"  # the locator of ZIP64's end record
    monkeypatch.setattr("ingest.zipdir._TAIL", 300)
    source = ZipSource(str(path))
    for entry, record in zip(source.listing().entries, source.records(source.listing().entries), strict=True):
        check_record(record, made_up[entry.id], entry.id)


# --- locations ---


def test_every_way_to_name_archives(folder, monkeypatch):
    part1, part2 = str(folder / "part1.zip"), str(folder / "more" / "part2.zip")
    monkeypatch.chdir(folder)

    def urls(*locations):
        return [archive.url for archive in find_archives(locations)]

    assert urls(part1) == urls("part1.zip") == urls("./part1.zip") == urls("par?1.zip") == urls("*.zip") == [part1]
    assert urls(str(folder)) == urls(f"{folder}/") == urls(".") == [part2, part1]
    assert urls(f"{folder}/*/*.zip") == urls("more/part[0-9].zip") == urls("more") == [part2]
    assert urls(part1, part2) == urls(part1, str(folder)) == [part1, part2]
    assert urls(f"file://{part1}") == [part1]


def test_two_archives_of_one_name_are_told_apart(made_up, tmp_path):
    paths = [
        write_zip(tmp_path / place / "part1.zip", {number: made_up[number]}) for place, number in (("a", 2), ("b", 3))
    ]
    listing = open_source([str(path) for path in paths]).listing()
    assert [entry.origin for entry in listing.entries] == [str(path) for path in paths]


def test_what_names_no_archive_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="no source is named; give a zip, a folder"):
        open_source([])
    with pytest.raises(UsageError, match="no source is named"):
        find_archives([])
    with pytest.raises(MissingError, match="there is no zip archive; give a zip, or a folder or glob of zips"):
        find_archives([str(tmp_path)])
    with pytest.raises(MissingError, match=r"part\*\.tar: there is no zip archive"):
        find_archives([f"{folder}/part*.tar"])
    with pytest.raises(UsageError, match="a web server cannot list its files; name each archive's URL"):
        find_archives(["https://example.org/data/part*.zip"])
    with pytest.raises(UsageError, match="a web server cannot list its files"):
        find_archives(["https://example.org/data/"])
    with pytest.raises(MissingError, match=r"part9\.zip: there is no such object"):
        open_source([str(folder / "part9.zip")]).listing()
    with pytest.raises(MissingError, match="there is no"):
        open_source([str(folder / "nowhere" / "part9.zip")]).listing()
    with pytest.raises(MissingError, match="there is no"):
        open_source([str(folder / "nowhere")]).listing()
    with pytest.raises(FormatError, match=r"no archive holds an instance: notes\.txt: is no whole zip archive"):
        open_source([str(folder / "notes.txt")]).listing()


def test_entries_of_another_source_are_refused(folder):
    with pytest.raises(UsageError, match=r"instance 7 of em\.zarr is another kind of source's"):
        list(ZipSource(str(folder)).records([Entry(7, "em.zarr", 3, 1, "")]))


def test_zips_in_a_bucket_and_on_a_web_server(folder, made_up, bucket, web):
    from msl_store.store.objects import locate

    for name in ("part1.zip", "more/part2.zip"):
        locate(bucket.url, bucket.storage_options).put(f"zips/{name}", (folder / name).read_bytes())
    server = web(folder)
    places = [
        ([f"{bucket.url}/zips"], bucket.storage_options),
        ([f"{bucket.url}/zips/*.zip", f"{bucket.url}/zips/more/part2.zip"], bucket.storage_options),
        ([f"{server.url}/part1.zip", f"{server.url}/more/part2.zip"], None),
    ]
    for locations, storage_options in places:
        source = open_source(locations, storage_options)
        listing = source.listing()
        assert [entry.id for entry in listing.entries] == [2, 3, 20]
        assert listing.findings == ()
        for entry, record in zip(listing.entries, source.records(listing.entries), strict=True):
            check_record(record, made_up[entry.id], entry.id)
    assert source.name == ", ".join(locations)


def test_an_archive_cut_since_it_was_listed_is_a_finding(made_up, tmp_path):
    path = write_zip(tmp_path / "part1.zip", {2: made_up[2], 3: made_up[3]})
    source = ZipSource(str(path))
    entries = source.listing().entries
    path.write_bytes(path.read_bytes()[: entries[1].members[-1].offset + 50])
    first, second = source.records(entries)
    check_record(first, made_up[2], 2)
    assert (second.mesh, second.images) == (None, None)
    assert len(second.findings) == 1
    assert "part1.zip: 3: " in str(second.findings[0])
    path.unlink()
    with pytest.raises((MissingError, IntegrityError), match="part1"):
        list(source.records(entries))


def test_records_stop_early_without_a_trace(folder):
    source = ZipSource(str(folder))
    records = source.records(source.listing().entries)
    assert next(records).id == 2
    records.close()


def test_instances_are_told_by_their_files_at_any_depth(tmp_path, made_up):
    files = made_up[2]
    members = published({2: files}, top="a/b/c/") | {
        "part1/readme.txt": b"",
        "5/": b"",
        "6/holiday.jpg": b"",
        "a/7": b"",
    }
    members |= {"9/Conf1_imgs/N_0_9_x90.tif": instance_files(9, samples=8)["Conf1_imgs/N_0_9_x90.tif"]}
    (tmp_path / "part1.zip").write_bytes(zipped(members))
    entries = ZipSource(str(tmp_path / "part1.zip")).listing().entries
    assert [(entry.id, entry.folder) for entry in entries] == [(2, "a/b/c/2"), (9, "9")]
    assert entries[1].parts == ("conf1/x90",)
    assert (entries[1].vertex_count, entries[1].face_count) == (0, 0)
