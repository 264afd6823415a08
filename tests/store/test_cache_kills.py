"""Two processes share a cache, and one of them is killed again and again."""

from __future__ import annotations

import pytest
from benchmarks.cache_shared import SAMPLES_A_KILL, torment
from benchmarks.image_library import write_image_library


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_kills_break_neither_the_limit_nor_a_read(tmp_path, web):
    folder = tmp_path / "images.zarr"
    write_image_library(folder, 128)
    url = f"{web(tmp_path).url}/images.zarr"
    trial = torment(url, folder, tmp_path / "cache", 4_000_000, kills=8, seed=0)
    assert trial.ended == []
    assert trial.wrong == 0
    assert trial.images > 500
    assert trial.samples == 8 * SAMPLES_A_KILL
    assert 3_000_000 < trial.most <= 4_000_000
