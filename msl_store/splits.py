"""Train, validation and test: which split an instance is in, frozen by a hash of its id; and splits of one's own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")
"""What `instances/split` says by number."""

SHARES = (7, 1, 2)
"""Their shares in tenths, those of the 3DMSL paper."""

RULE = (
    "SHA-256 of the ASCII text '3dmsl-split-1:<id>', the id in decimal; its first 8 bytes as a big-endian integer over "
    "2^64: below 0.7 train, below 0.8 val, else test"
)
"""How an id decides; it never changes, so that an instance stays in its split whatever is added to a library."""


def split_of(ids: Iterable[int]) -> NDArray[np.uint8]:
    """Return the split of some ids, positions in `SPLITS`, by the `RULE`.

    >>> [SPLITS[number] for number in split_of([1, 2, 3, 920])]
    ['train', 'val', 'test', 'train']
    """
    edges = [sum(SHARES[: number + 1]) * 2**64 // 10 for number in range(len(SHARES) - 1)]
    words = (int.from_bytes(hashlib.sha256(b"3dmsl-split-1:%d" % number).digest()[:8], "big") for number in ids)
    return np.array([sum(word >= edge for edge in edges) for word in words], np.uint8)


def refuse_overlap(matches: Mapping[str, NDArray[np.bool_]], ids: NDArray[np.int64]) -> None:
    """Raise `UsageError` where an instance is in two of several splits.

    Parameters
    ----------
    matches : mapping of str to ndarray of bool, shape (instance,)
        Which instances each split has.
    ids : ndarray of int, shape (instance,)
        Their ids, for the message.
    """
    names = list(matches)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            both = ids[matches[one] & matches[other]]
            if len(both):
                shown = ", ".join(map(str, both[:5])) + (", ..." if len(both) > 5 else "")
                raise UsageError(
                    f"splits: {len(both)} instances are in both {one} and {other}: {shown}; give conditions that "
                    "exclude each other, or None to one split for all that the others leave"
                )
