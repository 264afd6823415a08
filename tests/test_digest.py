"""A digest changes with every value, dtype, shape and missing part, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_library import made_record

from msl_store.digest import instance_digest, joint_digest
from msl_store.shapes import Mesh

RECORD = made_record(1)


def digest_of(record, **changes):
    images = record.images
    parts = {
        "mesh": record.mesh,
        "point_cloud": record.point_cloud,
        "occupancy": record.occupancy,
        "images": None if images is None else images.counts,
        "present": None if images is None else images.present,
    }
    return instance_digest(**{**parts, **changes})


def test_equal_content_has_an_equal_digest():
    assert digest_of(made_record(1)) == digest_of(RECORD)
    assert len(digest_of(RECORD)) == 32


def test_a_mesh_counts_as_a_library_stores_it():
    mesh = RECORD.mesh
    other = Mesh(np.asfortranarray(mesh.vertices.astype(">f8")), mesh.faces.astype(np.int64))
    assert digest_of(RECORD, mesh=other) == digest_of(RECORD)


def changed(values):
    copy = np.array(values)
    copy.flat[copy.size // 2] = not copy.flat[0] if copy.dtype == bool else copy.flat[copy.size // 2] + 1
    return copy


@pytest.mark.parametrize(
    "change",
    [
        {"mesh": replace(RECORD.mesh, vertices=changed(RECORD.mesh.vertices))},
        {"mesh": replace(RECORD.mesh, faces=changed(RECORD.mesh.faces))},
        {"mesh": replace(RECORD.mesh, faces=RECORD.mesh.faces[:-1])},
        {"mesh": None},
        {"point_cloud": replace(RECORD.point_cloud, points=changed(RECORD.point_cloud.points))},
        {"point_cloud": replace(RECORD.point_cloud, normals=changed(RECORD.point_cloud.normals))},
        {"point_cloud": replace(RECORD.point_cloud, normals=None)},
        {"point_cloud": None},
        {"occupancy": replace(RECORD.occupancy, points=changed(RECORD.occupancy.points))},
        {"occupancy": replace(RECORD.occupancy, inside_bits=changed(RECORD.occupancy.inside_bits))},
        {"occupancy": replace(RECORD.occupancy, loc=changed(RECORD.occupancy.loc))},
        {"occupancy": replace(RECORD.occupancy, scale=RECORD.occupancy.scale + 1e-9)},
        {"occupancy": None},
        {"images": changed(RECORD.images.counts)},
        {"images": RECORD.images.counts.astype(np.int16)},
        {"images": RECORD.images.counts.reshape(6, 3, 128, 128)},
        {"images": None},
        {"present": np.zeros((3, 6), np.bool_)},
        {"present": None},
    ],
)
def test_any_change_changes_the_digest(change):
    assert digest_of(RECORD, **change) != digest_of(RECORD)


PAIRS = st.lists(st.tuples(st.integers(0, 99_999), st.binary(min_size=32, max_size=32)), max_size=6)


@given(PAIRS, PAIRS)
def test_the_digest_of_a_library_is_of_its_ids_digests_and_order(one, other):
    def joint(pairs):
        return joint_digest([instance for instance, _ in pairs], [digest for _, digest in pairs])

    assert (joint(one) == joint(other)) == (one == other)
    assert len(joint(one)) == 64


def test_as_many_digests_as_ids():
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        joint_digest([1, 2], [b""])
