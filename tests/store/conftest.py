"""The small library that the tests of the store read, and copies of it that they may spoil."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.s3 import Bucket


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
