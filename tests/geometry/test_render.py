"""Rendered shapes: where they are, how large they are, which way round, and how light falls on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.errors import UsageError
from msl_store.geometry.render import Camera, camera_around, render_mesh, render_points
from msl_store.geometry.zbuffer import openness

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = (160, 160)


def sphere(
    centre: tuple[float, float, float] = (0, 0, 0), radius: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A sphere of 40 rings of 80 vertices, faces outwards."""
    polar = np.linspace(0, np.pi, 40)
    around = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    t, p = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    vertices = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=1) * radius + centre
    ring, step = np.meshgrid(np.arange(39), np.arange(80), indexing="ij")
    a, b = ring * 80 + step, ring * 80 + (step + 1) % 80
    quads = np.stack([a, a + 80, b + 80, b], axis=-1).reshape(-1, 4)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def slab(column: float, row: float, depth: float, half: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A square that faces the viewer."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half + [column, row, depth]
    return corners, np.array([[0, 1, 2], [0, 2, 3]])


def alpha(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return picture[..., 3] / 255


def lightness(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return picture[..., :3].astype(float).mean(axis=2)


@settings(max_examples=15, deadline=None)
@given(
    radius=st.floats(0.3, 1.2),
    column=st.floats(-0.7, 0.7),
    row=st.floats(-0.7, 0.7),
    turn=st.floats(0, 2 * np.pi),
)
def test_a_sphere_covers_a_disc_of_its_radius_where_it_is(
    radius: float, column: float, row: float, turn: float
) -> None:
    c, s = np.cos(turn), np.sin(turn)
    camera = Camera(np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]), extent=4.0, size_px=SIZE)
    vertices, faces = sphere((column, row, 3), radius)
    covered = alpha(render_mesh(vertices, faces, camera))
    assert covered.sum() * camera.pixel**2 == pytest.approx(np.pi * radius**2, rel=0.02)
    centre = (np.array([column, row, 0]) @ camera.rotation)[:2]
    where = [(covered * axis).sum() / covered.sum() for axis in np.indices(SIZE)[::-1] + 0.5]
    np.testing.assert_allclose((np.array(where) - 80) * camera.pixel, centre, atol=0.02)


def test_columns_are_axis_0_and_rows_axis_1() -> None:
    camera = Camera(extent=8.0, size_px=(80, 120))
    covered = alpha(render_mesh(*slab(4, -2, 0), camera))
    rows, columns = np.nonzero(covered)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 90, 109)
    assert (covered[10:30, 90:110] == 1).all()


def test_what_is_nearer_along_axis_2_hides_what_is_behind() -> None:
    camera = Camera(extent=4.0, size_px=SIZE)
    points = np.array([[0, 0, 1.0], [0, 0, 0.0]])
    red_behind = render_points(points, camera, radius=0.5, colours=[[1, 0, 0], [0, 0, 1]])[80, 80]
    red_before = render_points(-points, camera, radius=0.5, colours=[[1, 0, 0], [0, 0, 1]])[80, 80]
    assert red_behind[2] > 50 > red_behind[0]
    assert red_before[0] > 50 > red_before[2]


def test_light_comes_from_above_left_whichever_way_round_the_faces_are() -> None:
    vertices, faces = sphere()
    camera = Camera(extent=2.4, size_px=SIZE)
    picture = render_mesh(vertices, faces, camera)
    seen = lightness(picture)
    quarter = 80 - round(0.6 * 0.7071 / camera.pixel)
    lit, dark = seen[quarter, quarter], seen[-quarter, -quarter]
    assert lit > 1.5 * dark > 0
    assert seen[quarter, -quarter] < lit
    np.testing.assert_array_equal(render_mesh(vertices, faces[:, ::-1], camera), picture)


def test_a_crease_is_darker_than_open_surface() -> None:
    """Two slopes that meet in a valley (far side) hide the sky from each other; as a ridge they do not."""
    columns = np.linspace(-1, 1, 41)
    ridge = np.abs(np.broadcast_to(columns, (40, 41))) * 40
    normals = np.stack([np.broadcast_to(2 * np.sign(columns), ridge.shape), 0 * ridge, -np.ones_like(ridge)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    valley = openness(40 - ridge, normals * [-1, 1, 1], 12.0)
    assert (openness(ridge, normals, 12.0)[20, 2:-2] > 0.95).all()
    assert valley[20, 19] < 0.8 < valley[20, 2]


def test_points_are_balls_of_the_radius_and_colours_asked_for() -> None:
    camera = Camera(extent=4.0, size_px=SIZE)
    points = np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    picture = render_points(points, camera, radius=0.4, colours=[[1, 0, 0], [0, 1, 0]])
    assert alpha(picture).sum() * camera.pixel**2 == pytest.approx(2 * np.pi * 0.4**2, rel=0.03)
    assert picture[80, 40, :3].argmax() == 0
    assert picture[80, 120, :3].argmax() == 1


def test_the_camera_around_points_sees_them_all_and_little_else() -> None:
    vertices, faces = sphere((10, -20, 30), 5.0)
    camera = camera_around(vertices, np.eye(3), size_px=(100, 200), margin=0.1)
    rows, columns = np.nonzero(alpha(render_mesh(vertices, faces, camera)))
    assert (rows.min(), rows.max()) == (10, 89)
    assert columns.min() + columns.max() == 199
    with pytest.raises(UsageError, match="a picture of no points"):
        camera_around(vertices[:0], np.eye(3))


def test_a_picture_is_the_same_every_time_and_leaves_its_input_alone() -> None:
    vertices, faces = sphere()
    kept = vertices.copy()
    camera = Camera(extent=3.0, size_px=SIZE)
    np.testing.assert_array_equal(render_mesh(vertices, faces, camera), render_mesh(vertices, faces, camera))
    np.testing.assert_array_equal(vertices, kept)


def test_outside_the_picture_and_flat_faces_draw_nothing() -> None:
    camera = Camera(extent=4.0, size_px=(40, 40))
    vertices, faces = sphere((50, 0, 0))
    assert not render_mesh(vertices, faces, camera).any()
    assert not render_mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), camera).any()
    assert not render_mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64), camera).any()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="a face names vertex 9, but there are 3"):
        render_mesh(np.zeros((3, 3)), np.array([[0, 1, 9]]), Camera())
    bad: Any
    for bad in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(UsageError, match="allowed are positive numbers"):
            Camera(extent=bad)
