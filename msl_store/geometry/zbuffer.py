"""A z-buffer in compiled loops: triangles and balls into depth and normals, and how much each pixel sees around it.

Positions count fine pixels: column, row, depth, the nearest the smallest; pixel (i, j) has its centre at row i + 0.5,
column j + 0.5. Depth is infinite where nothing was drawn yet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ON_EDGE = 1e-9
"""Slack of the test whether a pixel lies in a triangle, so that none falls between two triangles by rounding."""

DIRECTIONS, STEPS = 12, 6
"""Rays and samples a ray of the ambient occlusion."""


@numba.njit(cache=True, nogil=True)
def draw_faces(
    points: NDArray[np.float64],
    vertex_normals: NDArray[np.float64],
    faces: NDArray[np.int64],
    depth: NDArray[np.float64],
    normals: NDArray[np.float64],
) -> None:
    """Draw triangles into a z-buffer, normals interpolated between vertices (Phong, CACM 18, 311, 1975)."""
    height, width = depth.shape
    for f in range(len(faces)):
        i, j, k = faces[f]
        x0, y0, z0 = points[i]
        x1, y1, z1 = points[j]
        x2, y2, z2 = points[k]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        first_row = max(math.ceil(min(y0, y1, y2) - 0.5), 0)
        last_row = min(math.floor(max(y0, y1, y2) - 0.5), height - 1)
        first_col = max(math.ceil(min(x0, x1, x2) - 0.5), 0)
        last_col = min(math.floor(max(x0, x1, x2) - 0.5), width - 1)
        for row in range(first_row, last_row + 1):
            y = row + 0.5
            for col in range(first_col, last_col + 1):
                x = col + 0.5
                u = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                v = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                w = 1 - u - v
                if min(u, v, w) < -ON_EDGE:
                    continue
                z = u * z0 + v * z1 + w * z2
                if z < depth[row, col]:
                    depth[row, col] = z
                    for axis in range(3):
                        normals[row, col, axis] = (
                            u * vertex_normals[i, axis] + v * vertex_normals[j, axis] + w * vertex_normals[k, axis]
                        )


@numba.njit(cache=True, nogil=True)
def draw_balls(
    points: NDArray[np.float64],
    radius: float,
    depth: NDArray[np.float64],
    normals: NDArray[np.float64],
    owner: NDArray[np.int64],
) -> None:
    """Draw the near half of a ball at each point into a z-buffer, and note which point each pixel shows."""
    height, width = depth.shape
    for n in range(len(points)):
        x, y, z = points[n]
        for row in range(max(math.ceil(y - radius - 0.5), 0), min(math.floor(y + radius - 0.5), height - 1) + 1):
            for col in range(max(math.ceil(x - radius - 0.5), 0), min(math.floor(x + radius - 0.5), width - 1) + 1):
                dx, dy = col + 0.5 - x, row + 0.5 - y
                rest = radius * radius - dx * dx - dy * dy
                if rest < 0:
                    continue
                near = math.sqrt(rest)
                if z - near < depth[row, col]:
                    depth[row, col] = z - near
                    normals[row, col, 0], normals[row, col, 1], normals[row, col, 2] = dx, dy, -near
                    owner[row, col] = n


@numba.njit(cache=True, nogil=True)
def openness(depth: NDArray[np.float64], normals: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Return how much of its surroundings each pixel sees, 0 to 1.

    Horizon-based ambient occlusion (Bavoil, Sainz and Dimitrov, SIGGRAPH 2008 talks): along each direction of the
    picture the highest neighbour above the surface's tangent plane hides the sky below it, the less the further it is.
    """
    height, width = depth.shape
    out = np.ones((height, width))
    for row in range(height):
        for col in range(width):
            if not np.isfinite(depth[row, col]):
                continue
            hidden = 0.0
            for d in range(DIRECTIONS):
                angle = 2 * math.pi * (d + 0.5 * ((row + col) % 2)) / DIRECTIONS
                dx, dy = math.cos(angle), math.sin(angle)
                highest = 0.0
                for step in range(1, STEPS + 1):
                    far = reach * (step / STEPS) ** 2
                    other_row, other_col = round(row + dy * far), round(col + dx * far)
                    if not (0 <= other_row < height and 0 <= other_col < width):
                        break
                    if (other_row == row and other_col == col) or not np.isfinite(depth[other_row, other_col]):
                        continue
                    ex, ey = other_col - col, other_row - row
                    ez = depth[other_row, other_col] - depth[row, col]
                    distance = math.sqrt(ex * ex + ey * ey + ez * ez)
                    rise = (
                        ex * normals[row, col, 0] + ey * normals[row, col, 1] + ez * normals[row, col, 2]
                    ) / distance - 0.08
                    fading = max(0.0, 1 - distance / (1.5 * reach))
                    highest = max(highest, rise * fading)
                hidden += highest
            out[row, col] = max(0.0, 1 - 1.6 * hidden / DIRECTIONS)
    return out
