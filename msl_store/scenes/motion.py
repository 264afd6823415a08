"""How a scene moves: drift, rotation, wandering and smooth deformation, all functions of the frame's number.

Random paths are smooth Gaussian processes with a squared-exponential covariance, drawn by random Fourier features
(Rahimi & Recht, "Random features for large-scale kernel machines", NIPS 2007): a sum of cosines at random frequencies.
So any frame is computed without those before it, in any order, on any worker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError
from msl_store.optics.described import Described
from msl_store.scenes.scene import MOTION, checked_seed, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.scenes.scene import Placed, Scene

FEATURES = 64
"""Cosines of a random path or field."""

MOST_STRAIN = 0.05
"""Largest deformation relative to its length scale. Below a slope of 1 everywhere, space cannot fold; the greatest
slope of 312 fields was then 0.61.
"""

AT_ONCE = 8192
"""Points whose waves are in memory together."""

_WANDER, _TUMBLE, _DEFORMATION = range(3)


@dataclass(frozen=True, kw_only=True)
class Motion(Described):
    """How a scene moves; frame 0 is the scene at rest.

    Every shape wanders and turns about its own middle; then the deformation, one field for the whole scene, displaces
    all of space, so that shapes which were disjoint stay so; then everything drifts.

    Attributes
    ----------
    drift_um : tuple of float
        Of the whole scene, in um a frame along (x, y, z).
    spin_deg : float
        Rotation of every shape in degrees a frame, right-handed about `spin_axis`.
    spin_axis : tuple of float
        Direction (x, y, z) of the spin's axis; (0, 0, 1) is the optical axis.
    wander_um : float
        Standard deviation of each shape's own smooth random path along each axis.
    tumble_deg : float
        Standard deviation of each shape's own smooth random rotation about each axis.
    deformation_um : float
        Standard deviation of the displacement along each axis, at most 0.05 `deformation_length_um`.
    deformation_length_um : float
        Distance over which the displacement changes (standard deviation of its Gaussian covariance).
    correlation_frames : float
        Frames over which random paths, rotations and the deformation change.
    seed : int
        Chooses the random paths.

    Raises
    ------
    UsageError
        A value is outside what is allowed; the message names the field.
    """

    drift_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spin_deg: float = 0.0
    spin_axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    wander_um: float = 0.0
    tumble_deg: float = 0.0
    deformation_um: float = 0.0
    deformation_length_um: float = 2.0
    correlation_frames: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        for name in ("drift_um", "spin_axis"):
            value = tuple(float(part) for part in np.ravel(getattr(self, name)))
            if len(value) != 3 or not np.isfinite(value).all():
                raise UsageError(f"motion: {name} is {getattr(self, name)!r}, but must be three numbers (x, y, z)")
            object.__setattr__(self, name, value)
        if not any(self.spin_axis):
            raise UsageError("motion: spin_axis is (0, 0, 0), but must have a direction")
        for item in ("wander_um", "tumble_deg", "deformation_um"):
            self._check_number(item, least=0)
        for item in ("deformation_length_um", "correlation_frames"):
            self._check_number(item, above=0)
        self._check_number("spin_deg")
        if self.deformation_um > MOST_STRAIN * self.deformation_length_um:
            raise UsageError(
                f"motion: deformation_um is {self.deformation_um:g}, but must be at most {MOST_STRAIN:g} of "
                f"deformation_length_um, {self.deformation_length_um:g}: more would fold space over"
            )


def moved(scene: Scene, motion: Motion, frame: int) -> Scene:
    """Return a scene as it is in a frame: a scene again, with meshes, emitters and poses.

    Parameters
    ----------
    scene : Scene
        At rest.
    motion : Motion
        How it moves.
    frame : int
        Which frame, 0 or more; frame 0 is the scene at rest, to the bit.

    Raises
    ------
    UsageError
        `frame` is negative, or the scene has been moved already.
    """
    if scene.motion:
        raise UsageError(f"the scene is frame {scene.frame} of a motion already; move the scene at rest")
    if frame < 0:
        raise UsageError(f"frame {frame}: allowed is 0 or more")
    if frame == 0:
        return scene
    placed = tuple(_moved(item, number, motion, frame) for number, item in enumerate(scene.placed))
    return replace(scene, placed=placed, frame=frame, motion=motion.to_dict())


def displacement(motion: Motion, points_um: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
    """Return how far the deformation has displaced points (n, 3) by a frame, in um; zero at frame 0.

    Of each wave, ``cos(angle + turn) - cos(angle) = -2 sin(turn / 2) sin(angle + turn / 2)``; single precision leaves
    errors of 1e-6 of the deformation.
    """
    moves = np.zeros(points_um.shape)
    if motion.deformation_um == 0:
        return moves
    rng = stream(MOTION, motion.seed, _DEFORMATION)
    waves = rng.normal(size=(3, FEATURES)) / motion.deformation_length_um
    pulse, phase, amplitude = _features(rng, motion)
    half = pulse * frame / 2
    weights = (-2 * motion.deformation_um * np.sin(half)[:, None] * amplitude).astype(np.float32)
    for first in range(0, len(points_um), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        angle = (points_um[part] @ waves + (phase + half)).astype(np.float32)
        moves[part] = np.sin(angle, out=angle) @ weights
    return moves


def _moved(item: Placed, number: int, motion: Motion, frame: int) -> Placed:
    from scipy.spatial.transform import Rotation

    axis = np.array(motion.spin_axis) / np.linalg.norm(motion.spin_axis)
    tumble = np.radians(motion.tumble_deg) * _path(motion, frame, _TUMBLE, number)
    spin = Rotation.from_rotvec(np.radians(motion.spin_deg * frame) * axis)
    # row vectors turn by the transpose
    turn = (Rotation.from_rotvec(tumble) * spin).as_matrix().T
    wandered = item.position_um + motion.wander_um * _path(motion, frame, _WANDER, number)
    drift = np.array(motion.drift_um) * frame

    def there(points_um: NDArray[np.float64]) -> NDArray[np.float64]:
        points: NDArray[np.float64] = (points_um - item.position_um) @ turn + wandered
        points += displacement(motion, points, frame) + drift
        return points

    return replace(
        item,
        vertices_um=there(item.vertices_um),
        emitters_um=there(item.emitters_um),
        rotation=item.rotation @ turn,
        position_um=there(item.position_um[None])[0],
    )


def _path(motion: Motion, frame: int, purpose: int, number: int) -> NDArray[np.float64]:
    """Return a smooth random path of unit standard deviation less its start, shape (3,)."""
    pulse, phase, amplitude = _features(stream(MOTION, motion.seed, purpose, number), motion)
    path: NDArray[np.float64] = (np.cos(pulse * frame + phase) - np.cos(phase)) @ amplitude
    return path


def _features(
    rng: np.random.Generator, motion: Motion
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    pulse = rng.normal(size=FEATURES) / motion.correlation_frames
    phase = rng.uniform(0, 2 * np.pi, FEATURES)
    return pulse, phase, np.sqrt(2 / FEATURES) * rng.normal(size=(FEATURES, 3))
