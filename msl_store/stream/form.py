"""What a form of data is to a stream: where its values are stored, and how they become arrays of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from msl_store.errors import MissingError, UsageError
from msl_store.library import refuse_no_library

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


def refuse_no_form(library: Library, fields: Mapping[str, Form]) -> None:
    """Raise `UsageError` where a stream is asked of what is no library, or for what is no form."""
    refuse_no_library(library)
    if not isinstance(fields, Mapping):
        raise UsageError(
            f"fields {fields!r}: allowed is a mapping of names to forms, as in {{'points': Queries(2048)}}"
        )
    for name, form in fields.items():
        if isinstance(form, type) or not hasattr(form, "of"):
            raise UsageError(f"fields: {name} is {form!r}; allowed is a form with its options, as in Queries(2048)")


def refuse_unknown(form: object, **allowed: Any) -> None:
    """Raise `UsageError` where a field of a form has none of the values of a `Literal` type, given by its name."""
    for name, literal in allowed.items():
        value = getattr(form, name)
        if value not in get_args(literal):
            known = ", ".join(map(str, get_args(literal)))
            raise UsageError(f"{type(form).__name__}({name}={value!r}): allowed are {known}")


def refuse_no_integer(form: object, *names: str) -> None:
    """Raise `UsageError` where a field of a form is no integer, given by its name."""
    for name in names:
        value = getattr(form, name)
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise UsageError(f"{type(form).__name__}({name}={value!r}): allowed is an integer")


def refuse_without(library: Library, part: str) -> None:
    """Raise `MissingError` where no instance of a library can have one of the parts."""
    if part not in library.parts:
        there = ", ".join(library.parts).replace("_", " ") or "none"
        raise MissingError(f"{library.url}: has no {part.replace('_', ' ')}; of each instance it has: {there}")


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
