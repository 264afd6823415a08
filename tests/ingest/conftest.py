"""Instances in the published layout, made up once a test run, and zips of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `published_zip` is imported by its name


@pytest.fixture(scope="session")
def made_up() -> dict[int, dict[str, bytes]]:
    """The files of instances 2, 3 and 20, by their paths below the instance's folder."""
    from published_zip import instance_files

    return {number: instance_files(number) for number in (2, 3, 20)}
