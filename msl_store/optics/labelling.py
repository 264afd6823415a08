"""Labelling: where fluorophores sit, how bright each is, and how that changes from frame to frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh
from msl_store.geometry.inside import inside
from msl_store.optics.described import Described
from msl_store.optics.emitters import NM2_PER_EMITTER, emitter_count, sample_emitters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

PLACES = ("surface", "volume", "both")
"""``surface``: the outer membrane. ``volume``: the matrix. ``both``: each at its own density."""

_BATCH = 2**18  # candidates tested for being inside at a time
_MOST = 10**9  # candidates in the box of a shape


@dataclass(frozen=True, kw_only=True)
class Labelling(Described):
    """How a structure is labelled. The default is that of the published images.

    Attributes
    ----------
    where : {"surface", "volume", "both"}
        See `PLACES`.
    per_um2 : float
        Emitters per um^2 of the surface.
    per_um3 : float
        Emitters per um^3 of the volume.
    brightness_spread : float
        Standard deviation of the emitters' brightness over its mean, which is 1; brightness is log-normal.
    bleach_frames : float, optional
        Mean number of frames, exposed continuously, until an emitter that is on bleaches, for good. None: never.
    on_frames, off_frames : float, optional
        Mean duration, in frames, of an emitter's bright and dark periods, both exponential. Both or neither.

    Raises
    ------
    UsageError
        A value is outside what is allowed; the message names the field.
    """

    where: str = "surface"
    per_um2: float = 1e6 / NM2_PER_EMITTER
    per_um3: float = 1000.0
    brightness_spread: float = 0.0
    bleach_frames: float | None = None
    on_frames: float | None = None
    off_frames: float | None = None

    def __post_init__(self) -> None:
        self._check_text("where", PLACES)
        for item in ("per_um2", "per_um3", "brightness_spread"):
            self._check_number(item, least=0)
        for item in ("bleach_frames", "on_frames", "off_frames"):
            self._check_number(item, above=0, optional=True)
        if (self.on_frames is None) != (self.off_frames is None):
            raise self._refusal("on_frames and off_frames", (self.on_frames, self.off_frames), "both given, or neither")

    @property
    def fills(self) -> bool:
        """Whether emitters lie inside a shape, which must be closed for it."""
        return self.where != "surface"

    @property
    def timed(self) -> bool:
        """Whether emitters blink or bleach."""
        return self.bleach_frames is not None or self.on_frames is not None


LABELLINGS: Mapping[str, Labelling] = MappingProxyType(
    {"outer-membrane": Labelling(), "matrix": Labelling(where="volume"), "both": Labelling(where="both")}
)
"""Labellings by name; the outer membrane's is that of the published images."""


def get_labelling(labelling: str | Labelling | None) -> Labelling:
    """Return a labelling as it is, the one of `LABELLINGS` by its name, or that of the published images for None.

    Raises
    ------
    UsageError
        There is no such labelling; the message lists them.
    """
    if isinstance(labelling, Labelling):
        return labelling
    if labelling is None:
        return Labelling()
    if labelling not in LABELLINGS:
        raise UsageError(f"labelling {labelling!r} is unknown; allowed are a Labelling and {', '.join(LABELLINGS)}")
    return LABELLINGS[labelling]


def label(
    vertices_um: NDArray[Any], faces: NDArray[Any], labelling: Labelling, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Place emitters on the surface of a closed mesh, inside it, or both.

    Parameters
    ----------
    vertices_um : ndarray, shape (n_vertex, 3)
        Positions in um.
    faces : ndarray of int, shape (n_face, 3)
        Vertex indices.
    labelling : Labelling
        Where, and how densely. The surface carries its area times the density, rounded; the volume's emitters are a
        Poisson process.
    rng : numpy.random.Generator
        Where the randomness comes from.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        Positions in um in the frame of the vertices, those of the surface first.

    Raises
    ------
    UsageError
        The arrays are not a mesh, emitters inside are asked for and it is open, or there would be too many.
    """
    points = []
    if labelling.where in ("surface", "both"):
        count = emitter_count(vertices_um, faces, labelling.per_um2)
        points.append(sample_emitters(vertices_um, faces, rng, count))
    if labelling.fills:
        points.append(_inside(vertices_um, faces, labelling.per_um3, rng))
    return points[0] if len(points) == 1 else np.concatenate(points)


def _inside(
    vertices_um: NDArray[Any], faces: NDArray[Any], per_um3: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    vertices, corners = checked_mesh(vertices_um, faces)
    if not len(corners):
        return np.empty((0, 3))
    used = vertices[np.unique(corners)]
    low, side = used.min(axis=0), np.ptp(used, axis=0)
    mean = float(np.prod(side)) * per_um3
    if not mean <= _MOST:
        raise UsageError(f"labelling: per_um3 {per_um3:g} puts {mean:.3g} emitters in the box; at most {_MOST} can be")
    left = int(rng.poisson(mean))
    kept = []
    while left:
        batch = low + rng.random((min(left, _BATCH), 3)) * side
        kept.append(batch[inside(vertices, corners, batch)])
        left -= len(batch)
    return np.concatenate(kept) if kept else np.empty((0, 3))


def brightness_of(
    labelling: Labelling, count: int, rng: np.random.Generator, *, frames: int | range | None = None
) -> NDArray[np.float64]:
    """Draw the brightness of emitters, one by one independent.

    Parameters
    ----------
    labelling : Labelling
        Spread, blinking and bleaching.
    count : int
        How many emitters.
    rng : numpy.random.Generator
        Where the randomness comes from.
    frames : int or range, optional
        Consecutive frames, from 0 or as given. A frame does not depend on which others are asked for. Without it
        there is no time: emitters neither blink nor bleach.

    Returns
    -------
    ndarray of float64, shape (count,) or (frame, count)
        Brightness, of mean 1 among emitters that are on.

    Raises
    ------
    UsageError
        `frames` are none, or not consecutive from 0 or later.
    """
    bright = np.ones(count)
    if labelling.brightness_spread:
        # a log-normal of mean 1 and standard deviation c has the logarithmic variance log(1 + c^2)
        variance = math.log1p(labelling.brightness_spread**2)
        bright = np.exp(rng.standard_normal(count) * math.sqrt(variance) - variance / 2)
    if frames is None:
        return bright
    return bright * brightness_trace(
        count,
        frames,
        rng,
        on_frames=labelling.on_frames,
        off_frames=labelling.off_frames,
        bleach_frames=labelling.bleach_frames,
    )


def brightness_trace(
    count: int,
    frames: int | range,
    rng: np.random.Generator,
    *,
    on_frames: float | None = None,
    off_frames: float | None = None,
    bleach_frames: float | None = None,
) -> NDArray[np.float64]:
    """Return the share of every frame for which each emitter is on.

    The model of the paper's ``brightness_trace``: dark and bright periods alternate, both exponential, and light is
    integrated over frames. There every trace began dark, within ten frames of its start, and no emitter bleached;
    here it starts in equilibrium, on with probability ``on / (on + off)``, and may bleach while on.

    Parameters
    ----------
    count : int
        How many emitters.
    frames : int or range
        Consecutive frames of length 1, from 0 or as given. Later frames do not change those before.
    rng : numpy.random.Generator
        Where the randomness comes from.
    on_frames, off_frames : float, optional
        Mean duration of bright and dark periods; without them emitters are always on.
    bleach_frames : float, optional
        Mean time on until an emitter bleaches.

    Returns
    -------
    ndarray of float64, shape (frame, count)
        0 to 1.

    Raises
    ------
    UsageError
        `frames` are none, or not consecutive from 0 or later.
    """
    wanted = range(frames) if isinstance(frames, int) else frames
    if not wanted or wanted.step != 1 or wanted.start < 0:
        raise UsageError(f"frames is {frames}, but must be 1 or more, or a range of consecutive frames from 0 or later")
    on_mean, off_mean = (on_frames, off_frames) if on_frames and off_frames else (math.inf, 0.0)
    on = rng.random(count) < (on_mean / (on_mean + off_mean) if off_mean else 1.0)
    left = rng.exponential(bleach_frames, count) if bleach_frames else np.full(count, math.inf)
    now = np.zeros(count)
    lit = np.zeros((len(wanted), count))
    while (going := (now < wanted.stop) & (left > 0)).any():
        # every emitter draws every time, so that its periods do not depend on how long others are followed
        lasts = np.minimum(rng.exponential(1.0, count) * np.where(on, on_mean, off_mean), wanted.stop)
        lasts = np.where(on, np.minimum(lasts, left), lasts)
        _light(lit, wanted.start, going & on, now, now + lasts)
        left -= np.where(on, lasts, 0.0)
        now, on = now + lasts, ~on
    return lit


@numba.njit(cache=True, nogil=True)
def _light(lit: Any, first: int, shining: Any, starts: Any, ends: Any) -> None:
    # adds the overlap of [start, end] with every frame, lit's first row being that of the first frame
    for e in np.flatnonzero(shining):
        start, end = max(starts[e], float(first)), min(ends[e], float(first + len(lit)))
        for frame in range(int(start), math.ceil(end)):
            lit[frame - first, e] += min(end, frame + 1.0) - max(start, float(frame))
