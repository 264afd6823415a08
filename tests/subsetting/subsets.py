"""Subsets of the small library, and what it means that two libraries read alike."""

from __future__ import annotations

import shutil

import numpy as np
import small_library
from hypothesis import strategies as st
from small_library import assert_same, record_of

import msl_store as msl

SHOWN = small_library.shown()

IDS = st.lists(st.sampled_from(SHOWN), unique=True, min_size=1, max_size=8)


def taken_to(place, library, **choice):
    """Make a subset anew at a place on the disk and open it."""
    shutil.rmtree(place, ignore_errors=True)
    msl.subset(library, place, scheduler="synchronous", **choice)
    return msl.open(place)


def assert_reads_alike(one, other):
    """Fail unless two libraries give the same answers."""
    assert one.ids.tolist() == other.ids.tolist()
    assert one.table.drop_attrs().identical(other.table.drop_attrs())
    for found, expected in zip(one.instances(), other.instances(), strict=True):
        assert_same(record_of(found), record_of(expected))
    for instance in one.ids.tolist():
        np.testing.assert_array_equal(one.stored_digest(instance), other.stored_digest(instance))
    assert one.images.drop_attrs().identical(other.images.drop_attrs())
    assert one.rotations.identical(other.rotations)
    assert (one.microscopes, one.views, one.license) == (other.microscopes, other.views, other.license)
    chosen = set(one.ids.tolist())
    assert one.findings == [finding for finding in other.findings if finding["instance"] in chosen]
    for part in ("mesh", "point_cloud", "normals", "occupancy", "images"):
        np.testing.assert_array_equal(one.has_part(part), other.has_part(part))
