"""Several instances in one field: what microscopes see of them, at rest and in motion, and the truth to learn from."""

from msl_store.scenes.lapse import edition_of, timelapse, timelapse_truth
from msl_store.scenes.motion import Motion, moved
from msl_store.scenes.movie import write_movie
from msl_store.scenes.placing import compose, recompose
from msl_store.scenes.rendering import pair, render
from msl_store.scenes.scene import Placed, Scene, field_of
from msl_store.scenes.truth import label_volume, masks, poses

__all__ = [
    "Motion",
    "Placed",
    "Scene",
    "compose",
    "edition_of",
    "field_of",
    "label_volume",
    "masks",
    "moved",
    "pair",
    "poses",
    "recompose",
    "render",
    "timelapse",
    "timelapse_truth",
    "write_movie",
]
