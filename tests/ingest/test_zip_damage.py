"""Archives with something wrong: a clear finding each, and everything else is read all the same."""

from __future__ import annotations

import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_zip import octahedron, published, write_zip, zipped

from ingest.archive import ZipSource
from ingest.contents import Limits
from ingest.formats import read_off, read_tiff, write_off
from msl_store.errors import FormatError, MSLError


@pytest.fixture
def opened(tmp_path):
    """``opened(data)`` writes archives part1.zip, part2.zip, ... and returns a source of them and its listing."""

    def opened(*archives, **options):
        paths = [tmp_path / f"part{number}.zip" for number in range(1, len(archives) + 1)]
        for path, data in zip(paths, archives, strict=True):
            path.write_bytes(data)
        source = ZipSource([str(path) for path in paths], **options)
        return source, source.listing()

    return opened


def texts(findings):
    return [str(finding) for finding in findings]


def central(data: bytes, path: str) -> int:
    """Where an archive's directory describes a member."""
    at = data.index(b"PK\1\2")
    while data[at : at + 4] == b"PK\1\2":
        name_bytes, extra_bytes, comment_bytes = struct.unpack_from("<3H", data, at + 28)
        if data[at + 46 : at + 46 + name_bytes] == path.encode():
            return at
        at += 46 + name_bytes + extra_bytes + comment_bytes
    raise LookupError(path)


def patched(data: bytes, path: str, field: int, form: str, value: int) -> bytes:
    """An archive with one number of one member's entry in the directory changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, central(data, path) + field, value)
    return bytes(changed)


FLAGS, METHOD, CRC, PACKED, SIZE, OFFSET = (8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (42, "<I")


@pytest.fixture(scope="module")
def whole(made_up):
    return zipped(published({2: made_up[2], 3: made_up[3]}))


# --- archives ---


def test_one_corrupt_archive_among_many_is_a_finding(whole, made_up, opened):
    _, listing = opened(whole[:-30_000], zipped(published({20: made_up[20]})), b"", b"no zip at all")
    assert [entry.id for entry in listing.entries] == [20]
    assert sorted(finding.place for finding in listing.findings) == ["part1.zip", "part3.zip", "part4.zip"]
    assert all("is no whole zip archive" in finding.reason for finding in listing.findings)


def test_archives_of_which_none_can_be_read_are_an_error(whole, opened):
    with pytest.raises(
        FormatError, match=r"no archive holds an instance: part1\.zip: is no whole zip archive .*fetch it"
    ):
        opened(whole[:-30_000])
    with pytest.raises(FormatError, match=r"part1\.zip: holds no instance: no raw_mesh\.off"):
        opened(zipped({"readme.txt": b""}))


def test_a_directory_beyond_the_limit_is_refused(whole, opened, monkeypatch):
    monkeypatch.setattr("ingest.zipdir._TAIL", 100)
    with pytest.raises(FormatError, match=r"its directory claims \d+ bytes, and 1000 are allowed"):
        opened(whole, limits=Limits(directory=1000))


def test_an_id_in_two_archives_or_folders_is_used_once(made_up, opened):
    again = dict(made_up[2])
    again["raw_mesh.off"] = write_off(octahedron(99))
    twice = zipped(published({2: made_up[2]}, top="a/") | published({2: again}, top="b/"))
    source, listing = opened(twice, zipped(published({2: again, 3: made_up[3]})))
    assert [(entry.id, entry.origin) for entry in listing.entries] == [(2, "part1.zip"), (3, "part2.zip")]
    assert texts(listing.findings) == [
        "part1.zip: b/2: is instance 2 a second time; the one in part1.zip: a/2 is used",
        "part2.zip: 2: is instance 2 a second time; the one in part1.zip: a/2 is used",
    ]
    record = next(source.records(listing.entries))
    assert np.array_equal(record.mesh.vertices, read_off(made_up[2]["raw_mesh.off"]).vertices)


# --- names ---


def test_odd_names_are_findings_and_nothing_else(made_up, opened):
    members = list(published({2: made_up[2]}).items())
    members += [
        ("../3/raw_mesh.off", b""), ("/4/raw_mesh.off", b""), ("5\\raw_mesh.off", b""), ("c:/6/raw_mesh.off", b""),
        ("2/Conf1_imgs/N_0_7_x90.tif", b""), ("2/Conf1_imgs/N_0_2_x45.tif", b""), ("2/notes/thumbs.db", b""),
        ("8 copy/raw_mesh.off", b""), ("raw_mesh.off", b""), ("007/raw_mesh.off", b""), ("readme.txt", b""),
    ]  # fmt: skip
    source, listing = opened(zipped(members))
    assert [entry.id for entry in listing.entries] == [2]
    odd = "has an absolute path, or one with '..' or a backslash, which is not used"
    other_id = "has another id in the file's name than in its folder's, so that it is not used"
    unknown = "has a name that no part of an instance has, so that it is not used"
    no_id = "holds an instance's files, but its name is no id: a whole number from 0 on"
    assert texts(listing.findings) == [
        f"part1.zip: ../3/raw_mesh.off: {odd} (and so 3 more: /4/raw_mesh.off, 5\\raw_mesh.off, ...)",
        f"part1.zip: 2/Conf1_imgs/N_0_7_x90.tif: {other_id}",
        f"part1.zip: 2/Conf1_imgs/N_0_2_x45.tif: {unknown} (and so 1 more: 2/notes/thumbs.db)",
        f"part1.zip: 8 copy: {no_id}",
        f"part1.zip: (top): {no_id}",
        f"part1.zip: 007: {no_id}",
    ]
    (record,) = source.records(listing.entries)
    assert record.findings == ()


def test_a_name_that_comes_twice_is_a_finding(made_up, opened):
    members = [*published({2: made_up[2]}).items()]
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([*members, ("2/raw_mesh.off", write_off(octahedron(99)))])
    source, listing = opened(data)
    assert texts(listing.findings) == [
        "part1.zip: 2/raw_mesh.off: has a name that the archive has already, and the first is used"
    ]
    (record,) = source.records(listing.entries)
    assert np.array_equal(record.mesh.vertices, read_off(made_up[2]["raw_mesh.off"]).vertices)


def test_missing_files_are_one_finding_each_and_images_one_together(made_up, opened):
    files = {path: data for path, data in made_up[2].items() if "x90" not in path and path != "occupancies.npz"}
    source, listing = opened(zipped(published({2: files})))
    assert texts(listing.findings) == [
        "part1.zip: 2/occupancies.npz: is missing",
        "part1.zip: 2: misses 3 of 18 images: conf1/x90, conf2/x90, epi1/x90",
    ]
    assert {finding.instance for finding in listing.findings} == {2}
    (record,) = source.records(listing.entries)
    assert record.occupancy is None
    assert record.findings == listing.findings
    assert record.images.present.tolist() == [[True, False, True, True, True, True]] * 3
    assert not record.images.counts[:, 1].any()
    assert np.array_equal(record.images.counts[2, 0], read_tiff(files["Epi1_imgs/0_2_0.tif"]))


def test_an_instance_without_images_has_none(made_up, opened):
    files = {path: data for path, data in made_up[2].items() if not path.endswith(".tif")}
    source, listing = opened(zipped(published({2: files})))
    (record,) = source.records(listing.entries)
    assert record.images is None
    assert "misses 18 of 18 images" in str(record.findings[0])


# --- members ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((*FLAGS, 1), "is encrypted, and only plain members are read: make the archive again without a password"),
        ((*METHOD, 9), r"is compressed by method 9 \(Deflate64\); stored and deflate are read: make the archive again"),
        ((*METHOD, 12), r"is compressed by method 12 \(bzip2\)"),
        ((*METHOD, 77), r"is compressed by method 77 \(an unknown one\)"),
        ((*SIZE, 2**30), "claims 1073741824 bytes, and at most 268435456 are allowed for a file of its kind"),
        ((*SIZE, 10**8), r"claims 100000000 bytes out of \d+, more than deflate can yield: the archive is damaged"),
        ((*PACKED, 10**8), "overlaps what follows it in the archive, which is damaged or made to harm"),
        ((*OFFSET, 2**31), "overlaps what follows it"),
    ],
    ids=["encrypted", "deflate64", "bzip2", "unknown", "bomb", "impossible", "overlap", "beyond"],
)  # fmt: skip
def test_members_that_the_directory_shows_to_be_unreadable(whole, made_up, opened, change, reason):
    source, listing = opened(patched(whole, "2/raw_mesh.off", *change))
    (finding,) = listing.findings
    assert (finding.place, finding.instance) == ("part1.zip: 2/raw_mesh.off", 2)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(finding.reason)
    damaged, other = source.records(listing.entries)
    assert (listing.entries[0].vertex_count, listing.entries[0].parts[0]) == (0, "occupancy")
    assert damaged.findings == (finding,)
    assert damaged.mesh is None
    assert damaged.images.present.all()
    assert len(damaged.point_cloud.points) == 100_000
    assert other.findings == ()
    assert np.array_equal(other.mesh.vertices, read_off(made_up[3]["raw_mesh.off"]).vertices)


def test_the_same_fault_in_many_members_is_one_finding_an_instance(made_up, opened):
    data = zipped(published({2: made_up[2]}))
    for path in made_up[2]:
        data = patched(data, f"2/{path}", *METHOD, 9)
    source, listing = opened(data)
    (finding,) = listing.findings
    assert "(Deflate64)" in finding.reason
    assert "(and so 20 more: 2/occupancies.npz, 2/pointcloud.ply, ...)" in finding.reason
    (record,) = source.records(listing.entries)
    assert (record.mesh, record.occupancy, record.point_cloud, record.images) == (None, None, None, None)
    assert record.findings == (finding,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((*CRC, 12345), r"has the CRC-32 [0-9a-f]{8}, the archive's directory says 00003039; the archive is damaged"),
        ((*SIZE, 100), "yields more than the 100 bytes that it claims"),
        ((*SIZE, 14_850), "yields 14.* of the 14850 bytes that it claims|yields more than the 14850"),
        ((*PACKED, 1000), "ends within its compressed bytes; the archive is damaged: fetch it again"),
    ],
    ids=["crc", "yields more", "yields another size", "cut"],
)
def test_members_that_turn_out_to_be_damaged_when_read(whole, opened, change, reason):
    source, listing = opened(patched(whole, "2/Conf2_imgs/0_2_y90.tif", *change))
    assert listing.findings == ()
    damaged, other = source.records(listing.entries)
    (finding,) = damaged.findings
    assert (finding.place, finding.instance) == ("part1.zip: 2/Conf2_imgs/0_2_y90.tif", 2)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(finding.reason)
    assert damaged.images.present.sum() == 17
    assert not damaged.images.present[1, 3]
    assert damaged.mesh is not None
    assert other.findings == ()


def test_a_member_that_yields_far_more_than_it_claims_is_not_inflated(opened, made_up):
    files = {**made_up[2], "Epi1_imgs/0_2_0.tif": bytes(200 * 2**20)}
    data = patched(zipped(published({2: files})), "2/Epi1_imgs/0_2_0.tif", *SIZE, 33_024)
    source, listing = opened(data)
    import tracemalloc

    tracemalloc.start()
    (record,) = source.records(listing.entries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "yields more than the 33024 bytes that it claims" in str(record.findings[0])
    assert peak < 60 * 2**20


def test_flipped_bits_in_a_body_are_found_whatever_they_do(whole, opened):
    at = whole.index(b"2/raw_mesh.off") + len("2/raw_mesh.off")
    for bit in (0, 9, 400, 601):
        data = bytearray(whole)
        data[at + bit // 8] ^= 1 << bit % 8
        source, listing = opened(bytes(data))
        damaged, other = source.records(listing.entries)
        assert damaged.mesh is None
        assert {finding.place for finding in damaged.findings} == {"part1.zip: 2/raw_mesh.off"}
        assert other.findings == ()


def test_a_header_that_is_elsewhere_than_the_directory_says(whole, opened):
    offset = struct.unpack_from("<I", whole, central(whole, "2/occupancies.npz") + 42)[0]
    source, listing = opened(patched(whole, "2/occupancies.npz", *OFFSET, offset + 7))
    record = next(source.records(listing.entries))
    assert any("is not where the archive's directory says" in text for text in texts(record.findings))
    assert record.occupancy is None
    assert record.mesh is not None


@pytest.mark.parametrize(
    ("mesh", "reason"),
    [
        (b"OFF BINARY\n\0\0\0\6", "is binary OFF"),
        (b"", "states no counts in its first 512 bytes: it is cut short or no OFF file"),
        (b"OFF\n" + b"# on and on\n" * 5, "states no counts in its first 512 bytes"),
        (b"OFF\n4000000000 8 0\n0 0 0\n", "states 4000000000 vertices and 8 faces, more than its 25 bytes can hold"),
    ],
)
def test_a_mesh_without_counts_is_a_finding_and_counts_nothing(made_up, opened, mesh, reason):
    source, listing = opened(zipped(published({2: {**made_up[2], "raw_mesh.off": mesh}, 3: made_up[3]})))
    assert [(entry.vertex_count, entry.face_count) for entry in listing.entries] == [(0, 0), (6, 8)]
    (finding,) = listing.findings
    assert str(finding).startswith("part1.zip: 2/raw_mesh.off: ")
    assert reason in finding.reason
    record, _ = source.records(listing.entries)
    assert record.mesh is None
    assert finding in record.findings
    assert record.images.present.all()


def test_a_long_leading_comment_takes_a_second_look(made_up, opened):
    rng = np.random.default_rng(0)
    comment = b"# " + rng.integers(33, 127, 3000).astype(np.uint8).tobytes().replace(b"#", b"+") + b"\n"
    data = made_up[2]["raw_mesh.off"].replace(b"OFF\n", b"OFF\n" + comment, 1)
    _, listing = opened(zipped(published({2: {**made_up[2], "raw_mesh.off": data}})))
    assert listing.findings == ()
    assert (listing.entries[0].vertex_count, listing.entries[0].face_count) == (6, 8)


def test_a_face_beyond_the_vertices_names_archive_file_face_and_range(made_up, opened):
    mesh = made_up[2]["raw_mesh.off"].replace(b"3 1 3 2\n", b"3 1 6 2\n")
    source, listing = opened(zipped(published({2: {**made_up[2], "raw_mesh.off": mesh}})))
    (record,) = source.records(listing.entries)
    assert texts(record.findings) == ["part1.zip: 2/raw_mesh.off: face 1 names vertex 6, but the mesh has 6 (0 to 5)"]


# --- what macOS makes of archives beyond 4 GiB ---


def test_offsets_of_which_macos_kept_the_low_half_are_restored(tmp_path, made_up):
    """Members before, across and beyond 4 GiB, in a sparse file whose records hold 32 bits of each offset."""
    data = zipped(published({number: made_up[number] for number in (2, 3, 20)}))
    start = data.index(b"PK\1\2")
    splits = [struct.unpack_from("<I", data, central(data, f"{number}/") + 42)[0] for number in (3, 20)]
    shifts = [0, 2**32 - splits[0] - 1000, 2**33 - splits[1] - 1000]  # two instances lie across a multiple of 4 GiB
    path = tmp_path / "part1.zip"
    directory = bytearray(data[start:])
    at = 0
    while directory[at : at + 4] == b"PK\1\2":
        lengths = struct.unpack_from("<3H", directory, at + 28)
        offset = struct.unpack_from("<I", directory, at + 42)[0]
        shift = shifts[sum(offset >= split for split in splits)]
        struct.pack_into("<I", directory, at + 42, (offset + shift) % 2**32)
        at += 46 + sum(lengths)
    struct.pack_into("<I", directory, at + 16, (start + shifts[2]) % 2**32)
    with path.open("wb") as file:
        for first, stop, shift in zip([0, *splits], [*splits, start], shifts, strict=True):
            file.seek(first + shift)
            file.write(data[first:stop])
        file.write(directory)
    assert path.stat().st_size > 2**33
    source = ZipSource(str(path))
    listing = source.listing()
    assert listing.findings == ()
    for entry, record in zip(listing.entries, source.records(listing.entries), strict=True):
        assert record.findings == ()
        assert np.array_equal(record.mesh.vertices, read_off(made_up[entry.id]["raw_mesh.off"]).vertices)
        assert record.images.present.all()


# --- anything at all ---


@pytest.fixture(scope="module")
def small():
    return zipped({
        "2/raw_mesh.off": write_off(octahedron(3)), "2/pointcloud.ply": b"ply\n", "__MACOSX/2/._raw_mesh.off": b"\0\5",
        "3/raw_mesh.off": write_off(octahedron(4)), "3/Epi1_imgs/0_3_x90.tif": b"II*\0",
    })  # fmt: skip


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_gives_findings_or_this_projects_errors(small, tmp_path, data):
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    damaged = damaged[: data.draw(st.integers(len(damaged) - 30, len(damaged)) | st.just(len(damaged)))]
    (tmp_path / "part1.zip").write_bytes(damaged)
    source = ZipSource(str(tmp_path / "part1.zip"))
    with suppress(MSLError):
        listing = source.listing()
        for entry, record in zip(listing.entries, source.records(listing.entries), strict=True):
            assert record.id == entry.id
            if record.mesh is None:
                assert record.findings
            else:
                assert (len(record.mesh.vertices), len(record.mesh.faces)) == (entry.vertex_count, entry.face_count)


def test_a_folder_of_sound_archives_has_no_findings(tmp_path, made_up):
    write_zip(tmp_path / "zips" / "part1.zip", made_up, top="3dmsl/")
    with zipfile.ZipFile(tmp_path / "zips" / "part1.zip") as archive:
        assert archive.testzip() is None
        assert sum("__MACOSX" in name for name in archive.namelist()) == 63
    assert ZipSource(str(tmp_path / "zips")).listing().findings == ()
