"""Pictures of meshes and points without a graphics card: an orthographic z-buffer, shaded.

The picture looks along the optical axis as the microscopes do: columns are axis 0, rows axis 1, and what has the
smallest coordinate along axis 2 is nearest to the viewer (from where the objective of an inverted microscope sits), so
a rendered shape lies over its images and is not mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.zbuffer import draw_balls, draw_faces, openness

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FINER = 2
"""Pictures are drawn this much finer in both directions and averaged."""

KEY_LIGHT = (-0.45, -0.65, -0.62)
"""Where the brightest light comes from: above left, in front of the shape; (column, row, depth) as positions are."""

FILL_LIGHT = (0.80, 0.35, -0.45)

AMBIENT, KEY, FILL, GLOSS, RIM = 0.10, 1.00, 0.12, 0.20, 0.22
"""Strengths of the light from everywhere, the two lamps, the highlight, and the glow where the surface turns away."""

COOL = (0.55, 0.80, 1.45)
"""Colour of all light but the key light's and the highlight's, which are white."""

FADING = 0.5
"""Part of its light that the shape loses as far behind its nearest point as the picture is high."""

SHARPNESS = 32.0
"""Exponent of the highlight (Blinn, SIGGRAPH 1977)."""

REACH = 0.10
"""How far neighbours shade each other, as a part of the picture's height."""


@dataclass(frozen=True, eq=False)
class Camera:
    """What a picture shows.

    Attributes
    ----------
    rotation : ndarray, shape (3, 3)
        Applied to row vectors from the right: ``(p - centre) @ rotation``.
    centre : ndarray, shape (3,)
        The point at the middle of the picture, in the shape's units.
    extent : float
        Height of the picture in the shape's units.
    size_px : tuple of int
        Height and width of the picture in pixels.
    """

    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    extent: float = 1.0
    size_px: tuple[int, int] = (512, 512)

    def __post_init__(self) -> None:
        if not (self.extent > 0 and math.isfinite(self.extent)) or min(self.size_px) < 1:
            raise UsageError(f"camera with extent {self.extent}, size {self.size_px}: allowed are positive numbers")

    @property
    def pixel(self) -> float:
        """Edge of a pixel in the shape's units."""
        return self.extent / self.size_px[0]


def camera_around(
    points: NDArray[np.floating], rotation: ArrayLike, *, size_px: tuple[int, int] = (512, 512), margin: float = 0.08
) -> Camera:
    """Return the camera that sees all of some points.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Vertices or a point cloud.
    rotation : array_like, shape (3, 3)
        Applied to row vectors from the right.
    size_px : tuple of int
        Height and width of the picture.
    margin : float
        Empty part of the picture at each side.

    Raises
    ------
    UsageError
        There are no points.
    """
    if len(points) == 0:
        raise UsageError("a picture of no points: allowed is one point or more")
    turn = np.asarray(rotation, np.float64)
    seen = points.astype(np.float64) @ turn
    low, high = seen.min(axis=0), seen.max(axis=0)
    width, height = (high - low)[:2]
    extent = max(height, width * size_px[0] / size_px[1]) / (1 - 2 * margin)
    return Camera(turn, (low + high) / 2 @ turn.T, float(extent) or 1.0, size_px)


def render_mesh(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    camera: Camera,
    *,
    colour: ArrayLike = (0.96, 0.55, 0.28),
) -> NDArray[np.uint8]:
    """Draw a mesh with smooth shading, ambient occlusion and soft edges.

    Parameters
    ----------
    vertices : ndarray, shape (n_vertex, 3)
        Positions in the units of the camera.
    faces : ndarray of int, shape (n_face, 3)
        Vertex indices; which way round they go makes no difference.
    camera : Camera
        What the picture shows.
    colour : array_like, shape (3,)
        sRGB from 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (height, width, 4)
        sRGB with straight alpha, transparent where the mesh is not.
    """
    seen = _to_pixels(vertices, camera)
    if len(faces) and int(faces.max()) >= len(vertices):
        raise UsageError(f"a face names vertex {int(faces.max())}, but there are {len(vertices)}")
    corners = np.ascontiguousarray(faces, np.int64)
    depth, normals = _canvas(camera)
    draw_faces(seen, _vertex_normals(seen, corners), corners, depth, normals)
    return _picture(depth, normals, np.broadcast_to(_linear(colour), normals.shape))


def render_points(
    points: NDArray[np.floating], camera: Camera, *, radius: float, colours: ArrayLike = (0.96, 0.55, 0.28)
) -> NDArray[np.uint8]:
    """Draw points as small balls, shaded as `render_mesh` shades.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Positions in the units of the camera.
    camera : Camera
        What the picture shows.
    radius : float
        Of a ball, in the units of the camera.
    colours : array_like, shape (n, 3) or (3,)
        sRGB from 0 to 1, of each point or of all.

    Returns
    -------
    ndarray of uint8, shape (height, width, 4)
        sRGB with straight alpha, transparent where no point is.
    """
    seen = _to_pixels(points, camera)
    depth, normals = _canvas(camera)
    owner = np.full(depth.shape, -1, np.int64)
    draw_balls(seen, max(radius / camera.pixel * FINER, 0.75), depth, normals, owner)
    each = np.broadcast_to(_linear(colours), (len(points), 3))
    return _picture(depth, normals, np.vstack([each, np.zeros((1, 3))])[owner])


def _to_pixels(points: NDArray[np.floating], camera: Camera) -> NDArray[np.float64]:
    """Return (column, row, depth) in fine pixels; pixel (i, j) has its centre at row i + 0.5, column j + 0.5."""
    seen = (points.astype(np.float64) - camera.centre) @ camera.rotation / camera.pixel * FINER
    seen[:, 0] += camera.size_px[1] * FINER / 2
    seen[:, 1] += camera.size_px[0] * FINER / 2
    return np.ascontiguousarray(seen)


def _canvas(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shape = (camera.size_px[0] * FINER, camera.size_px[1] * FINER)
    return np.full(shape, np.inf), np.zeros((*shape, 3))


def _vertex_normals(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each vertex's normal: the sum of its faces' normals weighted by their areas, not of unit length."""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    flat = np.cross(b - a, c - a)
    ends = faces.ravel()
    return np.stack([np.bincount(ends, np.repeat(flat[:, axis], 3), len(points)) for axis in range(3)], axis=1)


def _picture(
    depth: NDArray[np.float64], normals: NDArray[np.float64], colours: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Shade what was drawn and average the fine pixels."""
    covered = np.isfinite(depth)
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    normals = normals / np.where(lengths > 0, lengths, 1)
    normals = np.where(normals[..., 2:] > 0, -normals, normals)
    sky = openness(depth, normals, max(REACH * len(depth), 2.0))
    key, fill = (np.asarray(light) / np.linalg.norm(light) for light in (KEY_LIGHT, FILL_LIGHT))
    halfway = key + np.array([0.0, 0.0, -1.0])
    halfway /= np.linalg.norm(halfway)
    around = AMBIENT * sky + FILL * sky * np.clip(normals @ fill, 0, None)
    around += RIM * sky * (1 + normals[..., 2]) ** 3
    direct = KEY * sky**0.5 * np.clip(normals @ key, 0, None)
    shine = GLOSS * sky * np.clip(normals @ halfway, 0, None) ** SHARPNESS
    light = colours * (direct[..., None] + around[..., None] * COOL) + shine[..., None]
    if covered.any():
        light *= 1 - FADING * np.clip((depth - depth[covered].min()) / len(depth), 0, 1)[..., None]
    light[~covered] = 0
    fine = (depth.shape[0] // FINER, FINER, depth.shape[1] // FINER, FINER)
    alpha = covered.reshape(fine).mean(axis=(1, 3))
    mean = light.reshape((*fine, 3)).mean(axis=(1, 3)) / np.where(alpha > 0, alpha, 1)[..., None]
    image: NDArray[np.uint8] = np.rint(255 * np.dstack([_encoded(mean), alpha])).astype(np.uint8)
    return image


def _linear(colour: ArrayLike) -> NDArray[np.float64]:
    """Return the light of sRGB colours (IEC 61966-2-1)."""
    values = np.asarray(colour, np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light as sRGB colours from 0 to 1; the inverse of `_linear`."""
    values = np.clip(light, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
