"""Place instances of a library in one field at random, under rules for overlap and border."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from msl_store.errors import IntegrityError, MissingError, UsageError
from msl_store.geometry.inside import inside
from msl_store.geometry.topology import topology
from msl_store.optics.labelling import Labelling, get_labelling, label
from msl_store.scenes.scene import EMITTERS, PLACING, Placed, Scene, checked_seed, stream
from msl_store.shapes import VOXEL_UM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from msl_store.library import Library

Overlap = Literal["allow", "forbid", "forbid_projected"]
Border = Literal["inside", "cut"]
Turning = Literal["free", "axial", "none"]

ATTEMPTS = 300
"""Poses tried for an instance before the field counts as full."""


@dataclass(frozen=True, eq=False)
class _Shape:
    """A library's mesh in um about the middle of its box, and how far its surface reaches from its vertices."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.uint32]
    middle_um: NDArray[np.float64]
    reach_um: float


@dataclass(frozen=True)
class _Rules:
    depth_um: float | None
    overlap: Overlap
    border: Border
    turning: Turning
    gap_um: float


def compose(
    library: Library,
    ids: ArrayLike,
    *,
    field_um: float | tuple[float, float],
    seed: int = 0,
    depth_um: float | None = None,
    overlap: Overlap = "allow",
    border: Border = "inside",
    turning: Turning = "free",
    gap_um: float = 0.0,
    labelling: str | Labelling | None = None,
) -> Scene:
    """Place instances in one field, each in a random pose.

    The same library, ids, seed and rules give the same scene. An instance is placed by random sequential addition, the
    largest first: poses are drawn until one obeys the rules.

    Parameters
    ----------
    library : Library
        With meshes; they are read in two round trips.
    ids : sequence of int
        Which instances; an id given twice is placed twice, with emitters of its own.
    field_um : float or tuple of float
        Extent of the field in um, (y, x) where they differ.
    seed : int
        Chooses poses and emitters; not negative.
    depth_um : float, optional
        Thickness of the slab in which all shapes lie whole; without it all middles lie at z = 0.
    overlap : {"allow", "forbid", "forbid_projected"}
        ``forbid``: no two shapes share space. ``forbid_projected``: nor do they lie above each other, so that their
        silhouettes are disjoint. Shapes are kept apart by their vertices, so that they never come nearer than
        `gap_um`, but may be refused a place that is nearer than the edge of their triangles.
    border : {"inside", "cut"}
        ``inside``: shapes lie whole in the field. ``cut``: the middle of their box does; the border may cut them.
    turning : {"free", "axial", "none"}
        Rotations uniform over all, about the optical axis only, or none.
    gap_um : float
        Least distance between surfaces where overlap is forbidden (in the projection with ``forbid_projected``).
    labelling : str or Labelling, optional
        Where emitters are and how they shine, or the name of one of `msl_store.optics.labelling.LABELLINGS`; that of
        the published images where it is not given. With blinking or bleaching, every frame has its own brightness.

    Returns
    -------
    Scene

    Raises
    ------
    UsageError
        An argument is outside what is allowed, the field is full, or a shape to be filled is open.
    MissingError
        The library has no such instance, or not its mesh.
    """
    extent = _checked_field(field_um)
    rules = _checked(_Rules(None if depth_um is None else float(depth_um), overlap, border, turning, float(gap_um)))
    wanted = [int(instance) for instance in np.atleast_1d(np.asarray(ids, np.int64))]
    if not wanted:
        raise UsageError("ids: a scene of no instances; give one or more")
    seed, labelling = checked_seed(seed), get_labelling(labelling)
    shapes = _shapes(library, wanted)
    copies = [Counter(wanted[:place])[instance] for place, instance in enumerate(wanted)]
    sizes = [-float(np.linalg.norm(np.ptp(shapes[instance].vertices, axis=0))) for instance in wanted]
    found: dict[int, Placed] = {}
    for place in sorted(range(len(wanted)), key=lambda place: (sizes[place], place)):
        instance = wanted[place]
        others = [(item, shapes[item.id]) for item in found.values()]
        found[place] = _placed(instance, copies[place], shapes[instance], others, extent, rules, seed, labelling)
    source = {
        "library": library.url,
        "digest": library.digest,
        "license": library.license,
        "citation": library.attributes.get("citation", ""),
        "rules": asdict(rules),
    }
    return Scene(tuple(found[place] for place in range(len(wanted))), extent, seed, source, labelling=labelling)


def recompose(library: Library, values: Mapping[str, Any]) -> Scene:
    """Build the scene that ``Scene.to_dict`` described, poses included.

    Raises
    ------
    IntegrityError
        The library's content is not what the scene was composed from.
    UsageError
        A value is missing.
    """
    try:
        source = {name: values[name] for name in ("library", "digest", "license", "citation", "rules")}
        seed, extent = checked_seed(values["seed"]), _checked_field(tuple(values["field_um"]))
        labelling = Labelling.from_dict(values["labelling"])
        poses = [
            (int(entry["id"]), np.array(entry["rotation"], float), np.array(entry["position_um"], float))
            for entry in values["instances"]
        ]
    except KeyError as error:
        raise UsageError(f"scene: {error} is missing; allowed is what Scene.to_dict returns") from error
    if source["digest"] != library.digest:
        raise IntegrityError(
            f"{library.url}: has the digest {library.digest}, the scene was composed from a library with "
            f"{source['digest']} ({source['library']}); open that one"
        )
    shapes = _shapes(library, [instance for instance, _, _ in poses])
    counted: Counter[int] = Counter()
    placed = []
    for instance, rotation, position in poses:
        placed.append(_at(instance, counted[instance], shapes[instance], rotation, position, seed, labelling))
        counted[instance] += 1
    return Scene(tuple(placed), extent, seed, source, labelling=labelling)


def _checked_field(field_um: float | tuple[float, ...]) -> tuple[float, float]:
    extent = np.broadcast_to(np.asarray(field_um, float), (2,)) if np.size(field_um) in (1, 2) else np.zeros(2)
    if not (np.isfinite(extent) & (extent > 0)).all():
        raise UsageError(f"field_um {field_um!r}: allowed is a positive length in um, or a pair of them (y, x)")
    return float(extent[0]), float(extent[1])


def _checked(rules: _Rules) -> _Rules:
    for name, value, allowed in (
        ("overlap", rules.overlap, get_args(Overlap)),
        ("border", rules.border, get_args(Border)),
        ("turning", rules.turning, get_args(Turning)),
    ):
        if value not in allowed:
            raise UsageError(f"{name} {value!r}: allowed are {', '.join(allowed)}")
    if rules.depth_um is not None and not 0 < rules.depth_um < np.inf:
        raise UsageError(f"depth_um {rules.depth_um}: allowed is a positive length in um, or None")
    if not 0 <= rules.gap_um < np.inf:
        raise UsageError(f"gap_um {rules.gap_um}: allowed is a length in um, 0 or more")
    return rules


def _shapes(library: Library, ids: Sequence[int]) -> dict[int, _Shape]:
    voxel_um = float(library.attributes.get("voxel_um", VOXEL_UM))
    shapes = {}
    different = list(dict.fromkeys(ids))
    for instance in library.instances(different, parts=("mesh",), batch=len(different)):
        mesh = instance.mesh
        if mesh is None or not len(mesh.faces):
            raise MissingError(f"{library.url}: instance {instance.id} has no mesh; leave it out of the scene")
        middle = mesh.box()[0] * voxel_um
        vertices = mesh.vertices_um(voxel_um) - middle
        corners = vertices[mesh.faces]
        longest = float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max())
        # Three balls about a triangle's corners cover it where their radius is its longest side / sqrt(3).
        shapes[instance.id] = _Shape(vertices, mesh.faces, middle, longest / np.sqrt(3))
    return shapes


def _placed(
    instance: int,
    copy: int,
    shape: _Shape,
    others: Sequence[tuple[Placed, _Shape]],
    field_um: tuple[float, float],
    rules: _Rules,
    seed: int,
    labelling: Labelling,
) -> Placed:
    rng = stream(PLACING, seed, instance, copy)
    for rotation, position in _poses(rng, shape, field_um, rules):
        candidate = shape.vertices @ rotation + position
        if all(_apart(candidate, shape, other, theirs, rules) for other, theirs in others):
            return _at(instance, copy, shape, rotation, position, seed, labelling)
    extent = np.ptp(shape.vertices, axis=0)
    depth = "" if rules.depth_um is None else f", {rules.depth_um:g} um deep"
    raise UsageError(
        f"instance {instance}, {' x '.join(f'{side:.2f}' for side in extent)} um large, found no place in "
        f"{field_um[0]:g} x {field_um[1]:g} um{depth} beside {len(others)} others in {ATTEMPTS} draws (overlap "
        f"{rules.overlap}, border {rules.border}); enlarge field_um or depth_um, place fewer, or relax the rules"
    )


def _poses(
    rng: np.random.Generator, shape: _Shape, field_um: tuple[float, float], rules: _Rules
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield random poses that obey the rules for border and depth."""
    from scipy.spatial.transform import Rotation

    room = np.array([field_um[1], field_um[0], rules.depth_um or 0.0])
    for _ in range(ATTEMPTS):
        turn, share = rng.normal(size=4), rng.random(3)
        if rules.turning == "axial":
            turn[:2] = 0
        rotation = np.eye(3) if rules.turning == "none" else Rotation.from_quat(turn).as_matrix()
        turned = shape.vertices @ rotation
        low, high = turned.min(axis=0), turned.max(axis=0)
        first, last = -room / 2 - low, room / 2 - high
        if rules.border == "cut":
            first[:2], last[:2] = -room[:2] / 2, room[:2] / 2
        if rules.depth_um is None:
            first[2] = last[2] = 0
        if (first <= last).all():
            yield rotation, first + share * (last - first)


def _at(
    instance: int,
    copy: int,
    shape: _Shape,
    rotation: NDArray[np.float64],
    position: NDArray[np.float64],
    seed: int,
    labelling: Labelling,
) -> Placed:
    # emitters are drawn on the shape as the library has it, so that they do not depend on the pose
    try:
        emitters = label(shape.vertices, shape.faces, labelling, stream(EMITTERS, seed, instance, copy))
    except UsageError as error:
        raise UsageError(f"instance {instance}: {error}") from error
    vertices = shape.vertices @ rotation + position
    return Placed(instance, copy, vertices, shape.faces, emitters @ rotation + position, rotation, position)


def _apart(vertices: NDArray[np.float64], shape: _Shape, other: Placed, theirs: _Shape, rules: _Rules) -> bool:
    """Say whether two shapes are certainly disjoint, by the rule."""
    from scipy.spatial import KDTree

    if rules.overlap == "allow":
        return True
    axes = slice(0, 2 if rules.overlap == "forbid_projected" else 3)
    reach = rules.gap_um + shape.reach_um + theirs.reach_um
    mine, taken = vertices[:, axes], other.vertices_um[:, axes]
    low = np.maximum(mine.min(axis=0), taken.min(axis=0)) - reach
    high = np.minimum(mine.max(axis=0), taken.max(axis=0)) + reach
    mine, taken = (points[((points >= low) & (points <= high)).all(axis=1)] for points in (mine, taken))
    if not len(mine) or not len(taken):
        return True
    distance, _ = KDTree(taken).query(mine, distance_upper_bound=np.nextafter(reach, np.inf))
    if np.isfinite(distance).any():
        return False
    # surfaces apart: in space, one may still enclose the other
    return rules.overlap == "forbid_projected" or not (
        _encloses(other.vertices_um, other.faces, vertices) or _encloses(vertices, shape.faces, other.vertices_um)
    )


def _encloses(vertices: NDArray[np.float64], faces: NDArray[np.uint32], points: NDArray[np.float64]) -> bool:
    within = ((points > vertices.min(axis=0)) & (points < vertices.max(axis=0))).all(axis=1)
    return bool(within.any() and topology(vertices, faces).closed and inside(vertices, faces, points[within]).any())
