"""A tree of boxes around the faces of a mesh, laid out for vector instructions.

Faces that lie together make a packet of sixteen; packets that lie together have their boxes in one node, nodes in
nodes above them. A packet or a node is a block of rows of sixteen numbers, one for each face or box, so that a loop
over a row becomes vector instructions; all blocks stand one after the other in a flat array, without which the compiler
would have to check the rows for overlap and gives up.

Boxes of up to `TURNED_FACES` faces are turned to their mean normal. Seen from far away the faces around the nearest
point all lie about as far, and only boxes as flat as the surface tell them apart: they cut the faces that a query looks
at to a half or a quarter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANES = 16
"""Faces of a packet and boxes of a node. LLVM does not vectorise loops of fewer turns that write to memory."""

TURNED_FACES = 256
"""Boxes of more faces than this stay parallel to the axes: their faces look every way."""

FACE_ROWS = 21
"""Rows of a packet: a corner, the two edges from it, the gradients of its two barycentric coordinates, the unit
normal (three rows each), and one over the squared lengths of the two edges and of the third."""

BOX_ROWS = 15
"""Rows of a node: the centre in the box's own axes, these three axes, and half the sides."""


@dataclass(frozen=True, eq=False)
class BoxTree:
    """Faces and boxes; the packets are the nodes 0 to n_packet - 1, the nodes of boxes follow, the root is the last.

    Attributes
    ----------
    face : ndarray of int64, shape (n_face,)
        The mesh's face at each place of the packets, in their order.
    packets : ndarray of float64, shape (n_packet * FACE_ROWS * LANES,)
        The last packet is filled up with its last face.
    boxes : ndarray of float64, shape (n_box * BOX_ROWS * LANES,)
        The last node of each level is filled up with boxes infinitely far away.
    child : ndarray of int64, shape (n_box,)
        The first of the nodes that a node's boxes are around; the others follow it.
    """

    face: NDArray[np.int64]
    packets: NDArray[np.float64]
    boxes: NDArray[np.float64]
    child: NDArray[np.int64]


def box_tree(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> BoxTree:
    """Build the tree of a mesh with at least one face that `checked_mesh` has passed."""
    order = _arranged(vertices, faces)
    return BoxTree(order, _packets(vertices, faces, order), *_boxes(vertices, faces, order))


@numba.njit(cache=True, nogil=True)
def _arranged(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order faces so that runs of 16, 256 and so on lie together: halves again and again, across the longest side.

    Every cut leaves a power of two times `LANES` faces before it, so only the last run of each level is not full.
    """
    middle = np.empty((3, len(faces)))
    for f in range(len(faces)):
        a, b, c = faces[f]
        for k in range(3):
            least = min(vertices[a, k], vertices[b, k], vertices[c, k])
            middle[k, f] = least / 2 + max(vertices[a, k], vertices[b, k], vertices[c, k]) / 2
    order = np.arange(len(faces))
    size = LANES
    while size < len(faces):
        size *= 2
    while size > LANES:
        for start in range(0, len(faces) - size // 2, size):
            stop = min(start + size, len(faces))
            longest, axis = -1.0, 0
            for k in range(3):
                low, high = np.inf, -np.inf
                for i in range(start, stop):
                    low, high = min(low, middle[k, order[i]]), max(high, middle[k, order[i]])
                if high - low > longest:
                    longest, axis = high - low, k
            _divide(middle[axis], order, start, stop, start + size // 2)
        size //= 2
    return order


@numba.njit(cache=True, nogil=True)
def _divide(key: NDArray[np.float64], order: NDArray[np.int64], start: int, stop: int, cut: int) -> None:
    """Reorder a run so that no key before the cut is greater than one after it (Hoare, "Find", CACM 4, 321, 1961)."""
    while stop - start > 1:
        pivot = key[order[(start + stop) // 2]]
        i, j = start, stop - 1
        while i <= j:
            while key[order[i]] < pivot:
                i += 1
            while key[order[j]] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if cut <= j:
            stop = j + 1
        elif cut >= i:
            start = i
        else:
            return


@numba.njit(cache=True, nogil=True)
def _packets(vertices: NDArray[np.float64], faces: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lay out the faces; those without area have NaN for gradients, so that no point counts as above them."""
    count = (len(faces) + LANES - 1) // LANES
    packets = np.full(count * FACE_ROWS * LANES, np.nan)
    u, v, normal = np.empty(3), np.empty(3), np.empty(3)
    for place in range(count * LANES):
        at = place // LANES * FACE_ROWS * LANES + place % LANES
        a, b, c = faces[order[min(place, len(faces) - 1)]]
        length_u, length_v, length_w, squared = 0.0, 0.0, 0.0, 0.0
        for k in range(3):
            u[k], v[k] = vertices[b, k] - vertices[a, k], vertices[c, k] - vertices[a, k]
            packets[at + k * LANES] = vertices[a, k]
            packets[at + (3 + k) * LANES] = u[k]
            packets[at + (6 + k) * LANES] = v[k]
            length_u, length_v = length_u + u[k] * u[k], length_v + v[k] * v[k]
            length_w += (vertices[c, k] - vertices[b, k]) ** 2
        for k in range(3):
            normal[k] = u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3]
            squared += normal[k] * normal[k]
        if squared > 0:
            for k in range(3):
                i, j = (k + 1) % 3, (k + 2) % 3
                packets[at + (9 + k) * LANES] = (v[i] * normal[j] - v[j] * normal[i]) / squared
                packets[at + (12 + k) * LANES] = (normal[i] * u[j] - normal[j] * u[i]) / squared
                packets[at + (15 + k) * LANES] = normal[k] / np.sqrt(squared)
        packets[at + 18 * LANES] = 1 / length_u if length_u > 0 else 0.0
        packets[at + 19 * LANES] = 1 / length_v if length_v > 0 else 0.0
        packets[at + 20 * LANES] = 1 / length_w if length_w > 0 else 0.0
    return packets


@numba.njit(cache=True, nogil=True)
def _boxes(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the nodes of boxes, level by level from the packets up, and their first children."""
    packets = (len(faces) + LANES - 1) // LANES
    count, level = 0, packets
    while level > 1 or count == 0:
        level = (level + LANES - 1) // LANES
        count += level
    boxes = np.zeros((count, BOX_ROWS, LANES))
    boxes[:, 12:] = -np.inf
    child = np.empty(count, np.int64)
    axes, low, high = np.empty((3, 3)), np.empty(3), np.empty(3)
    node, below, children, span = 0, 0, packets, LANES
    while node < count:
        for n in range(children):
            at, lane = node + n // LANES, n % LANES
            if lane == 0:
                child[at] = below + n
            run = order[n * span : (n + 1) * span]
            _turn(vertices, faces, run, axes)
            low[:], high[:] = np.inf, -np.inf
            for f in run:
                for corner in range(3):
                    vertex = faces[f, corner]
                    for k in range(3):
                        x = axes[k, 0] * vertices[vertex, 0]
                        x += axes[k, 1] * vertices[vertex, 1]
                        x += axes[k, 2] * vertices[vertex, 2]
                        low[k], high[k] = min(low[k], x), max(high[k], x)
            for k in range(3):
                boxes[at, k, lane] = low[k] / 2 + high[k] / 2
                boxes[at, 12 + k, lane] = high[k] / 2 - low[k] / 2
                for i in range(3):
                    boxes[at, 3 + 3 * k + i, lane] = axes[k, i]
        below += children
        children = (children + LANES - 1) // LANES
        node += children
        span *= LANES
    return boxes.ravel(), child


@numba.njit(cache=True, nogil=True)
def _turn(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], run: NDArray[np.int64], axes: NDArray[np.float64]
) -> None:
    """Set the axes of a run's box: the last along its faces' mean normal, where it has one and few faces.

    The other two complete the basis by Duff et al., "Building an orthonormal basis, revisited", JCGT 6, 1 (2017).
    """
    axes[:] = 0.0
    for k in range(3):
        axes[k, k] = 1.0
    if len(run) > TURNED_FACES:
        return
    normal = np.zeros(3)
    for f in run:
        a, b, c = faces[f]
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            normal[k] += (vertices[b, i] - vertices[a, i]) * (vertices[c, j] - vertices[a, j])
            normal[k] -= (vertices[b, j] - vertices[a, j]) * (vertices[c, i] - vertices[a, i])
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    if not length > 0:
        return
    x, y, z = normal / length
    sign = 1.0 if z >= 0 else -1.0
    a = -1 / (sign + z)
    axes[0, 0], axes[0, 1], axes[0, 2] = 1 + sign * x * x * a, sign * x * y * a, -sign * x
    axes[1, 0], axes[1, 1], axes[1, 2] = x * y * a, sign + y * y * a, -y
    axes[2, 0], axes[2, 1], axes[2, 2] = x, y, z
