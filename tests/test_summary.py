"""What a library says of itself, in one request, and the commands that say it and copy it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_edition
from small_library import WHOLE, built
from typer.testing import CliRunner

import msl_store as msl
from msl_store import schema
from msl_store.cli import app
from msl_store.store import Objects, locate
from msl_store.summary import summary


@pytest.fixture(scope="module")
def library():
    """The small library, open."""
    return msl.open(built())


def without(place, *attributes):
    """Take attributes from a library's root, as one that was written before they were."""
    root = json.loads((place / "zarr.json").read_text())
    for name in attributes:
        root["attributes"].pop(name)
    (place / "zarr.json").write_text(json.dumps(root))
    return place


def test_a_summary_counts_what_the_table_says(library, tmp_path):
    frame = library.with_set_aside().table.to_dataframe()
    found = summary(library)
    assert found["instances"] == len(library) == 68
    for name in ("has_mesh", "has_point_cloud", "has_normals", "has_occupancy", "has_images", "watertight"):
        assert found["counts"][name] == int(frame[name].sum())
    for status in schema.STATUS:
        assert found["counts"][status] == int((frame.status == status).sum())
    assert found["counts"]["findings"] == len(library.findings)
    old = msl.open(without(shutil.copytree(built(), tmp_path / "old.zarr"), "counts", "column_digests"))
    assert summary(old)["counts"] == found["counts"]
    assert (found["microscopes"], found["views"]) == (list(schema.MICROSCOPES), list(schema.VIEWS))
    assert found["arrays"]["images/counts"] == [70, 3, 6, 128, 128]
    assert found["provenance"]["edition"] == "published"
    assert found["splits"] == library.table.to_dataframe().split.value_counts().to_dict()


def test_a_summary_takes_no_more_than_opening_and_the_splits(web, delay_proxy):
    proxy = delay_proxy(web(built().parent).url, delay_s=0)
    summary(msl.open(f"{proxy.url}/{built().name}"))
    asked = [r.path for r in proxy.requests()]
    assert asked == [f"/{built().name}/zarr.json", f"/{built().name}/instances/split/c/0"]


def test_stored_sizes_by_listing_and_by_indexes_agree(library, web):
    listed = summary(library, sizes=True)["stored"]
    assert listed["how"] == "listed"
    assert listed["bytes"] == sum(size for _, size in locate(built()).list())
    indexed = summary(msl.open(f"{web(built().parent).url}/{built().name}"), sizes=True)["stored"]
    assert indexed["how"] == "from the shards' indexes; columns apart"
    for path, size in indexed["by_array"].items():
        array = library.store.array(path)
        objects = [size for name, size in locate(built()).list(f"{path}/c")]
        assert sum(objects) == size + len(objects) * array.shard_index_bytes
    assert indexed["bytes"] == sum(indexed["by_array"].values()) > 0.8 * listed["bytes"]


# --- the commands


def ran(*arguments):
    """Run ``msl`` and return what it printed; an error of ours goes through."""
    done = CliRunner().invoke(app, ["-q", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_info_says_where_a_subset_comes_from(tmp_path, library):
    assert ran("subset", built(), tmp_path / "few.zarr", "--first", 5, "--arrays", "mesh").exit_code == 0
    text = ran("info", tmp_path / "few.zarr", "--sizes").stdout
    assert "4 instances at" in text  # one of the five has no mesh
    assert "mesh 4" in text
    assert f"subset of {built()} (70 instances; digest {library.digest[:12]}), first 5, without images, occ" in text
    assert "parts: mesh 4, point_cloud 0, occupancy 0, images 0, normals 0" in text
    assert "stored (listed)" in text
    found = json.loads(ran("info", tmp_path / "few.zarr", "--json").stdout)
    assert found["provenance"]["derived_from"][0]["selection"] == {"first": 5}
    assert "stored" not in found


def test_info_says_how_an_edition_was_made(tmp_path):
    made = {"source": "s3://lib", "microscopes": [{"name": "conf9"}], "mode": "corrected", "seed": 3}
    tiny_edition.write(Objects(str(tmp_path / "edition.zarr")), provenance=made, source_digest="f")
    text = ran("info", tmp_path / "edition.zarr").stdout
    assert "edition: simulated from s3://lib with conf9, mode corrected, seed 3" in text
    sizes = {name: len(part) for name, part in msl.open(tmp_path / "edition.zarr").splits().items()}
    assert f"splits: {', '.join(f'{name} {size}' for name, size in sizes.items())}" in text


def test_subset_and_verify_as_commands(tmp_path, library):
    target = tmp_path / "few.zarr"
    arguments = ["subset", built(), target, "--ids", f"{WHOLE},10", "--microscope", "conf1", "--view", "0,x90"]
    done = json.loads(ran(*arguments, "--json").stdout)
    assert (done["state"], done["instances"], done["digest"]) == ("new", 2, msl.open(target).digest)
    images = library.images.sel(instance=[WHOLE, 10], microscope=["conf1"], view=["0", "x90"])
    np.testing.assert_array_equal(msl.open(target).images.values, images.values)
    assert "nothing to do, this subset is complete (2 instances)" in ran(*arguments).stdout
    checked = ran("verify", target)
    assert (checked.exit_code, checked.stdout.count("\n")) == (0, 1)
    assert "2 instances, " in checked.stdout
    path = target / "images/counts/c/0/0/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    spoiled = ran("verify", target, "--quick")
    assert spoiled.exit_code == 5
    assert "images/counts/c/0/0/0/0/0: has" in spoiled.stdout
    (damage,) = json.loads(ran("verify", target, "--quick", "--json").stdout)["damages"]
    assert damage["place"] == "images/counts/c/0/0/0/0/0"


def test_the_size_is_said_before(tmp_path):
    done = CliRunner().invoke(app, ["subset", str(built()), str(tmp_path / "few.zarr"), "--first", "3"])
    assert "of compressed chunks, 3 of 68 instances" in done.output
    assert done.exit_code == 0


def test_a_split_narrows_the_condition(tmp_path, library):
    assert ran("subset", built(), tmp_path / "train.zarr", "--split", "train", "--where", "has_mesh").exit_code == 0
    expected = library.select(split="train", where="has_mesh").ids
    assert 0 < len(expected) < len(library)
    np.testing.assert_array_equal(msl.open(tmp_path / "train.zarr").ids, expected)
    with pytest.raises(msl.UsageError, match="split='half'"):
        ran("subset", built(), tmp_path / "half.zarr", "--split", "half")
    assert ", where has_mesh, split train" in ran("info", tmp_path / "train.zarr").stdout
