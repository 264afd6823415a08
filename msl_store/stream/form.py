"""What a form of data is to a stream: where its values are stored, and how they become arrays of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library
    from msl_store.store import Cut, Store

Sample = dict[str, Any]
"""One instance's arrays of one field, by what is added to the field's name: the field's main array by ``""``.

A tuple of arrays stands for the array that they make one after the other; so their values are copied but once.
"""


class Form(Protocol):
    """What to read of every instance; a frozen dataclass of options, such as `Queries`."""

    def of(self, library: Library) -> Reader:
        """Return what reads this form of a library's instances; `UsageError` where the library has no such thing."""


class Reader(ABC):
    """Reads one form of a library's instances; instances are places in ``library.ids``.

    Attributes
    ----------
    store : Store
        Where the values are stored.
    has : ndarray of bool, shape (instance,)
        Which instances have what is asked for.
    computes : bool
        Whether `sample` does more than copy, and is worth a processor core of its own.
    """

    computes = False

    def __init__(self, store: Store, has: NDArray[np.bool_]) -> None:
        self.store = store
        self.has = has

    @abstractmethod
    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        """Return what to read of an instance, drawn with `rng`, and what `sample` must know of the choice."""

    @abstractmethod
    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        """Turn what was read of an instance into its arrays."""

    def stacked(self, samples: Sequence[Sample]) -> Sample:
        """Join the arrays of a batch's instances."""
        return {name: _stacked([sample[name] for sample in samples]) for name in samples[0]}

    @abstractmethod
    def nbytes(self, places: NDArray[np.int64]) -> int:
        """Return about how much memory a batch of some instances takes: chunks while they are decoded, and arrays."""


def whole(value: Any) -> Any:
    """Return a value of a `Sample`, one given in parts as one array."""
    return np.concatenate(value) if isinstance(value, tuple) else value


def _stacked(values: Sequence[Any]) -> NDArray[Any]:
    if not isinstance(values[0], tuple):
        return np.stack(values)
    first = values[0][0]
    out = np.empty((len(values), sum(map(len, values[0])), *first.shape[1:]), first.dtype)
    for own, parts in zip(out, values, strict=True):
        np.concatenate(parts, out=own)
    return out
