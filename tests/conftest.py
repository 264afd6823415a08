"""Fixtures: the real servers that tests talk to, and the real data where it is at hand."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client
    from servers.cluster import Cluster
    from servers.proxy import DelayProxy
    from servers.s3 import Bucket, S3Server
    from servers.web import WebServer

sys.path.insert(0, str(Path(__file__).parent))  # `servers` is imported by its name, in tests and benchmarks alike

hypothesis.settings.register_profile("patient", deadline=None)  # how long an example takes says more of the machine
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """End a pytest-xdist worker, and its servers with it, when the process that hands out the tests is killed."""
    from servers.tether import tie

    if hasattr(config, "workerinput"):
        tie(os.getppid())


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One S3 server a test process."""
    from servers.s3 import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[Bucket]:
    """A fresh bucket: its `url` and `storage_options`; `through(proxy.url)` reaches it by another way."""
    name = f"bucket-{uuid.uuid4().hex}"
    yield s3.create_bucket(name)
    s3.delete_bucket(name)


@pytest.fixture
def web() -> Iterator[Callable[[str | os.PathLike[str]], WebServer]]:
    """``web(folder)`` serves a folder by HTTP, without listing, until the test ends."""
    from servers.web import WebServer

    with contextlib.ExitStack() as servers:
        yield lambda folder: servers.enter_context(WebServer(folder))


@pytest.fixture
def delay_proxy() -> Iterator[Callable[..., DelayProxy]]:
    """``delay_proxy(upstream_url, delay_s=0.030)`` stands before a server until the test ends."""
    from servers.proxy import DelayProxy

    with contextlib.ExitStack() as proxies:
        yield lambda upstream_url, *, delay_s=0.030: proxies.enter_context(DelayProxy(upstream_url, delay_s=delay_s))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two dask worker processes; take `client` to compute on them."""
    from servers.cluster import Cluster

    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """A client of `cluster`, which is dask's default scheduler during this test only."""
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="session")
def instance_1() -> Path:
    """The folder of the real published instance 1, where it lies beside the checkout."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "3dmsl" / "1"
    if not folder.is_dir():
        pytest.skip("the published instance 1 is not beside the checkout (../shared/data/3dmsl/1)")
    return folder
