"""What sets kinds of libraries apart: which arrays they have, how large a voxel is, what is said of their images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.optics.microscope import PRESETS
from msl_store.optics.rotations import published_rotation
from msl_store.shapes import VOXEL_UM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msl_store.schema import ArraySpec


@dataclass(frozen=True)
class LibraryKind:
    """What a library is besides its instances.

    Attributes
    ----------
    edition : str
        What the root says of the images: ``published``, or how they were made.
    voxel_um : float
        Edge of a voxel, the unit of the meshes, in um.
    arrays : tuple of ArraySpec
        Which arrays it has. An instance is complete that has a part in all of them.
    rotations : tuple, shape (microscope, view, row, col)
        The true rotations of the images.
    image_attributes : mapping
        What the group of images says besides microscopes and views.
    provenance : mapping
        What the root says besides, of JSON types.
    """

    edition: str
    voxel_um: float
    arrays: tuple[ArraySpec, ...]
    rotations: tuple[Any, ...]
    image_attributes: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> frozenset[str]:
        """The groups of its arrays."""
        return frozenset(spec.group for spec in self.arrays)

    def attributes_of_images(self) -> dict[str, Any]:
        """Return what the group of images says."""
        return {
            "microscopes": [PRESETS[name].to_dict() for name in schema.MICROSCOPES],
            "views": list(schema.VIEWS),
            **self.image_attributes,
        }


def _published_rotations() -> tuple[Any, ...]:
    turns = [[published_rotation(microscope, view) for view in schema.VIEWS] for microscope in schema.MICROSCOPES]
    return tuple(np.array(turns).tolist())


PUBLISHED_KIND = LibraryKind(
    edition="published",
    voxel_um=VOXEL_UM,
    arrays=schema.ARRAYS,
    rotations=_published_rotations(),
    image_attributes={
        "noise": "conf1: one noise field, the same in every view and instance; conf2 and epi1: independent",
        "emitters": "those below the shape's centre along the optical axis never contributed (measured)",
    },
)
"""Libraries of the published archives."""
