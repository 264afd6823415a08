"""The small library, and a folder for its subsets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import msl_store as msl

sys.path.insert(0, str(Path(__file__).parent))  # `subsets` is imported by its name


@pytest.fixture(scope="module")
def library() -> msl.Library:
    """The small library, open."""
    from small_library import built

    return msl.open(built())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a module's libraries."""
    return tmp_path_factory.mktemp("subsets")
