"""``msl cache`` makes, tells, pins, checks and empties."""

from __future__ import annotations

import json

import pytest
from small_library import WHOLE
from typer.testing import CliRunner

import msl_store as msl
from msl_store.cli import app
from msl_store.errors import MissingError, UsageError


def msl_cache(*arguments):
    result = CliRunner().invoke(app, ["-q", "cache", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def small():
    from small_library import built

    return built()


def test_a_cache_is_made_filled_asked_checked_and_emptied(small, tmp_path):
    folder = tmp_path / "cache"
    with pytest.raises(UsageError, match="there is no cache here yet; give it a limit"):
        msl_cache("info", folder)
    assert "at most 20.0 MB" in msl_cache("limit", folder, "20 MB").stdout
    pin = json.loads(msl_cache("pin", folder, small, "--ids", WHOLE, "--parts", "mesh, images", "--json").stdout)
    assert (pin["instances"], pin["parts"], pin["complete"]) == (1, ["mesh", "images"], True)
    told = msl_cache("info", folder).stdout
    assert f"pin {pin['id']}: 1 instance (mesh, images)" in told
    assert "pieces were found" in told
    assert json.loads(msl_cache("info", folder, "--json").stdout)["pinned_bytes"] == pin["bytes"]
    assert "every piece is as it was written" in msl_cache("verify", folder).stdout
    pack = max(folder.rglob("*.pack"), key=lambda path: path.stat().st_size)
    pack.write_bytes(pack.read_bytes()[:-5] + b"other")
    damaged = msl_cache("verify", folder)
    assert damaged.exit_code == 6
    assert f"{pack}: damaged after" in damaged.stdout
    assert "not complete: pin it again" in msl_cache("info", folder).stdout
    again = msl_cache("pin", folder, small, "--ids", WHOLE, "--limit", "9 MB").stdout
    assert f"1 instance of {small} stay in {folder}" in again
    with pytest.raises(MissingError, match="has no pin ;"):
        msl_cache("unpin", folder, "")
    pins = [pin.id for held in msl.Cache(folder).info().libraries for pin in held.pins]
    assert len(pins) == 2
    differ = next(place for place in range(len(pins[0])) if pins[0][place] != pins[1][place])
    msl_cache("unpin", folder, pin["id"][: differ + 1])
    with pytest.raises(MissingError, match="has no pin"):
        msl_cache("unpin", folder, pin["id"])
    msl_cache("clear", folder)
    assert len(msl.Cache(folder).info().libraries) == 1
    msl_cache("clear", folder, "--pins")
    assert msl.Cache(folder).info().libraries == ()


def test_what_does_not_fit_is_said_in_readable_sizes(small, tmp_path):
    msl_cache("limit", tmp_path / "cache", "1 MB")
    with pytest.raises(
        UsageError, match=r"the pin needs \d+\.\d MB or more, but the cache's limit is 1.0 MB, and 0 bytes"
    ):
        msl_cache("pin", tmp_path / "cache", small)


def test_a_folder_that_cannot_be_is_said_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match=r"file.*: (no folder can be made here|is a file)"):
        msl_cache("limit", tmp_path / "file" / "cache", "1 MB")


def test_a_split_can_be_pinned(small, tmp_path):
    done = msl_cache(
        "pin", tmp_path / "cache", small, "--limit", "90 MB", "--split", "val", "--parts", "mesh", "--json"
    )
    assert json.loads(done.stdout)["instances"] == len(msl.open(small).select(split="val"))
