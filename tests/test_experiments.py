"""Experiments over a library: several microscopes, films, labellings and measured PSFs, and their editions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from beads import bead
from shapes_source import ShapesSource, mesh_of
from small_library import HeldSource

import msl_store as msl
from ingest.record import Record
from ingest.repack import ingest
from msl_store import layout
from msl_store.edition import write_edition
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.labelling import Labelling
from msl_store.optics.microscope import PRESETS, get_microscope
from msl_store.shapes import Mesh
from msl_store.store import Objects, locate

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client

COUNT = 67
SMALL = tuple(replace(microscope, size_px=(40, 40)) for microscope in PRESETS.values())
CAMERA = replace(INSTRUMENTS["widefield-100x-oil"], size_px=(40, 40))
FADING = Labelling(bleach_frames=2.0, on_frames=3.0, off_frames=1.0, brightness_spread=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments") / "library.zarr"
    ingest(ShapesSource(COUNT), locate(folder), attributes={"title": "shapes", "license": "CC0-1.0"})
    return folder


@pytest.fixture
def library(folder: Path) -> msl.Library:
    return msl.open(folder)


def objects_of(objects: Objects) -> dict[str, bytes]:
    return {path: objects.get(path) for path, _ in objects.list()}


@pytest.mark.parametrize("mode", ["published", "corrected"])
def test_the_published_three_together_are_those_alone_bit_for_bit(library: msl.Library, mode: Any) -> None:
    small = library.select(first=3)
    together = msl.simulate(small, list(PRESETS), mode=mode, seed=5)
    assert together.dims == ("instance", "microscope", "view", "y", "x")
    assert together.shape == (3, 3, 6, 128, 128)
    assert together.microscope.values.tolist() == list(PRESETS)
    assert together.pixel_um.values.tolist() == [m.pixel_um for m in PRESETS.values()]
    values = together.values
    for number, name in enumerate(PRESETS):
        np.testing.assert_array_equal(values[:, number], msl.simulate(small, name, mode=mode, seed=5).values)


def test_bits_do_not_depend_on_order_selection_chunks_or_scheduler(library: msl.Library, client: Client) -> None:
    options: dict[str, Any] = {"views": ["0", "y90"], "frames": 2, "labelling": FADING, "seed": 4}
    chosen = library.select(first=9)
    images = msl.simulate(chosen, SMALL[1:], **options)
    reference = images.compute(scheduler="synchronous").values
    np.testing.assert_array_equal(images.compute(scheduler="threads").values, reference)
    np.testing.assert_array_equal(images.compute().values, reference)
    order = [7, 2, 5]
    turned = msl.simulate(chosen.select(ids=chosen.ids[order]), SMALL[:0:-1], **{**options, "views": ["y90"]})
    np.testing.assert_array_equal(turned.values, reference[order][:, ::-1, 1:])


def test_tasks_are_a_few_a_block_and_films_are_halved_until_they_fit(library: msl.Library) -> None:
    images = msl.simulate(library, list(PRESETS))
    assert images.chunks[0] == (64, len(library) - 64)
    assert len(images.__dask_graph__()) <= 8
    film = msl.simulate(library, list(PRESETS), z=np.linspace(-1, 1, 20), frames=10)
    assert set(film.chunks[0][:-1]) == {2}
    assert max(np.prod([chunk[0] for chunk in film.chunks]) * 2, 1) <= layout.PART_BYTES
    assert sum(film.chunks[0]) == len(library)


def test_a_film_has_a_time_axis_and_begins_alike_however_long(library: msl.Library) -> None:
    small = library.select(first=2)
    film = msl.simulate(small, CAMERA, views=["0"], z=[0.0, 0.3], frames=4, interval_s=0.5, labelling=FADING)
    assert film.dims == ("instance", "view", "frame", "z", "y", "x")
    assert film.time_s.values.tolist() == [0, 0.5, 1.0, 1.5]
    short = msl.simulate(small, CAMERA, views=["0"], z=[0.0, 0.3], frames=2, labelling=FADING)
    np.testing.assert_array_equal(film.values[:, :, :2], short.values)


@pytest.mark.parametrize("microscope", [SMALL[0], CAMERA], ids=["published noise", "camera"])
def test_bleaching_shows_in_the_counts(library: msl.Library, microscope: msl.Microscope) -> None:
    options: dict[str, Any] = {"views": ["0"], "frames": 3, "labelling": Labelling(bleach_frames=1.5)}
    images = msl.simulate(library.select(first=1), microscope, **options).values[0, 0].astype(float)
    photons = msl.simulate(library.select(first=1), microscope, noise=False, **options).values[0, 0]
    first = np.stack([np.ones(photons[0].size), photons[0].ravel()], axis=1)
    slopes, shares = (
        np.array([np.linalg.lstsq(first, frame.ravel(), rcond=None)[0][1] for frame in film])
        for film in (images, photons)
    )
    assert shares[2] < 0.4
    np.testing.assert_allclose(slopes / slopes[0], shares, atol=0.06)


def test_a_measured_psf_takes_the_place_of_a_microscopes_own(library: msl.Library) -> None:
    small, psf = library.select(first=1), bead("epi1")
    options: dict[str, Any] = {"views": ["0"], "noise": False}
    own, measured = (msl.simulate(small, "epi1", psf=one, **options).values for one in (None, psf))
    assert 0.002 < np.abs(own - measured).max() / own.max() < 0.2  # a bead seen through itself, with coarse voxels
    both = msl.simulate(small, ["conf1", "epi1"], psf={"epi1": psf}, **options)
    np.testing.assert_array_equal(both.values[:, 1], measured)
    np.testing.assert_array_equal(both.values[:, 0], msl.simulate(small, "conf1", **options).values)


def test_all_that_changes_images_is_part_of_provenance_and_name(library: msl.Library) -> None:
    plain: dict[str, Any] = {"microscope": "epi1"}
    variants: list[dict[str, Any]] = [
        plain,
        {**plain, "labelling": "matrix"},
        {**plain, "labelling": FADING},
        {**plain, "frames": 2},
        {**plain, "frames": 3},
        {**plain, "frames": 2, "interval_s": 2.0},
        {**plain, "psf": bead("epi1")},
        {**plain, "psf": bead("conf2")},
        {**plain, "seed": 1},
        {"microscope": ["epi1", "conf1"]},
        {"microscope": ["conf1", "epi1"]},
        {"microscope": replace(PRESETS["epi1"], camera=CAMERA.camera)},
    ]
    images = [msl.simulate(library, **variant) for variant in variants]
    assert len({image.data.name for image in images}) == len(variants)
    provenances = [image.attrs["provenance"] for image in images]
    assert not [a for a in range(len(images)) for b in range(a) if provenances[a] == provenances[b]]
    same = msl.simulate(library, get_microscope("epi1"), labelling=Labelling(), psf={}, interval_s=9.0)
    assert same.data.name == images[0].data.name


def test_shapes_are_filled_where_they_are_closed(tmp_path: Path) -> None:
    whole = mesh_of("dot", 10)
    source = HeldSource((Record(1, mesh=whole), Record(2, mesh=Mesh(whole.vertices, whole.faces[1:]))))
    ingest(source, locate(tmp_path / "library.zarr"))
    library = msl.open(tmp_path / "library.zarr")
    filled = msl.simulate(library, SMALL[1], views=["0"], labelling="matrix", noise=False)
    assert filled.present.values[:, 0].tolist() == [True, False]
    values = filled.values[:, 0]
    assert values[0].max() > 0
    assert np.isnan(values[1]).all()
    coated = msl.simulate(library, SMALL[1], views=["0"], noise=False)
    assert coated.present.values.all()
    assert coated.values[1].max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"microscope": []}, "one or more, of different names"),
        ({"microscope": ["conf1", "conf1"]}, "conf1, conf1: .*different names"),
        ({"microscope": ["conf1", CAMERA]}, "conf1 128 x 128, widefield-100x-oil 40 x 40: .*same size_px"),
        ({"frames": 0}, "frames 0"),
        ({"interval_s": 0.0}, r"interval_s 0\.0"),
        ({"labelling": "cristae"}, "'cristae' is unknown; allowed are a Labelling and outer-membrane, matrix, both"),
        ({"psf": {"epi1": "psf.tif"}}, "measured_psf returns"),
        ({"psf": {"conf9": None}}, "conf9 is none of the microscopes; those are epi1"),
    ],
)
def test_bad_arguments_say_what_is_allowed(library: msl.Library, arguments: dict, message: str) -> None:
    with pytest.raises(msl.UsageError, match=message):
        msl.simulate(library, **{"microscope": "epi1", **arguments})
    with pytest.raises(msl.UsageError, match="one for 2 microscopes; allowed is a mapping"):
        msl.simulate(library, ["epi1", "conf1"], psf=bead("epi1"))


def test_an_edition_has_microscopes_frames_and_planes(library: msl.Library, tmp_path: Path) -> None:
    small = library.select(first=3)
    images = msl.simulate(small, SMALL, views=["0", "z90"], z=[0.0, 0.4], frames=3, interval_s=2.0, labelling=FADING)
    values = images.values
    msl.write(images, tmp_path / "edition.zarr")
    joined = library.with_edition(tmp_path / "edition.zarr")
    found = joined.images
    assert found.dims == ("instance", "microscope", "view", "frame", "z", "y", "x")
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.sel(microscope="conf2", view="z90").isel(frame=1).values, values[:, 1, 1, 1])
    assert found.frame.values.tolist() == [0, 1, 2]
    assert found.time_s.values.tolist() == [0, 2, 4]
    assert found.present.values.all()
    edition = msl.open(tmp_path / "edition.zarr")
    assert [m["name"] for m in edition.microscopes] == list(PRESETS)
    assert edition.attributes["provenance"]["labelling"] == FADING.to_dict()
    np.testing.assert_array_equal(edition.rotations, images.attrs["provenance"]["rotations"])
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "edition.zarr", mode="r")["images/counts"][:], values)


def test_a_selection_is_an_edition_of_its_own(library: msl.Library, tmp_path: Path) -> None:
    small = library.select(first=3)
    images = msl.simulate(small, list(PRESETS), mode="published")
    chosen = images.sel(microscope=["epi1", "conf1"], view=["z90", "x90"])
    msl.write(chosen, tmp_path / "chosen.zarr")
    edition = msl.open(tmp_path / "chosen.zarr")
    np.testing.assert_array_equal(edition.images.values, chosen.values)
    rotations = np.array(images.attrs["provenance"]["rotations"])
    np.testing.assert_array_equal(edition.rotations, rotations[[2, 0]][:, [5, 1]])
    msl.write(images.sel(microscope="conf2"), tmp_path / "one.zarr")
    alone = msl.simulate(small, "conf2", mode="published")
    np.testing.assert_array_equal(msl.open(tmp_path / "one.zarr").images.values[:, 0], alone.values)


def test_blocks_are_written_in_parts_and_resumed(
    library: msl.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"views": ["0"], "frames": 2, "labelling": FADING, "seed": 2}
    whole = msl.simulate(library, SMALL[1:], **options).values
    monkeypatch.setattr(layout, "PART_BYTES", 300_000)
    images = msl.simulate(library, SMALL[1:], **options)
    assert images.chunks[0] == (16, 16, 16, 16, len(library) - 64)
    np.testing.assert_array_equal(images.values, whole)
    msl.write(images, tmp_path / "parts.zarr")
    np.testing.assert_array_equal(msl.open(tmp_path / "parts.zarr").images.values, whole)
    assert len(list((tmp_path / "parts.zarr/images/counts/c").iterdir())) == 5

    class StopError(RuntimeError):
        pass

    def stop_after_one(done: int, _all: int) -> None:
        if done == 1:
            raise StopError

    with pytest.raises(StopError):
        write_edition(images, tmp_path / "stopped.zarr", scheduler="synchronous", progress=stop_after_one)
    assert msl.write(images, tmp_path / "stopped.zarr").state == "resumed"
    assert objects_of(locate(tmp_path / "stopped.zarr")) == objects_of(locate(tmp_path / "parts.zarr"))
    with pytest.raises(msl.UsageError, match="--overwrite"):
        msl.write(msl.simulate(library, SMALL[1:], **{**options, "frames": 3}), tmp_path / "parts.zarr")
