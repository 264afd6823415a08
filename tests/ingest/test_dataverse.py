from __future__ import annotations

import hashlib

import pytest
from dataverse_server import DOI, DataverseServer
from published_zip import published, zipped

from ingest.archive import ZipSource
from ingest.dataverse import archives
from ingest.place import Archive, Checksum, check_archive
from msl_store.errors import FormatError, IntegrityError, MissingError, NetworkError, UsageError
from msl_store.store.objects import locate_file


@pytest.fixture(scope="module")
def zips(made_up):
    return {
        "part2.zip": zipped(published({20: made_up[20]})),
        "part1.zip": zipped(published({2: made_up[2], 3: made_up[3]})),
        "readme.txt": b"3DMSL",
    }


def test_the_archives_are_listed_with_sizes_checksums_and_urls(zips):
    with DataverseServer(zips) as server:
        listed = archives(f"doi:{DOI}", resolver=server.resolver)
        assert listed == [
            Archive(
                name,
                f"{server.url}/moved/api/access/datafile/{number}",
                len(zips[name]),
                Checksum("MD5", hashlib.md5(zips[name]).hexdigest()),
            )
            for name, number in (("part1.zip", 1), ("part2.zip", 0))
        ]
        assert archives(f"https://doi.org/{DOI}", api=f"{server.url}/moved/") == listed


def test_a_doi_is_a_source_read_by_ranges_through_the_redirects(zips, made_up):
    with DataverseServer(zips) as server:
        source = ZipSource(f"doi:{DOI}", resolver=server.resolver)
        listing = source.listing()
        assert [(entry.id, entry.origin) for entry in listing.entries] == [
            (2, "part1.zip"), (3, "part1.zip"), (20, "part2.zip"),
        ]  # fmt: skip
        assert listing.findings == ()
        assert [archive.name for archive in listing.archives] == ["part1.zip", "part2.zip"]
        for record in source.records(listing.entries[1:]):
            assert record.findings == ()
            assert record.images.present.all()
        assert {method for method, _ in server.requests} == {"GET"}


def test_checksums_are_compared(zips):
    with DataverseServer(zips) as server:
        for archive in archives(f"doi:{DOI}", resolver=server.resolver):
            check_archive(*locate_file(archive.url), archive.checksum, size=archive.size)
        wrong = Checksum("SHA-256", "0" * 64)
        with pytest.raises(IntegrityError, match=r"its SHA-256 is .*, published is 000.*: it is damaged or another"):
            check_archive(*locate_file(archive.url), wrong, size=archive.size)
        with pytest.raises(UsageError, match="of kind CRC; MD5, SHA-1, SHA-256 and SHA-512 are known"):
            check_archive(*locate_file(archive.url), Checksum("CRC", "0"), size=archive.size)


def test_checksums_of_long_archives_are_taken_in_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.place._STEP", 1000)
    data = bytes(range(256)) * 20
    (tmp_path / "part1.zip").write_bytes(data)
    for kind, digest in (("MD5", hashlib.md5), ("SHA-1", hashlib.sha1), ("SHA-512", hashlib.sha512)):
        check_archive(*locate_file(tmp_path / "part1.zip"), Checksum(kind, digest(data).hexdigest().upper()))


def test_what_goes_wrong_is_said(zips):
    with DataverseServer(zips) as server:
        with pytest.raises(MissingError, match=r"no such thing as the DOI 10\.1/nothing; check the DOI"):
            archives("doi:10.1/nothing", resolver=server.resolver)
        with pytest.raises(UsageError, match=r"10.1/elsewhere: leads to .*/a-journal, which is no dataset's page"):
            archives("doi:10.1/elsewhere", resolver=server.resolver)
        with pytest.raises(MissingError, match=r"dataset doi:10.1/nothing \(Dataset with Persistent ID not found.\)"):
            archives("doi:10.1/nothing", api=f"{server.url}/moved")
        with pytest.raises(UsageError, match=r"part1.zip: is no DOI; one looks like doi:10.18710/JX6JXF"):
            archives("part1.zip")
    with pytest.raises(NetworkError, match="check the address and the network"):
        archives(f"doi:{DOI}", resolver=server.resolver)
    with DataverseServer({"readme.txt": b""}) as server, pytest.raises(MissingError, match="lists 1 files and no zip"):
        archives(f"doi:{DOI}", resolver=server.resolver)
    with (
        DataverseServer(zips, restricted=True) as server,
        pytest.raises(NetworkError, match=r"all 3 files .* restricted"),
    ):
        archives(f"doi:{DOI}", resolver=server.resolver)


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"data": {}}', '{"data": {"latestVersion": {"files": [{}]}}}'])
def test_an_answer_that_is_no_dataset_is_refused(zips, answer):
    with (
        DataverseServer(zips, answer=answer) as server,
        pytest.raises(FormatError, match="answers something else than a Dataverse dataset"),
    ):
        archives(f"doi:{DOI}", resolver=server.resolver)


def test_files_restricted_since_they_were_listed_are_a_network_error(zips):
    with DataverseServer(zips) as server:
        source = ZipSource(f"doi:{DOI}", resolver=server.resolver)
        entries = source.listing().entries
        server.restricted = True
        with pytest.raises(NetworkError, match=r"datafile/1.*403"):
            list(source.records(entries[:1]))


def test_a_server_that_ignores_ranges_is_a_network_error(zips):
    with (
        DataverseServer(zips, ranges=False) as server,
        pytest.raises(NetworkError, match="datafile"),
    ):
        ZipSource(f"doi:{DOI}", resolver=server.resolver).listing()
