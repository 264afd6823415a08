"""Images made on the fly: a pure function of (seed, epoch, id), true to the pose that they come with, fast enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from shapes_source import ShapesSource
from small_library import build, made_record
from streamed import as_plain

import msl_store as msl
from ingest.repack import ingest
from msl_store.errors import UsageError
from msl_store.optics.exposure import emitters_of
from msl_store.optics.imaging import expected_images
from msl_store.optics.labelling import Labelling
from msl_store.optics.microscope import get_microscope
from msl_store.optics.plan import make_plan
from msl_store.store import locate
from msl_store.stream import Batches, Images, Instances, Meshes, Queries, Rank, Simulated

if TYPE_CHECKING:
    from msl_store.library import Library

SPARSE = Labelling(per_um2=200)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Thirty closed shapes, one without its mesh."""
    folder = tmp_path_factory.mktemp("dots") / "dots.zarr"
    ingest(ShapesSource(30, kinds=("dot", "rod")), locate(folder), scheduler="synchronous")
    return msl.open(folder)


def test_an_image_is_a_pure_function_of_seed_epoch_and_id(dots):
    form = Simulated("conf2", images=2, shift_um=0.2, labelling=SPARSE)
    data, found = Instances(dots, {"x": form}, seed=3), {}
    for size, world in [(7, 1), (4, 2)]:
        for rank in range(world):
            batches = Batches(dots, {"mesh": Meshes("list"), "x": form}, size, seed=3, rank=Rank(rank, world))
            for batch in batches:
                for place, instance in enumerate(batch["id"].tolist()):
                    own = as_plain({name: v[place] for name, v in batch.items() if name.startswith(("id", "x"))})
                    assert own == found.setdefault(instance, own)
    assert set(found) == set(data.ids.tolist())
    instance = int(data.ids[3])
    assert as_plain(data.by_id(instance)) == found[instance]
    data.set_epoch(1)
    assert as_plain(data.by_id(instance))["x"] != found[instance]["x"]
    assert len({own["x"][0][1] for own in found.values()}) == len(found)


@pytest.mark.parametrize("microscope", ["conf2", "confocal-60x-oil"])
def test_the_truth_is_what_the_image_shows(dots, microscope):
    """An image of the same shape, made apart in the pose that came with it, is alike; in another pose it is less so."""
    optics = get_microscope(microscope)
    form = Simulated(microscope, images=3, focus_um=(-0.3, 0.3), shift_um=0.4, noise=False)
    data = Instances(dots, {"x": form}, seed=1)
    for instance in data.ids[1:5:2].tolist():
        found = data.by_id(instance)
        mesh = dots.mesh(instance)
        emitters = emitters_of(mesh.vertices_um(), mesh.faces, instance=instance, seed=99)
        middle = mesh.vertices[np.unique(mesh.faces)].mean(axis=0)
        assert np.linalg.norm(found["x.centre"] - middle) < 0.2 * np.ptp(mesh.vertices, axis=0).max()
        for image, rotation, shift, focus in zip(
            found["x"], found["x.rotation"], found["x.shift_um"], found["x.focus_um"], strict=True
        ):
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(rotation) == pytest.approx(1)

            alike, less = (
                np.corrcoef(
                    expected_images(emitters @ turn + [*shift, 0], optics, np.eye(3)[None], focus_um=focus).ravel(),
                    image.ravel(),
                )[0, 1]
                for turn in (rotation, rotation @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
            )
            assert alike > 0.98
            assert alike > less


def test_random_poses_are_uniform(dots):
    """Turned axes point everywhere alike: their mean is 0 and their second moments are a third."""
    form = Simulated("conf2", images=400, noise=False, labelling=Labelling(per_um2=1))
    turns = Instances(dots.select(first=1), {"x": form})[0]["x.rotation"]
    axes = turns.reshape(-1, 3)
    assert np.abs(axes.mean(axis=0)).max() < 0.06
    assert np.abs(np.einsum("ni,nj->ij", axes, axes) / len(axes) - np.eye(3) / 3).max() < 0.06


def test_views_and_focuses_are_drawn_from_what_is_asked_for(dots):
    form = Simulated("conf2", images=60, pose=("0", "x90"), focus_um=(0.0, 1.0), noise=False, labelling=SPARSE)
    found = Instances(dots.select(first=1), {"x": form})[0]
    assert len({turn.tobytes() for turn in found["x.rotation"]}) == 2
    assert set(np.round(found["x.focus_um"], 9)) <= set(np.round(np.linspace(0, 1, 11), 9))
    assert len(set(found["x.focus_um"])) > 5
    assert (found["x.shift_um"] == 0).all()
    assert found["x"].dtype == np.float32


def test_noise_scatters_about_the_expected_image(dots):
    """Without noise and with it, the same draws: counts correlate with what they scatter about."""
    forms = [Simulated("confocal-60x-oil", noise=noise, images=1, labelling=SPARSE) for noise in (False, True)]
    expected, counts = (Instances(dots, {"x": form}, seed=8).by_id(20)["x"][0] for form in forms)
    assert counts.dtype == np.uint16
    bright = expected > expected.max() / 4
    assert counts[bright].mean() > counts[~bright].mean()


def test_brightness_scales_the_light(dots):
    bright = [
        Instances(dots, {"x": Simulated("confocal-60x-oil", noise=False, brightness=(f, f), labelling=SPARSE)}, seed=8)
        .by_id(20)["x"]
        .sum(dtype=np.float64)
        for f in (1.0, 3.0)
    ]
    assert bright[1] == pytest.approx(3 * bright[0], rel=1e-5)


def test_few_optics_serve_all_poses(dots):
    make_plan.cache_clear()
    list(Batches(dots, {"x": Simulated("conf2", images=8, labelling=SPARSE)}, 10))
    assert make_plan.cache_info().hits > 200
    assert make_plan.cache_info().currsize <= 4


def test_points_and_images_meet_in_one_frame(tmp_path):
    """Query points inside the shape, taken to the image by the truth that comes with it, lie where it is bright."""
    from ingest.procedural import instance
    from ingest.record import Record
    from ingest.sampling import occupancy

    mesh = instance("rod", 3, 0)
    library = build([Record(3, mesh, occupancy=occupancy(mesh, np.random.default_rng(0)))], tmp_path / "one.zarr")
    fields = {"q": Queries(4096, frame=True), "x": Simulated("conf2", images=3, shift_um=0.3, noise=False)}
    found = Instances(library, fields)[0]
    optics, raw = get_microscope("conf2"), found["q"] * found["q.scale"] + found["q.loc"]
    inside = np.where(found["q.inside"])[0]
    for image, rotation, shift in zip(found["x"], found["x.rotation"], found["x.shift_um"], strict=True):
        placed = (raw - found["x.centre"]) * 0.024 @ rotation
        column, row = np.floor((placed[inside, :2] + shift) / optics.pixel_um + 64).astype(int).T
        assert image[row, column].mean() > 5 * image.mean()


def test_matrix_labels_need_closed_shapes(dots, tmp_path):
    open_mesh = made_record(5, parts="m")
    open_mesh = type(open_mesh)(5, type(open_mesh.mesh)(open_mesh.mesh.vertices, open_mesh.mesh.faces[1:]))
    library = build([open_mesh, made_record(6, parts="m")], tmp_path / "open.zarr")
    assert len(Instances(library, {"x": Simulated("conf2")})) == 2
    assert Instances(library, {"x": Simulated("conf2", labelling="matrix")}).ids.tolist() == [6]


def test_an_editions_images_stream_beside_the_shapes(dots, tmp_path):
    few = dots.select(first=4)
    made = msl.simulate(few, "epi1", views=["0", "x90"], seed=2)
    msl.write(made, tmp_path / "edition.zarr", scheduler="synchronous")
    both = dots.with_edition(tmp_path / "edition.zarr")
    batch = next(iter(Batches(both, {"x": Images(views=("x90",)), "mesh": Meshes("list")}, 4, shuffle=None)))
    np.testing.assert_array_equal(batch["x"][:, 0], made.sel(view="x90").values, strict=True)
    np.testing.assert_array_equal(batch["mesh.vertices"][2], dots.mesh(int(batch["id"][2])).vertices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pose": ("x91",)}, r"pose=\('x91',\)\): allowed are random, or a tuple of some of"),
        ({"pose": "x90"}, "allowed are random, or a tuple"),
        ({"images": 0}, "allowed are 1 image or more"),
        ({"shift_um": -1.0}, "a shift of 0 or more"),
        ({"focus_um": (1.0, 0.0)}, "a range with the lower end first"),
        ({"brightness": (0.0, 1.0)}, "allowed is a range above 0"),
        ({"brightness": (0.5, 1.0)}, "conf2 has no camera, so that each of its images has a peak of its own"),
        ({"microscope": "none"}, "none"),
    ],
)
def test_what_cannot_be_simulated_is_refused(dots, options, message):
    with pytest.raises(UsageError, match=message):
        Instances(dots, {"x": Simulated(**options)})
