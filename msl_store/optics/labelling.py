"""Labelling: where fluorophores sit, how bright each is, and how that changes from frame to frame."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.inside import inside
from msl_store.optics.emitters import NM2_PER_EMITTER, face_areas, sample_emitters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

PLACES = ("surface", "volume", "both")
"""``surface``: the outer membrane. ``volume``: the matrix. ``both``: each at its own density."""

_BATCH = 2**18  # candidates tested for being inside at a time
_MOST = 10**9  # candidates in the box of a shape


@dataclass(frozen=True, kw_only=True)
class Labelling:
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
        if self.where not in PLACES:
            raise _refusal("where", self.where, f"one of {', '.join(PLACES)}")
        for item in ("per_um2", "per_um3", "brightness_spread", "bleach_frames", "on_frames", "off_frames"):
            value = getattr(self, item)
            timed = item.endswith("_frames")
            if value is None and timed:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (timed and value == 0):
                raise _refusal(item, value, "a number above 0, or None" if timed else "a number, 0 or more")
            object.__setattr__(self, item, float(value))
        if (self.on_frames is None) != (self.off_frames is None):
            raise _refusal("on_frames and off_frames", (self.on_frames, self.off_frames), "both given, or neither")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Labelling:
        """Build a labelling from what `to_dict` returned.

        Raises
        ------
        UsageError
            A field is unknown or outside what is allowed.
        """
        known = [item.name for item in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise UsageError(f"labelling: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
        return cls(**values)


def _refusal(item: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"labelling: {item} is {value!r}, but must be {allowed}")


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
        count = round(float(face_areas(vertices_um, faces).sum()) * labelling.per_um2)
        points.append(sample_emitters(vertices_um, faces, rng, count))
    if labelling.where in ("volume", "both"):
        points.append(_inside(vertices_um, faces, labelling.per_um3, rng))
    return points[0] if len(points) == 1 else np.concatenate(points)


def _inside(
    vertices_um: NDArray[Any], faces: NDArray[Any], per_um3: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    face_areas(vertices_um, faces)  # refuses what is not a mesh
    if not len(faces):
        return np.empty((0, 3))
    used = np.asarray(vertices_um, np.float64)[np.unique(np.asarray(faces))]
    low, side = used.min(axis=0), np.ptp(used, axis=0)
    mean = float(np.prod(side)) * per_um3
    if not mean <= _MOST:
        raise UsageError(f"labelling: per_um3 {per_um3:g} puts {mean:.3g} emitters in the box; at most {_MOST} can be")
    left = int(rng.poisson(mean))
    kept = []
    while left:
        batch = low + rng.random((min(left, _BATCH), 3)) * side
        kept.append(batch[inside(vertices_um, faces, batch)])
        left -= len(batch)
    return np.concatenate(kept) if kept else np.empty((0, 3))


def brightness_of(
    labelling: Labelling, count: int, rng: np.random.Generator, *, frames: int | None = None
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
    frames : int, optional
        Consecutive frames. Without it there is no time: emitters neither blink nor bleach.

    Returns
    -------
    ndarray of float64, shape (count,) or (frames, count)
        Brightness, of mean 1 among emitters that are on.

    Raises
    ------
    UsageError
        `frames` is below 1.
    """
    if frames is not None and frames < 1:
        raise UsageError(f"frames is {frames}, but must be 1 or more")
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
    frames: int,
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
    count, frames : int
        Emitters, and consecutive frames of length 1.
    rng : numpy.random.Generator
        Where the randomness comes from.
    on_frames, off_frames : float, optional
        Mean duration of bright and dark periods; without them emitters are always on.
    bleach_frames : float, optional
        Mean time on until an emitter bleaches.

    Returns
    -------
    ndarray of float64, shape (frames, count)
        0 to 1.
    """
    on_mean, off_mean = (on_frames, off_frames) if on_frames and off_frames else (math.inf, 0.0)
    on = rng.random(count) < (on_mean / (on_mean + off_mean) if off_mean else 1.0)
    left = rng.exponential(bleach_frames, count) if bleach_frames else np.full(count, math.inf)
    since = np.zeros(count)
    lit = np.zeros((frames, count))
    alive = np.arange(count)
    while len(alive):
        burns, begins = on[alive], since[alive]
        lasts = rng.exponential(1.0, len(alive)) * np.where(burns, on_mean, off_mean)
        lasts = np.minimum(np.where(burns, np.minimum(lasts, left[alive]), lasts), frames)
        ends = begins + lasts
        _light(lit, alive[burns], begins[burns], ends[burns])
        left[alive] -= np.where(burns, lasts, 0.0)
        since[alive], on[alive] = ends, ~burns
        alive = alive[(ends < frames) & (left[alive] > 0)]
    return lit


def _light(
    lit: NDArray[np.float64], which: NDArray[np.int64], starts: NDArray[np.float64], ends: NDArray[np.float64]
) -> None:
    # adds the overlap of [start, end] with every frame
    for frame in range(len(lit)):
        lit[frame, which] += np.clip(np.minimum(ends, frame + 1) - np.maximum(starts, frame), 0, None)
