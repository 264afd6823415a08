"""The small library that the tests of the store read, near and far, copies that they may spoil, and caches."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import msl_store as msl

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.proxy import DelayProxy
    from servers.s3 import Bucket
    from servers.web import WebServer

sys.path.insert(0, str(Path(__file__).parent))  # `cached_library` is imported by its name


@pytest.fixture(scope="session")
def small() -> Path:
    """The folder of the library of seventy made-up instances; read it only."""
    from small_library import built

    return built()


@pytest.fixture
def spoiled(small: Path, tmp_path: Path) -> Path:
    """A copy of the small library for this test alone."""
    return shutil.copytree(small, tmp_path / "spoiled.zarr")


@pytest.fixture
def upload(bucket: Bucket) -> Callable[[Path], str]:
    """``upload(folder)`` copies a folder into the bucket and returns its URL there."""
    return bucket.upload


@pytest.fixture
def distant(
    small: Path, web: Callable[[Path], WebServer], delay_proxy: Callable[..., DelayProxy]
) -> tuple[str, DelayProxy]:
    """The library on a server that cannot list, and the proxy that counts."""
    proxy = delay_proxy(web(small.parent).url, delay_s=0)
    return f"{proxy.url}/{small.name}", proxy


@pytest.fixture
def cache(tmp_path: Path) -> msl.Cache:
    """A cache that is large enough."""
    return msl.Cache(tmp_path / "cache", "200 MB")
