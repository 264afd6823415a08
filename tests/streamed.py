"""Libraries to stream from, and what a stream has delivered in comparable form."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from small_library import build, made_record

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def many() -> Path:
    """The folder of a library of 200 rows, every 23rd of them without a mesh, ids with gaps; read it only."""
    folder = Path(tempfile.mkdtemp(prefix="many-meshes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(
        [made_record(5 + row + row // 7, parts="" if row % 23 == 22 else "m", vertices=8 + row) for row in range(200)],
        folder / "many.zarr",
    )
    return folder / "many.zarr"


def as_plain(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch with its arrays and tensors as bytes and shapes, for comparing with ==."""
    plain: dict[str, Any] = {}
    for name, value in batch.items():
        arrays = value if isinstance(value, list) else [value]
        plain[name] = [(np.asarray(array).shape, np.asarray(array).tobytes()) for array in arrays]
    return plain


def ids_of(batches: Iterable[dict[str, Any]]) -> list[list[int]]:
    """The ids of every batch."""
    return [np.asarray(batch["id"]).tolist() for batch in batches]
