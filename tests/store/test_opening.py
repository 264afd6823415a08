"""A library opens in one request, and what is no library, or not yet, says what it is."""

from __future__ import annotations

import json
import pickle
import warnings

import pytest
import zarr
from servers.process import free_port

import msl_store as msl
from msl_store import schema
from msl_store.errors import FormatError, IntegrityError, MissingError, NetworkError, UsageError
from msl_store.layout import Layout, library_sizes
from msl_store.store import Objects, Publication


def plain_group(folder):
    zarr.create_group(folder, zarr_format=3)
    return folder


def test_nothing_there(tmp_path, web, bucket):
    site = web(tmp_path)
    for url, options in [
        (tmp_path, {}),
        (tmp_path / "no-such-folder", {}),
        (f"{site.url}/lib.zarr", {}),
        (f"{site.url}/lib.zarr", {"client_kwargs": {}}),
        (f"{bucket.url}/lib.zarr", bucket.storage_options),
        ("s3://no-such-bucket/lib.zarr", bucket.storage_options),
        ("memory://no-such-library", {}),
    ]:
        check = "check the URL and the credentials" if "://" in str(url) else "check the path$"
        with pytest.raises(MissingError, match=rf"there is no library here \(zarr.json is missing\); {check}"):
            msl.open(url, options)


@pytest.mark.parametrize("url", ["s3://", "https://", "memory://"])
def test_a_url_without_a_place_is_refused(url):
    with pytest.raises(UsageError, match=f"{url}: names no place; allowed: a path, s3://bucket/path"):
        msl.open(url)


def test_a_disk_that_refuses_is_no_fault_of_the_network(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        NetworkError, match=r"\(os error \d+\); check the path, its permissions and the room on the disk"
    ):
        Objects(str(tmp_path / "file" / "lib.zarr")).put("zarr.json", b"{}")


def test_a_zarr_group_that_is_no_library(tmp_path):
    with pytest.raises(FormatError, match="has no consolidated metadata"):
        msl.open(plain_group(tmp_path / "plain"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(str(tmp_path / "plain"))
    with pytest.raises(FormatError, match=r"this Zarr hierarchy is no 3DMSL library .* name the folder or prefix"):
        msl.open(tmp_path / "plain")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "a Zarr v3 hierarchy was expected"),
        (b"\xff\x00", "a Zarr v3 hierarchy was expected"),
        (b"[]", "is no Zarr v3 group"),
        (b'{"zarr_format": 2}', "is no Zarr v3 group"),
        (b'{"zarr_format": 3, "node_type": "array"}', "is no Zarr v3 group"),
        (
            b'{"zarr_format": 3, "node_type": "group", "attributes": {"msl_schema_version": 1}}',
            "no consolidated metadata",
        ),
    ],
)
def test_a_root_document_that_is_no_library(tmp_path, text, message):
    (tmp_path / "zarr.json").write_bytes(text)
    with pytest.raises(FormatError, match=message):
        msl.open(tmp_path)


def changed_root(folder, change):
    root = json.loads((folder / "zarr.json").read_text())
    change(root)
    (folder / "zarr.json").write_text(json.dumps(root))
    return folder


def test_a_library_of_a_newer_schema_says_so(spoiled):
    changed_root(spoiled, lambda root: root["attributes"].update(msl_schema_version=schema.SCHEMA_VERSION + 1))
    with pytest.raises(
        FormatError, match="written with schema version 2, this program reads up to 1; upgrade with: pip"
    ):
        msl.open(spoiled)


def test_a_library_without_ids_says_so(spoiled):
    changed_root(spoiled, lambda root: root["consolidated_metadata"]["metadata"].pop("instances/id"))
    with pytest.raises(FormatError, match="the array instances/id is missing"):
        msl.open(spoiled)


def test_a_library_with_other_dims_says_so(spoiled):
    def change(root):
        root["consolidated_metadata"]["metadata"]["mesh/faces"]["dimension_names"] = ["corner", "face"]

    changed_root(spoiled, change)
    with pytest.raises(
        FormatError, match=r"mesh/faces has dims \('corner', 'face'\), schema version 1 has \('face', 'corner'\)"
    ):
        msl.open(spoiled)


def test_an_unfinished_library_says_so(tmp_path, web, bucket, upload):
    folder = tmp_path / "lib.zarr"
    layout = Layout(3, library_sizes(), (3, 3, 3), (1, 1, 1))
    with pytest.raises(KeyboardInterrupt), Publication(Objects(str(folder)), layout, {}, "digest").claimed():
        raise KeyboardInterrupt
    for url, options in [(folder, {}), (f"{web(tmp_path).url}/lib.zarr", {}), (upload(folder), bucket.storage_options)]:
        with pytest.raises(MissingError, match="this library is not finished: its writing is under way or was stopped"):
            msl.open(url, options)


def test_a_server_that_is_not_there_is_a_network_error(bucket):
    nowhere = f"http://127.0.0.1:{free_port()}"
    for url, options in [
        (f"{nowhere}/lib.zarr", {}),
        (f"{nowhere}/lib.zarr", {"client_kwargs": {}}),
        (f"{bucket.url}/lib.zarr", bucket.through(nowhere).storage_options),
        (
            f"{bucket.url}/lib.zarr",
            {**bucket.through(nowhere).storage_options, "config_kwargs": {"retries": {"max_attempts": 0}}},
        ),
    ]:
        with pytest.raises(NetworkError, match=r"lib.zarr/zarr.json: .* check the address, the credentials") as failed:
            msl.open(url, options)
        assert "retry_timeout" not in str(failed.value)
    with pytest.raises(
        NetworkError, match=r"error sending request \(\d+ retries\): Connection refused; check the addr"
    ):
        msl.open(f"{nowhere}/lib.zarr")


def test_a_library_that_changed_under_its_pickle_is_refused(spoiled):
    data = pickle.dumps(msl.open(spoiled))
    changed_root(spoiled, lambda root: root["attributes"].update(digest="another"))
    with pytest.raises(IntegrityError, match=r"the library has changed since it was opened \(digest another, was "):
        pickle.loads(data)
