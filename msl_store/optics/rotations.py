"""The six published views as rotation matrices, and what the published images applied in their stead.

Positions are row vectors: a view turns ``p`` (n, 3) into ``p @ R``.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIEWS = ("0", "x90", "x180", "y90", "y180", "z90")
"""The published views: no rotation, or an axis and degrees."""

SIMULATED_ORDER = ("0", "x180", "y180", "x90", "y90", "z90")
"""The order in which the published simulation made the views, each (but in conf1) from the one before."""

INDEPENDENT = frozenset({"conf1"})
"""The published microscopes whose views were rotated one by one, as their names say."""

_QUARTERS = {0: (1.0, 0.0), 90: (0.0, 1.0), 180: (-1.0, 0.0)}


def view_rotation(view: str) -> NDArray[np.float64]:
    """Return the rotation that a view's name stands for.

    Parameters
    ----------
    view : str
        One of `VIEWS`.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        For row vectors; entries are exactly -1, 0 or 1.

    Raises
    ------
    UsageError
        There is no such view.

    Examples
    --------
    >>> np.array([[1.0, 2.0, 3.0]]) @ view_rotation("x90")
    array([[ 1.,  3., -2.]])
    """
    if view not in VIEWS:
        raise UsageError(f"view {view!r} is unknown; allowed are {', '.join(VIEWS)}")
    if view == "0":
        return np.eye(3)
    cosine, sine = _QUARTERS[int(view[1:])]
    matrices = {
        "x": [[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]],
        "y": [[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]],
        "z": [[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]],
    }
    return np.array(matrices[view[0]]) + 0.0  # turns -0 into 0


def published_rotation(microscope: str, view: str) -> NDArray[np.float64]:
    """Return the rotation that the published image of this microscope and view really shows.

    In conf1 it is the view's own. In conf2 and epi1 the simulation turned the shape further from view to view in
    the order of `SIMULATED_ORDER`, so that it is the product of all rotations up to the view's.

    Parameters
    ----------
    microscope : {"conf1", "conf2", "epi1"}
        The published microscope.
    view : str
        One of `VIEWS`.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        For row vectors; entries are exactly -1, 0 or 1.

    Raises
    ------
    UsageError
        There is no such published microscope or view.
    """
    if microscope not in ("conf1", "conf2", "epi1"):
        raise UsageError(f"microscope {microscope!r} has no published images; conf1, conf2 and epi1 have")
    rotation = view_rotation(view)
    if microscope in INDEPENDENT:
        return rotation
    product = np.eye(3)
    for earlier in takewhile(lambda name: name != view, SIMULATED_ORDER):
        product = product @ view_rotation(earlier)
    return product @ rotation + 0.0


def rotation_vectors(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation vector (..., 3) in radians of matrices (..., 3, 3) that act on row vectors from the right.

    The vector's direction is the axis, by the right-hand rule, and its length the angle.

    >>> rotation_vectors(np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])).round(4)
    array([0.    , 0.    , 1.5708])
    """
    out = np.zeros(matrices.shape[:-1])
    for place in np.ndindex(*matrices.shape[:-2]):
        column = matrices[place].T
        angle = float(np.arccos(np.clip((np.trace(column) - 1) / 2, -1, 1)))
        values, vectors = np.linalg.eig(column)
        axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
        skew = np.array([column[2, 1] - column[1, 2], column[0, 2] - column[2, 0], column[1, 0] - column[0, 1]])
        out[place] = angle * axis * (-1 if skew @ axis < 0 else 1)
    return out
