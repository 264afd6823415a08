"""Bodies whose measures are known, through the whole way: volume, objects, meshes, library, table.

With an edge h of the voxels and a radius r, the fast recipe's Gaussian of one voxel takes 3 (h / r)^2 of a ball's
volume (the surface moves by its curvature), flat triangles whose corners lie on the surface up to 1 (h / r)^2, and up
to as much again is left to the voxels' chance; of the area two thirds of that. A tube loses less. The paper's recipe
puts the surface half a voxel inside: h / 2 times the area is lost, and with it a share of the area that is no larger.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any

import pytest
from held_volume import body, capsule, linked_tori, sphere, torus

import msl_store as msl
from ingest.em.library import Plan, ingest_volume
from ingest.em.meshing import Recipe
from ingest.em.objects import Segmentation
from ingest.em.source import Forms
from msl_store.store import locate

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("cc3d")
pytest.importorskip("fill_voids")

FRESH = itertools.count()


@dataclass(frozen=True)
class Body:
    """An analytic body in um."""

    inside: Callable[..., Any]
    sizes: dict[str, float]
    half: tuple[float, float, float]
    volume: float
    area: float
    thinnest: float
    """The least radius of curvature."""
    genus: int
    length: float
    """Of the centre lines."""
    pieces: int = 1


BODIES = {
    "sphere": Body(
        sphere,
        {"radius": 0.3},
        (0.4, 0.4, 0.4),
        4 / 3 * pi * 0.3**3,
        4 * pi * 0.3**2,
        thinnest=0.3,
        genus=0,
        length=0.0,
    ),
    "torus": Body(
        torus,
        {"ring": 0.36, "tube": 0.12},
        (0.2, 0.55, 0.55),
        2 * pi**2 * 0.36 * 0.12**2,
        4 * pi**2 * 0.36 * 0.12,
        thinnest=0.12,
        genus=1,
        length=2 * pi * 0.36,
    ),
    "capsule": Body(
        capsule,
        {"length": 0.6, "radius": 0.12},
        (0.2, 0.2, 0.5),
        pi * 0.12**2 * 0.6 + 4 / 3 * pi * 0.12**3,
        2 * pi * 0.12 * 0.6 + 4 * pi * 0.12**2,
        thinnest=0.12,
        genus=0,
        length=0.6,
    ),
    "linked tori": Body(
        linked_tori,
        {"ring": 0.3, "tube": 0.09},
        (0.5, 0.95, 0.5),
        4 * pi**2 * 0.3 * 0.09**2,
        8 * pi**2 * 0.3 * 0.09,
        thinnest=0.09,
        genus=2,
        length=4 * pi * 0.3,
        pieces=2,
    ),
}


def table_of(shape, edges_um, *, recipe="fast", **segmentation):
    """The table of a library of a body's volume."""
    volume = body(shape.inside, shape.half, edges_um, **shape.sizes)
    target = locate(f"memory://analytic-{next(FRESH)}")
    plan = Plan(Segmentation(block=64, **segmentation), Recipe(recipe), Forms(sdf=False, images=False))
    report = ingest_volume(volume, target, plan, scheduler="synchronous")
    assert report.set_aside == 0
    return msl.open(target.url).table


def check(row, shape, edge_um, recipe="fast"):
    """Fail unless a row of a table says what is known of a body, to within what the recipe loses."""
    assert (row.genus, row.euler_number, row.component_count) == (
        shape.genus,
        2 * shape.pieces - 2 * shape.genus,
        shape.pieces,
    )
    assert row.watertight
    assert not row.touches_border
    if recipe == "fast":
        volume = 5 * (edge_um / shape.thinnest) ** 2
        area = 2 / 3 * volume
    else:
        volume = area = 0.6 * edge_um * shape.area / shape.volume
    assert float(row.volume_um3) == pytest.approx(shape.volume, rel=volume)
    assert float(row.area_um2) == pytest.approx(shape.area, rel=area)
    # What is stated of skeletons: 2 voxels a piece, and 0.7 %; radii 0.9 voxels, and what the recipe has taken.
    assert float(row.skeleton_length_um) == pytest.approx(
        shape.length, abs=2 * shape.pieces * edge_um + 0.007 * shape.length
    )
    assert float(row.mean_radius_um) == pytest.approx(shape.thinnest, abs=(0.9 + (recipe == "paper") / 2) * edge_um)
    assert row.branch_count == 0
    assert row.end_count == (0 if shape.genus else 2)


@pytest.mark.parametrize("edge_um", [0.024, 0.012])
@pytest.mark.parametrize("name", BODIES)
def test_the_fast_recipe_errs_by_the_square_of_the_voxels_edge(name, edge_um):
    shape = BODIES[name]
    table = table_of(shape, (edge_um,) * 3, by_label=True)
    assert table.instance.values.tolist() == [1]
    check(table.isel(instance=0), shape, edge_um)


@pytest.mark.parametrize("edge_um", [0.024, 0.016])
@pytest.mark.parametrize("name", ["sphere", "torus"])
def test_the_papers_recipe_errs_by_the_voxels_edge(name, edge_um):
    table = table_of(BODIES[name], (edge_um,) * 3, recipe="paper")
    check(table.isel(instance=0), BODIES[name], edge_um, "paper")


def test_bodies_that_do_not_touch_are_objects_of_their_own():
    shape = BODIES["linked tori"]
    table = table_of(shape, (0.016,) * 3)
    assert table.instance.values.tolist() == [1, 2]
    assert table.genus.values.tolist() == [1, 1]
    assert float(table.volume_um3.sum()) == pytest.approx(shape.volume, rel=5 * (0.016 / shape.thinnest) ** 2)


@pytest.mark.parametrize("edges_um", [(0.032, 0.016, 0.016), (0.012, 0.012, 0.03)])
@pytest.mark.parametrize("name", ["sphere", "capsule"])
def test_voxels_that_are_no_cubes_keep_the_proportions(name, edges_um):
    shape = BODIES[name]
    table = table_of(shape, edges_um)
    row = table.isel(instance=0)
    check(row, shape, max(edges_um))
    reach = {"sphere": (0.3, 0.3, 0.3), "capsule": (0.12, 0.12, 0.42)}[name]
    for axis, half in enumerate(reach):
        assert float(row[f"extent_{axis}_um"]) == pytest.approx(2 * half, abs=2 * edges_um[axis])
    assert table.attrs["voxel_um"] == min(edges_um)


def test_principal_axes_are_those_of_the_body():
    shape = BODIES["capsule"]
    row = table_of(shape, (0.012,) * 3).isel(instance=0)
    # Second moments of a capsule's solid: a cylinder of length L between half balls, all of radius r.
    radius, length = shape.sizes["radius"], shape.sizes["length"]
    tube, ball = pi * radius**2 * length, 4 / 3 * pi * radius**3
    centre = length / 2 + 3 / 8 * radius
    along = tube * length**2 / 12 + ball * (radius**2 * (1 / 5 - 9 / 64) + centre**2)
    across = tube * radius**2 / 4 + ball * radius**2 / 5
    lengths = [2 * (5 * moment / (tube + ball)) ** 0.5 for moment in (along, across, across)]
    for principal, expected in enumerate(lengths):
        assert float(row[f"principal_length_{principal}_um"]) == pytest.approx(expected, rel=0.02)
    assert abs(float(row["principal_axes_0_2"])) == pytest.approx(1, abs=1e-3)


def test_downsampling_gives_the_larger_voxels():
    shape = BODIES["torus"]
    table = table_of(shape, (0.008,) * 3, downsample=(3, 3, 3), dust=500)
    check(table.isel(instance=0), shape, 0.024)
    assert table.attrs["voxel_um"] == 0.024
