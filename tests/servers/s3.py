"""An S3 server: moto in a process of its own."""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import obstore
from obstore.store import S3Store
from servers.process import ServerProcess, start_on_free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

KEY, SECRET, REGION = "test", "test", "us-east-1"

# moto spools objects above 5 MB to a file and copies them whole for every range: memory halves the time of a PUT.
SETTINGS = {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 40)}


@dataclass(frozen=True)
class Bucket:
    """One bucket and how to reach it.

    Attributes
    ----------
    name : str
        The bucket's name.
    endpoint : str
        The server's URL, or that of a proxy before it.
    """

    name: str
    endpoint: str

    @property
    def url(self) -> str:
        """``s3://name``."""
        return f"s3://{self.name}"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What ``s3fs.S3FileSystem`` takes as keyword arguments."""
        return storage_options(self.endpoint)

    def through(self, endpoint: str) -> Bucket:
        """Return the same bucket reached at another URL, as that of a `DelayProxy`."""
        return replace(self, endpoint=endpoint)

    def upload(self, folder: Path) -> str:
        """Copy a folder into the bucket, under its own name, and return its URL there."""
        store = self.store()
        for path in folder.rglob("*"):
            if path.is_file():
                name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                obstore.put(store, name, path.read_bytes(), use_multipart=False)
        return f"{self.url}/{folder.name}"

    def store(self) -> S3Store:
        """Return the bucket as obstore sees it, path-style and without TLS."""
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region=REGION,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )


class S3Server:
    """``moto_server`` on a free loopback port, from entering to leaving the context.

    It knows ranges (206), conditional writes (412), listing and multipart uploads, keeps everything in memory and
    checks no signature. Python's lock makes it answer some 250 requests a second, however many come at once, so
    it is for behaviour and for counting requests; time reads with `WebServer`.

    Raises
    ------
    ServerError
        moto did not start.
    """

    def __init__(self) -> None:
        self.endpoint = ""

    def __enter__(self) -> Self:
        self.process, port = start_on_free_port(
            lambda port: ServerProcess(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], env=SETTINGS
            )
        )
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()

    @property
    def storage_options(self) -> dict[str, Any]:
        """What ``s3fs.S3FileSystem`` takes as keyword arguments."""
        return storage_options(self.endpoint)

    def create_bucket(self, name: str) -> Bucket:
        """Create an empty bucket."""
        self._call("PUT", name)
        return Bucket(name, self.endpoint)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with all it holds, and free the memory."""
        store = Bucket(name, self.endpoint).store()
        for batch in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in batch])
        self._call("DELETE", name)

    def _call(self, method: str, name: str) -> None:
        request = urllib.request.Request(f"{self.endpoint}/{name}", method=method)
        with urllib.request.urlopen(request, timeout=30):
            pass


def storage_options(endpoint: str) -> dict[str, Any]:
    """Return the s3fs options that reach the server, or a proxy before it, at a URL."""
    return {
        "key": KEY,
        "secret": SECRET,
        "client_kwargs": {"endpoint_url": endpoint, "region_name": REGION},
    }
