"""What cannot be a subset is refused; damage is named, and what was stopped at any moment goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import tiny_edition
from mortal import Death, Mortal, bury, changes_of
from small_library import built
from subsets import assert_reads_alike, taken_to
from tiny_edition import stored

import msl_store as msl
from msl_store.errors import FormatError, IntegrityError, MissingError, MSLError, UsageError
from msl_store.extract import extract
from msl_store.store import Objects, locate
from msl_store.subsetting import write_extract


@pytest.fixture
def damaged(tmp_path):
    """A copy of the small library with a chunk of its first block damaged: the path, and the byte to set right."""
    place = shutil.copytree(built(), tmp_path / "damaged.zarr")
    path = place / "images/counts/c/0/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    return place, path


def test_a_damaged_chunk_is_named_and_the_other_blocks_are_done(damaged, tmp_path):
    place, path = damaged
    target = tmp_path / "subset.zarr"
    with pytest.raises(IntegrityError, match=r"images/counts/c/0/0/0/0/0 chunk \d+: .*CRC-32C.*1 of 2 blocks failed"):
        msl.subset(msl.open(place), target)
    with pytest.raises(MissingError, match="not finished"):
        msl.open(target)
    assert [p.name for p in (target / "_unpublished/blocks").iterdir()] == ["000001.json"]
    shutil.copy(built() / path.relative_to(place), path)
    assert msl.subset(msl.open(place), target).state == "resumed"
    assert_reads_alike(msl.open(target), msl.open(built()))


@pytest.mark.parametrize("kind", ["missing", "short", "index", "chunk"])
def test_damage_of_any_kind_is_an_error(kind, damaged, tmp_path):
    place, path = damaged
    data = bytearray((built() / path.relative_to(place)).read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "chunk":
        pass
    else:
        data[50] ^= 4
        path.write_bytes(data if kind == "index" else data[:1000])
    with pytest.raises(IntegrityError, match="images/counts/c/0/0/0/0/0"):
        msl.subset(msl.open(place), tmp_path / "subset.zarr")


def test_chunks_that_hold_more_than_is_taken_are_refused(library, tmp_path):
    taken = extract(library.select(first=3))
    spec = replace(taken.arrays["images/counts"], chunk=(1, 1, 2, 128, 128))
    other = replace(taken, arrays={**taken.arrays, "images/counts": spec})
    with pytest.raises(
        FormatError, match=r"images/counts/c/0/0/0/0/0 chunk \d+: holds more than .* ingest this library"
    ):
        write_extract(
            other, locate(tmp_path / "new.zarr"), "", {}, scheduler="synchronous", overwrite=False, progress=print
        )


def test_a_source_that_changes_while_it_is_copied_is_refused(library, tmp_path):
    place = shutil.copytree(built(), tmp_path / "changing.zarr")
    opened = msl.open(place)
    tiny_edition.write(Objects(str(place)), source="b", overwrite=True)
    with pytest.raises(MSLError):
        msl.subset(opened, tmp_path / "subset.zarr", scheduler="processes", first=3)
    with pytest.raises(MissingError):
        msl.open(tmp_path / "subset.zarr")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"first": 0}, "none of its 68 instances is left by first 0; allow one or more"),
        ({"where": "genus > 99", "split": "val"}, "none of its 68 instances is left by where genus > 99, split val;"),
        ({"arrays": ["sdf"]}, r"arrays: 'sdf' unknown; allowed: images, mesh, occupancy, point_cloud, point_cloud/poi"),
        ({"arrays": ["mesh:conf1"]}, "arrays: 'mesh:conf1' unknown"),
        ({"arrays": ["point_cloud/normals"]}, "arrays: 'point_cloud/normals' unknown"),
        ({"arrays": ["mesh"], "views": ["0"]}, r"views: no images are taken; allowed: 0, x90, .*, with images among"),
        ({"microscopes": ["conf9"]}, "microscopes: conf9 unknown; allowed: conf1, conf2, epi1"),
        ({"views": []}, "views: "),
        ({"views": "x90"}, r"views='x90': allowed is a list of names, as in \['x90'\]"),
        ({"arrays": "mesh"}, r"arrays='mesh': allowed is a list of names"),
        ({"arrays": ["images:conf1"], "microscopes": ["conf2"]}, r"named in arrays too \(images:...\)"),
    ],
)
def test_a_wrong_choice_says_what_is_allowed(library, tmp_path, choice, message):
    with pytest.raises(UsageError, match=message):
        msl.subset(library, tmp_path / "subset.zarr", **choice)
    assert not (tmp_path / "subset.zarr").exists()


def test_a_library_is_not_written_over_itself(tmp_path, web, bucket):
    place = shutil.copytree(built(), tmp_path / "a" / "lib.zarr")
    for url in (place, place / "mesh", tmp_path / "a", f"file://{place}"):
        with pytest.raises(UsageError, match="is, holds or lies in the library"):
            msl.subset(msl.open(place), url, first=1, overwrite=True)
    remote = Objects(f"{bucket.url}/lib.zarr", bucket.storage_options)
    tiny_edition.write(remote, instances=3)
    with pytest.raises(UsageError, match="is, holds or lies in the library"):
        msl.subset(msl.open(remote.url, bucket.storage_options), remote.url, bucket.storage_options, overwrite=True)
    with pytest.raises(UsageError, match="a web server takes no writes; allowed is a folder or a bucket"):
        msl.subset(msl.open(place), f"{web(tmp_path).url}/new.zarr", first=1)
    with pytest.raises(UsageError, match="a zipped library is read-only; allowed is a folder or a bucket"):
        msl.subset(msl.open(place), tmp_path / "new.zip", first=1)


def test_another_selection_is_refused_and_overwrites_when_told(library, folder):
    target = folder / "replaced.zarr"
    taken_to(target, library, first=5)
    with pytest.raises(UsageError, match="the source or the selection has changed"):
        msl.subset(library, target, first=6)
    assert msl.subset(library, target, first=6, overwrite=True).state == "new"
    assert_reads_alike(msl.open(target), library.select(first=6))


def test_death_at_any_write_is_resumed_to_the_same_subset(tmp_path):
    source = Objects(str(tmp_path / "source.zarr"))
    tiny_edition.write(source)
    taken = extract(msl.open(source.url).select(first=66), views=["x90"])

    def work(target):
        write_extract(taken, target, source.url, {}, scheduler="synchronous", overwrite=False, progress=lambda _: None)

    reference = Objects(str(tmp_path / "reference.zarr"))
    count = changes_of(work, reference.url)
    assert count > 25
    opened = []
    for changes in range(count):
        target = Objects(str(tmp_path / f"{changes}.zarr"))
        with pytest.raises(Death):
            work(Mortal(target.url, changes=changes))
        try:
            opened.append(len(msl.open(target.url)) == 66)
        except MissingError:
            opened.append(False)
        bury(target)
        work(target)
        assert stored(target) == stored(reference), f"died after {changes} changes"
    assert opened == sorted(opened)
    assert 0 < sum(opened) < count
