"""A volume made up for the tests of this folder; others are imported by their module's name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up volume on the disk, with seven objects, cut into blocks of 64."""
    from em_made import SHAPE

    from ingest.em.synthetic import write_sample_volume
    from msl_store.store import locate

    folder = tmp_path_factory.mktemp("volume") / "sample.zarr"
    write_sample_volume(locate(folder), SHAPE, seed=1, scheduler="synchronous")
    return folder
