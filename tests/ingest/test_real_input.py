"""The real instance 1 beside damaged neighbours: ingested to a folder and to S3, read back over plain HTTP."""

from __future__ import annotations

import pytest
from benchmarks.real_input import equals_published, play, unexplained
from damaged_zips import whole_instance, write_damaged
from typer.testing import CliRunner

import msl_store
from ingest.cli import app


def tool(arguments):
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout


@pytest.fixture
def zips(tmp_path, instance_1):
    files = whole_instance(instance_1)
    return tmp_path / "zips", files, write_damaged(tmp_path / "zips", files)


def test_damage_is_named_and_everything_else_arrives_bit_for_bit(zips, tmp_path, bucket, web):
    folder, files, damages = zips
    (tmp_path / "served").mkdir()
    outcome = play(folder, tmp_path / "served", bucket, web, tool)
    assert [name for name, holds in outcome.checks.items() if not holds] == []
    assert unexplained(outcome.found, damages) == ([], [])
    library = msl_store.open(f"{web(tmp_path / 'served').url}/library.zarr")
    assert equals_published(library, 30, files)
    neighbour = library.instance(17)  # one image of another shape
    assert neighbour.present.sum() == 17
    assert not neighbour.present[1, 1]
    assert not neighbour.images[1, 1].any()
    assert neighbour.images[1, 0].tobytes() == library.instance(30).images[1, 0].tobytes()
    assert library.instance(10).mesh is None
    with pytest.raises(msl_store.MissingError, match=r"instance 10 has no mesh .*10/raw_mesh\.off.*cut short"):
        library.mesh(10)
