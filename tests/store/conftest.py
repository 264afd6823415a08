"""The small library that the tests of the store read, and copies of it that they may spoil."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import obstore
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

    def copy(folder: Path) -> str:
        store = bucket.store()
        for path in folder.rglob("*"):
            if path.is_file():
                name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                obstore.put(store, name, path.read_bytes(), use_multipart=False)
        return f"{bucket.url}/{folder.name}"

    return copy
