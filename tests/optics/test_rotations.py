from itertools import pairwise

import numpy as np
import pytest

from msl_store.errors import UsageError
from msl_store.optics.rotations import SIMULATED_ORDER, VIEWS, published_rotation, view_rotation

MICROSCOPES = ("conf1", "conf2", "epi1")


def test_the_order_of_simulation_holds_every_view_once():
    assert sorted(SIMULATED_ORDER) == sorted(VIEWS)
    assert VIEWS == ("0", "x90", "x180", "y90", "y180", "z90")


@pytest.mark.parametrize("matrix", [view_rotation(v) for v in VIEWS] + [published_rotation("epi1", v) for v in VIEWS])
def test_rotations_are_exact_and_proper(matrix):
    assert matrix.dtype == np.float64
    assert set(matrix.ravel()) <= {-1.0, 0.0, 1.0}
    assert not np.signbit(matrix[matrix == 0]).any()
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
    assert round(np.linalg.det(matrix)) == 1


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("0", [1, 2, 3]),
        ("x90", [1, 3, -2]),
        ("x180", [1, -2, -3]),
        ("y90", [3, 2, -1]),
        ("y180", [-1, 2, -3]),
        ("z90", [2, -1, 3]),
    ],
)
def test_views_turn_row_vectors(view, expected):
    np.testing.assert_array_equal(np.array([1.0, 2.0, 3.0]) @ view_rotation(view), expected)


@pytest.mark.parametrize("view", VIEWS)
def test_conf1_shows_the_view_itself(view):
    np.testing.assert_array_equal(published_rotation("conf1", view), view_rotation(view))


@pytest.mark.parametrize("microscope", ["conf2", "epi1"])
def test_the_others_turn_on_from_the_view_before(microscope):
    for before, view in pairwise(SIMULATED_ORDER):
        expected = published_rotation(microscope, before) @ view_rotation(view)
        np.testing.assert_array_equal(published_rotation(microscope, view), expected)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="view 'x45' is unknown; allowed are 0, x90"):
        view_rotation("x45")
    with pytest.raises(UsageError, match="microscope 'sim' has no published images; conf1, conf2 and epi1 have"):
        published_rotation("sim", "0")
    with pytest.raises(UsageError, match="view 'z180' is unknown"):
        published_rotation("conf2", "z180")
