"""A library of tiny images, quick to publish, that depends on the name of its source."""

from __future__ import annotations

import numpy as np

import msl_store as msl
from msl_store import schema
from msl_store.digest import instance_digest, joint_digest
from msl_store.layout import Layout
from msl_store.schema import edition_arrays
from msl_store.store import BlockWriter, Publication, commit_block, joined

INSTANCES = 70
SIZES = {"microscope": 1, "view": 2, "y": 4, "x": 4}
MICROSCOPE = {"name": "made up", "pixel_um": 0.1, "wavelength_um": 0.6}


def layout_of(instances):
    return Layout(instances, SIZES, arrays=edition_arrays(planes=False, dtype="uint16"))


def publication(objects, *, source="a", instances=INSTANCES):
    return Publication(objects, layout_of(instances), {"source": source}, f"digest of {source}")


def image(source, row):
    return np.full((1, 2, 4, 4), 1 + row + ord(source), np.uint16)


def write(objects, *, source="a", instances=INSTANCES, overwrite=False, **attributes):
    """Publish a tiny library that depends on the source's name; return what state it was found in."""
    this = publication(objects, source=source, instances=instances)
    with this.claimed(overwrite=overwrite) as state:
        if state == "published":
            return state
        for block in set(range(this.layout.blocks)) - this.finished_blocks():
            write_block(this, block, source)
        records = this.records()
        columns = {
            spec.path: joined(records, spec.path, spec.dtype)
            for spec in this.layout.arrays
            if spec.kind == "column" and spec.path in records[0]["columns"]
        }
        columns["instances/findings"] = np.frombuffer(b"[]", np.uint8)
        columns["images/rotation"] = np.broadcast_to(np.eye(3), (1, 2, 3, 3))
        ids = columns["instances/id"]
        digest = joint_digest(ids.tolist(), (one.tobytes() for one in columns["instances/digest"]))
        attributes = {
            "msl_schema_version": 1,
            "title": f"made of {source}",
            "source": source,
            "digest": digest,
            **attributes,
        }
        groups = {
            "instances": schema.instance_attributes(ids, columns["instances/status"]),
            "images": {"microscopes": [MICROSCOPE], "views": ["0", "x90"]},
        }
        this.publish(columns, attributes, groups)
    return state


def write_block(this, block, source):
    writer = BlockWriter(this.layout, block)
    rows = list(this.layout.rows(block))
    for row in rows:
        writer.put("images/counts", row, image(source, row))
    digests = [list(instance_digest(images=image(source, row), present=np.ones((1, 2), bool))) for row in rows]
    columns = {
        "instances/id": rows,
        "instances/status": [0] * len(rows),
        "instances/has_images": [True] * len(rows),
        "instances/digest": digests,
        "images/present": [[[True, True]]] * len(rows),
    }
    commit_block(this.objects, block, writer, {"columns": columns})


def stored(objects):
    return {path: objects.get(path) for path, _ in objects.list()}


def check_is_whole(url, source="a", instances=INSTANCES):
    library = msl.open(url)
    assert library.ids.tolist() == list(range(instances))
    for found in library.instances():
        np.testing.assert_array_equal(found.images, image(source, found.id))
