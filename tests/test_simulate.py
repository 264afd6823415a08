"""Simulation: lazy, a few tasks a block, the same bits however it is computed; editions resume and carry provenance."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from shapes_source import ShapesSource

import msl_store as msl
from ingest.repack import ingest
from msl_store.edition import write_edition
from msl_store.store import Objects, locate

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client
    from servers.cluster import Cluster
    from servers.s3 import Bucket

COUNT = 70


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "library.zarr"
    ingest(ShapesSource(COUNT), locate(folder), attributes={"title": "shapes", "license": "CC0-1.0"})
    return folder


@pytest.fixture
def library(folder: Path) -> msl.Library:
    return msl.open(folder)


@pytest.fixture(scope="module")
def reference(folder: Path) -> np.ndarray:
    images = msl.simulate(msl.open(folder), "conf2", views=["0", "x90"], seed=3)
    return images.compute(scheduler="synchronous").values


def objects_of(objects: Objects) -> dict[str, bytes]:
    return {path: objects.get(path) for path, _ in objects.list()}


def test_is_lazy_with_a_few_tasks_a_block(library: msl.Library) -> None:
    images = msl.simulate(library, "epi1", views=["0"], z=[-0.5, 0.0, 0.5])
    assert images.dims == ("instance", "view", "z", "y", "x")
    assert images.dtype == np.uint16
    assert images.chunks[0] == (64, len(library) - 64)
    assert len(images.__dask_graph__()) <= 4 * len(images.chunks[0])
    assert images.z.attrs["units"] == "um"
    assert images.attrs["provenance"]["source_digest"] == library.digest


def test_the_number_of_tasks_depends_on_blocks_alone(library: msl.Library) -> None:
    few = msl.simulate(library.select(first=2), "epi1")
    many = msl.simulate(library.select(first=64), "epi1")
    assert len(few.__dask_graph__()) == len(many.__dask_graph__())


def test_the_same_bits_on_threads_and_processes(library: msl.Library, reference: np.ndarray) -> None:
    images = msl.simulate(library, "conf2", views=["0", "x90"], seed=3)
    np.testing.assert_array_equal(images.compute(scheduler="threads").values, reference)
    np.testing.assert_array_equal(images.compute(scheduler="processes").values, reference)


def test_the_same_bits_in_any_order_selection_and_chunking(library: msl.Library, reference: np.ndarray) -> None:
    order = np.random.default_rng(0).permutation(len(library))[:12]
    subset = library.select(ids=library.ids[order])
    images = msl.simulate(subset, "conf2", views=["0", "x90"], seed=3)
    np.testing.assert_array_equal(images.values, reference[order])
    one = msl.simulate(subset, "conf2", views=["x90"], seed=3).isel(instance=5).values
    np.testing.assert_array_equal(one[0], reference[order[5], 1])
    np.testing.assert_array_equal(images.chunk(instance=5).values, reference[order])


def test_a_plane_does_not_depend_on_the_others(library: msl.Library) -> None:
    small = library.select(first=3)
    stack = msl.simulate(small, "epi1", views=["y90"], z=[-0.5, 0.0, 0.5], seed=1)
    alone = msl.simulate(small, "epi1", views=["y90"], z=[0.5], seed=1)
    np.testing.assert_array_equal(stack.sel(z=[0.5]).values, alone.values)


def test_seeds_views_and_instances_have_noise_of_their_own(library: msl.Library) -> None:
    small = library.select(first=2)
    images = msl.simulate(small, "conf1", views=["0", "z90"], seed=1).values
    other = msl.simulate(small, "conf1", views=["0", "z90"], seed=2).values
    corners = [image[:20, :20].ravel() for image in (*images.reshape(-1, 128, 128), *other.reshape(-1, 128, 128))]
    for a, b in itertools.combinations(corners, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.25


def test_published_conf1_has_one_noise_field(library: msl.Library) -> None:
    small = library.select(first=2)
    images = msl.simulate(small, "conf1", mode="published", seed=1).values.astype(float)
    far = images[:, :, :16, :16].reshape(12, -1)
    assert np.corrcoef(far).min() > 0.9
    independent = msl.simulate(small, "epi1", mode="published", seed=1).values.astype(float)
    assert abs(np.corrcoef(independent[:, :, :16, :16].reshape(12, -1))[0, 1]) < 0.25


def test_the_expected_image_is_what_the_counts_scatter_about(library: msl.Library) -> None:
    small = library.select(first=1)
    expected = msl.simulate(small, "conf2", views=["0"], noise=False)
    assert expected.dtype == np.float32
    counts = msl.simulate(small, "conf2", views=["0"]).values.astype(float).ravel()
    design = np.stack([np.ones(counts.size), expected.values.ravel()], axis=1)
    mean = design @ np.linalg.lstsq(design, counts, rcond=None)[0]
    assert np.mean((counts - mean) ** 2 / mean) == pytest.approx(1, abs=0.05)  # Poisson: variance equals mean


def test_an_instance_without_a_mesh_is_marked(library: msl.Library) -> None:
    everything = library.with_set_aside()
    assert len(everything) == COUNT
    images = msl.simulate(everything, "epi1", views=["0"])
    missing = everything.ids % 300 == 0
    assert missing.any()
    np.testing.assert_array_equal(images.present.values[:, 0], ~missing)
    assert not images.values[missing].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"microscope": "conf9"}, "conf9.*conf1, conf2, epi1"),
        ({"microscope": "conf1", "views": ["x45"]}, "x45.*allowed"),
        ({"microscope": "conf1", "views": ["0", "0"]}, "each once"),
        ({"microscope": "conf1", "z": []}, "focal planes"),
        ({"microscope": "conf1", "z": [float("nan")]}, "focal planes"),
        ({"microscope": "conf1", "mode": "fast"}, "corrected, published"),
        ({"microscope": "conf1", "seed": -1}, "seed -1"),
        ({"microscope": "conf1", "tolerance": 1.0}, "tolerance 1.0"),
        ({"microscope": "conf1", "device": "tpu"}, "device is 'tpu', but must be one of cpu, gpu, auto"),
    ],
)
def test_bad_arguments_say_what_is_allowed(library: msl.Library, arguments: dict, message: str) -> None:
    with pytest.raises(msl.UsageError, match=message):
        msl.simulate(library, **arguments)


def test_an_edition_is_a_library_with_the_same_images(
    library: msl.Library, reference: np.ndarray, tmp_path: Path
) -> None:
    images = msl.simulate(library, "conf2", views=["0", "x90"], seed=3)
    written = msl.write(images, tmp_path / "edition.zarr")
    assert written.state == "new"
    assert written.instances == len(library)
    edition = msl.open(tmp_path / "edition.zarr")
    np.testing.assert_array_equal(edition.ids, library.ids)
    np.testing.assert_array_equal(edition.images.values[:, 0], reference)
    np.testing.assert_array_equal(edition.rotations.values, images.attrs["provenance"]["rotations"])
    assert edition.attributes["provenance"]["seed"] == 3
    assert edition.attributes["source_digest"] == library.digest
    assert edition.license == "CC0-1.0"
    joined = library.with_edition(tmp_path / "edition.zarr").select(first=5)
    np.testing.assert_array_equal(joined.images.values[:, 0], reference[:5])
    assert joined.mesh(int(joined.ids[0])).faces.shape[1] == 3


def test_stacks_and_expected_images_are_editions_too(library: msl.Library, tmp_path: Path) -> None:
    small = library.select(first=3)
    stack = msl.simulate(small, "epi1", views=["0"], z=[0.0, 0.4], noise=False)
    msl.write(stack, tmp_path / "stack.zarr")
    images = msl.open(tmp_path / "stack.zarr").images
    assert images.dims == ("instance", "microscope", "view", "z", "y", "x")
    np.testing.assert_array_equal(images.z.values, [0.0, 0.4])
    np.testing.assert_array_equal(images.values[:, 0], stack.values)


def test_writing_resumes_and_a_second_run_does_nothing(library: msl.Library, tmp_path: Path) -> None:
    images = msl.simulate(library, "conf1", views=["0"], seed=1)
    whole, stopped = tmp_path / "whole.zarr", tmp_path / "stopped.zarr"
    msl.write(images, whole)

    class StopError(RuntimeError):
        pass

    def stop_after_one(done: int, _all: int) -> None:
        if done == 1:
            raise StopError

    with pytest.raises(StopError):
        write_edition(images, stopped, scheduler="synchronous", progress=stop_after_one)
    with pytest.raises(msl.MissingError, match="not finished"):
        msl.open(stopped)
    again = msl.write(msl.simulate(msl.open(library.url), "conf1", views=["0"], seed=1), stopped)
    assert again.state == "resumed"
    assert objects_of(locate(stopped)) == objects_of(locate(whole))
    assert msl.write(images, stopped).state == "published"
    with pytest.raises(msl.UsageError, match="--overwrite"):
        msl.write(msl.simulate(library, "conf1", views=["0"], seed=2), stopped)


def test_a_changed_source_is_noticed(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(folder, copy)
    images = msl.simulate(msl.open(copy), "conf1", views=["0"])
    shutil.rmtree(copy)
    ingest(ShapesSource(3), locate(copy), attributes={"title": "other", "license": "CC0-1.0"})
    with pytest.raises(msl.IntegrityError, match="has changed since it was opened"):
        images.compute(scheduler="processes")


def test_what_was_not_simulated_is_refused(library: msl.Library, tmp_path: Path) -> None:
    with pytest.raises(msl.UsageError, match=r"msl_store\.simulate returns"):
        msl.write(library.images, tmp_path / "no.zarr")


def test_a_cluster_on_s3_gives_the_same_bits_also_when_a_worker_dies(
    bucket: Bucket, cluster: Cluster, client: Client, library: msl.Library, reference: np.ndarray
) -> None:
    options = bucket.storage_options
    ingest(
        ShapesSource(COUNT),
        locate(f"{bucket.url}/library.zarr", options),
        attributes={"title": "shapes", "license": "CC0-1.0"},
    )
    remote = msl.open(f"{bucket.url}/library.zarr", options)
    assert remote.digest == library.digest
    images = msl.simulate(remote, "conf2", views=["0", "x90"], seed=3)
    np.testing.assert_array_equal(images.compute().values, reference)
    killed = []

    def kill_one(done: int, _all: int) -> None:
        if done == 0 and not killed:
            killed.append(cluster.kill_worker())

    write_edition(images, f"{bucket.url}/edition.zarr", options, scheduler=client, progress=kill_one)
    assert killed
    np.testing.assert_array_equal(msl.open(f"{bucket.url}/edition.zarr", options).images.values[:, 0], reference)
