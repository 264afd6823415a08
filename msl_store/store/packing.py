"""Some arrays and facts as one stored object: compressed, checked by checksums, the same bytes every time."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import IntegrityError
from msl_store.store.sharding import decode_chunk, encode_chunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_LENGTH_BYTES = 8


def pack(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any] | None = None) -> bytes:
    """Return arrays by name, and facts of JSON types, as bytes for `unpack`.

    The bytes start with the length of a JSON header; each array follows as a chunk of a library would be stored.
    """
    bodies = [encode_chunk(array) if array.size else b"" for array in arrays.values()]
    held = [
        {"name": name, "dtype": array.dtype.newbyteorder("<").str, "shape": array.shape, "bytes": len(body)}
        for (name, array), body in zip(arrays.items(), bodies, strict=True)
    ]
    header = json.dumps({"arrays": held, "facts": dict(facts or {})}).encode()
    return b"".join([len(header).to_bytes(_LENGTH_BYTES, "little"), header, *bodies])


def unpack(data: bytes | memoryview, place: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the facts that `pack` made bytes of.

    Raises
    ------
    IntegrityError
        The bytes are cut short or changed; the message names `place`.
    """
    view = memoryview(data)
    start = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(bytes(view[_LENGTH_BYTES:start]))
    except ValueError as error:
        raise IntegrityError(f"{place}: {error}; remove it and run this again") from error
    arrays = {}
    for held in header["arrays"]:
        stop = start + held["bytes"]
        dtype = np.dtype(held["dtype"])
        if math.prod(held["shape"]):
            arrays[held["name"]] = decode_chunk(view[start:stop], held["shape"], dtype, f"{place}: {held['name']}")
        else:
            arrays[held["name"]] = np.empty(held["shape"], dtype)
        start = stop
    return arrays, header["facts"]
