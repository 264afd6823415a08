"""`storage_options` of S3 reach the server as s3fs's users mean them: who signs, where, with which key."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import small_library

import msl_store as msl
from msl_store.errors import NetworkError, UsageError
from msl_store.store import locate
from msl_store.store.filesystems import FsspecBackend
from msl_store.store.object_stores import ObstoreBackend

ROLE = "arn:aws:iam::123456789012:role/reader"


class Witness(ThreadingHTTPServer):
    """An S3 server of one bucket ``lake``, which holds a folder, that remembers every request's headers."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def signers(self):
        """Access keys that signed requests; None is a request that nobody signed."""
        headers = (headers.get("Authorization") for _, headers in self.seen)
        return {header and header.partition("Credential=")[2].partition("/")[0] for header in headers}

    def regions(self):
        """Regions that requests were signed for."""
        headers = (headers.get("Authorization") for _, headers in self.seen)
        return {header.partition("Credential=")[2].split("/")[2] for header in headers if header}

    def tokens(self):
        """Session tokens of all requests."""
        return {headers.get("x-amz-security-token") for _, headers in self.seen}


class Handler(BaseHTTPRequestHandler):
    """Answers ``GET /lake/path``."""

    def do_GET(self):
        """Send the file whole: every reader of this test asks for ``zarr.json`` only."""
        self.server.seen.append((self.path, self.headers))
        path = self.server.folder / self.path.partition("?")[0].removeprefix("/lake/")
        body = path.read_bytes() if path.is_file() else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format, *arguments):  # noqa: A002 - its name in the standard library
        """Be silent."""


@pytest.fixture
def witness(small):
    with Witness(small) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def aws(monkeypatch, tmp_path):
    """An AWS configuration of two profiles and nothing else."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    credentials.write_text("[alice]\naws_access_key_id = ALICE\naws_secret_access_key = s\n")
    config = tmp_path / "config"
    config.write_text("[profile alice]\nregion = eu-north-1\n[profile bob]\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def opened(options):
    library = msl.open("s3://lake", options)
    assert library.ids.tolist() == small_library.shown()
    return type(library.store.objects._backend)


def endpoint(witness):
    return {"client_kwargs": {"endpoint_url": witness.url}}


def test_anonymous_requests_are_not_signed(witness, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert opened({"anon": True, **endpoint(witness)}) is ObstoreBackend
    assert witness.signers() == {None}
    assert {path for path, _ in witness.seen} == {"/lake/zarr.json"}


@pytest.mark.parametrize("anon", [False, None])
def test_not_anonymous_is_the_same_as_not_said(witness, anon):
    assert opened({"anon": anon, "key": "KEY", "secret": "s", **endpoint(witness)}) is ObstoreBackend
    assert witness.signers() == {"KEY"}


def test_a_key_signs_for_the_region_that_is_given(witness):
    options = {"key": "KEY", "secret": "s", "token": "TOKEN", "endpoint_url": witness.url}
    assert opened({**options, "client_kwargs": {"region_name": "eu-west-3"}}) is ObstoreBackend
    assert (witness.signers(), witness.regions(), witness.tokens()) == ({"KEY"}, {"eu-west-3"}, {"TOKEN"})


def test_the_environment_says_key_region_and_endpoint(witness, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", witness.url)
    assert opened({}) is ObstoreBackend
    assert (witness.signers(), witness.regions()) == ({"ENVIRONMENT"}, {"ap-south-1"})


def test_a_profile_brings_its_key_and_region(witness):
    assert opened({"profile": "alice", **endpoint(witness)}) is ObstoreBackend
    assert (witness.signers(), witness.regions()) == ({"ALICE"}, {"eu-north-1"})


def test_an_option_outdoes_the_region_of_a_profile(witness):
    client_kwargs = {"endpoint_url": witness.url, "region_name": "eu-west-3"}
    assert opened({"profile": "alice", "client_kwargs": client_kwargs}) is ObstoreBackend
    assert witness.regions() == {"eu-west-3"}


def test_a_profile_that_is_not_there_is_named_with_those_that_are(witness):
    with pytest.raises(UsageError, match=r"\(carol\) could not be found; allowed: .*alice.*bob"):
        opened({"profile": "carol", **endpoint(witness)})


@pytest.mark.parametrize("who", [{"profile": "alice"}, {"key": "KEY", "secret": "s"}])
def test_a_role_is_assumed_and_its_key_signs(witness, s3, monkeypatch, who):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)
    assert opened({**who, "role_arn": ROLE, **endpoint(witness)}) is ObstoreBackend
    assert not witness.signers() & {"KEY", "ALICE", None}
    assert None not in witness.tokens()


def test_a_role_without_a_region_is_assumed_too(witness, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert opened({"role_arn": ROLE, **endpoint(witness)}) is ObstoreBackend
    assert not witness.signers() & {"ENVIRONMENT", None}


def test_a_role_that_cannot_be_assumed_is_an_error(witness, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", witness.url)
    with pytest.raises(NetworkError, match="check the address, the credentials and the network"):
        opened({"profile": "alice", "role_arn": ROLE, **endpoint(witness)})


@pytest.mark.parametrize(
    "options",
    [
        {"anon": True, "use_ssl": False},
        {"anon": True, "config_kwargs": {"signature_version": "s3v4"}},
        {"key": "KEY", "secret": "s", "default_block_size": 1 << 20},
    ],
)
def test_an_option_that_only_s3fs_knows_still_works(witness, options):
    assert opened({**options, **endpoint(witness)}) is FsspecBackend
    assert witness.signers() == {options.get("key")}


def test_s3fs_takes_profiles_too(witness):
    assert opened({"profile": "alice", "use_ssl": False, **endpoint(witness)}) is FsspecBackend
    assert witness.signers() == {"ALICE"}


def test_a_role_with_an_option_that_only_s3fs_knows(witness, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)
    assert opened({"profile": "alice", "role_arn": ROLE, "use_ssl": False, **endpoint(witness)}) is FsspecBackend
    assert not witness.signers() & {"ALICE", None}


def test_without_any_credentials_the_error_names_the_ways(witness):
    with pytest.raises(
        UsageError, match=r"s3://lake: no AWS credentials were found; .* for a public bucket, anon=True"
    ):
        opened(endpoint(witness))
    assert witness.seen == []


def test_a_url_without_a_bucket_is_refused():
    with pytest.raises(UsageError, match="names no bucket; allowed: s3://bucket/path"):
        locate("s3:///path", {"anon": True}).get("zarr.json")


def test_a_key_without_its_secret_is_an_error_of_ours(witness):
    with pytest.raises(NetworkError, match=r"s3://lake: .*SecretAccessKey; check the address, the credentials"):
        opened({"key": "KEY", **endpoint(witness)})


def test_a_target_without_credentials_is_no_damage_of_a_library(witness):
    with pytest.raises(UsageError, match="no AWS credentials were found"):
        msl.subset(msl.open(small_library.built()), "s3://lake/few.zarr", endpoint(witness), first=1)


def test_a_bucket_that_is_not_there_is_said_so_in_the_servers_words(s3):
    with pytest.raises(
        NetworkError, match="the server answers NoSuchBucket: The specified bucket does not exist; check"
    ):
        locate("s3://none-such/lib.zarr", s3.storage_options).list()
