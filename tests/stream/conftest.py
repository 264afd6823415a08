"""The libraries that streams are tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import streamed

import msl_store as msl

if TYPE_CHECKING:
    from msl_store.library import Library


@pytest.fixture(scope="session")
def many() -> Library:
    """Two hundred small meshes over four blocks, some rows without one; read it only."""
    return msl.open(streamed.many())


@pytest.fixture(scope="session")
def full() -> Library:
    """The small library of seventy instances, most of which lack something; read it only."""
    from small_library import built

    return msl.open(built())
