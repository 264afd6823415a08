"""An EM ingest that is killed on a cluster and resumed makes the library that an undisturbed one makes."""

from __future__ import annotations

import pytest
from benchmarks.em_cluster import run

pytest.importorskip("cc3d")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_leave_no_trace():
    options = ["--block", "64", "--dust", "20", "--no-images", "--no-sdf"]
    found = run(320, options, kills={"labels": 3, "meshes": 5, "blocks": 1})
    assert found["instances"] > 64
    assert [row["opens"] for row in found["kills"]] == [False] * 3
    assert [row["ended before"] for row in found["kills"]] == [False] * 3
    assert found["differing objects"] == found["left over"] == 0
