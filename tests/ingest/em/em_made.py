"""Libraries made of EM volumes, and what the tests tell them apart by."""

from __future__ import annotations

import msl_store as msl
from ingest.em.library import Plan, ingest_volume
from ingest.em.meshing import Recipe
from ingest.em.objects import Segmentation
from ingest.em.source import Forms

SHAPE = (110, 120, 130)

PLAIN = Forms(sdf=False, images=False)
"""What tells libraries apart most quickly."""


def plan(forms=PLAIN, *, block=64, recipe=None, dust=100, **segmentation):
    return Plan(Segmentation(block=block, dust=dust, **segmentation), recipe or Recipe(), forms)


def made(volume, target, plan, **options):
    """The library of a volume."""
    options = {"scheduler": "synchronous", **options}
    report = ingest_volume(volume, target, plan, **options)
    return report, msl.open(target.url, target.storage_options)


def digests(library):
    return {i: library.stored_digest(i).tobytes() for i in library.with_set_aside().ids.tolist()}
