"""A small library of procedural shapes, and scenes of spheres and boxes made by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from shapes_source import ShapesSource

import msl_store as msl
from ingest.repack import ingest
from msl_store.store import locate

sys.path.insert(0, str(Path(__file__).parents[1] / "geometry"))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> msl.Library:
    folder = tmp_path_factory.mktemp("scenes") / "library.zarr"
    source = ShapesSource(12, kinds=("dot", "donut", "rod"))
    ingest(source, locate(folder), attributes={"title": "shapes", "license": "CC0-1.0"})
    return msl.open(folder)
