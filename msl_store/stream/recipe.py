"""Everything that is asked for of some instances, read together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.contents import INDEX_COLUMNS
from msl_store.errors import MissingError, UsageError
from msl_store.stream.draws import Draw
from msl_store.stream.form import refuse_no_form, whole
from msl_store.stream.images import ROTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from msl_store.library import Library
    from msl_store.store import Cut
    from msl_store.stream.form import Form, Reader, Sample

Arrays = dict[str, Any]
"""Arrays by name: of one instance, or of a batch with the instances as first axis. Always with ``id``."""


class Recipe:
    """The fields asked for of a library, and the instances that have them all.

    Parameters
    ----------
    library : Library
        Where they are.
    fields : mapping of str to Form
        What to read, by the name that it shall have in a batch.
    seed : int
        What is drawn of an instance depends on (seed, epoch, id, name) alone.

    Raises
    ------
    UsageError
        A name cannot be one, nothing is asked for, or the library has no such thing.
    MissingError
        No instance has all that is asked for.
    """

    def __init__(self, library: Library, fields: Mapping[str, Form], *, seed: int) -> None:
        refuse_no_form(library, fields)
        bad = [name for name in fields if not name.isidentifier() or name == "id"]
        if bad or not fields:
            raise UsageError(f"fields {bad or 'none'}: allowed are names such as points or image, at least one; not id")
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
            raise UsageError(f"seed {seed!r}: allowed is an integer, 0 to 2**63 - 1")
        self.fields = dict(fields)
        self.seed = seed
        self._library = library
        library.imaged.store.columns((*INDEX_COLUMNS, ROTATION))  # in one round trip, for all readers
        self._readers: dict[str, Reader] = {name: form.of(library) for name, form in self.fields.items()}
        self.places = np.flatnonzero(np.logical_and.reduce([reader.has for reader in self._readers.values()]))
        if not len(self.places):
            having = ", ".join(f"{name}: {int(reader.has.sum())}" for name, reader in self._readers.items())
            raise MissingError(f"{library.url}: none of {len(library)} instances has all that is asked for ({having})")
        self.ids = library.ids[self.places]
        self.rows = library.rows_of(self.ids)
        self.computes = any(reader.computes for reader in self._readers.values())

    def __len__(self) -> int:
        return len(self.places)

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Ids of the library's instances that lack something of what is asked for."""
        return np.setdiff1d(self._library.ids, self.ids)

    @property
    def digest(self) -> str:
        """What identifies the instances, whatever their order."""
        return hashlib.sha256(np.sort(self.ids).astype("<i8").tobytes()).hexdigest()[:16]

    def nbytes(self, chosen: NDArray[np.int64]) -> int:
        """Return about how much memory some instances take while they are read and as a batch."""
        places = self.places[chosen]
        return sum(reader.nbytes(places) for reader in self._readers.values())

    def samples(
        self, chosen: Sequence[int], *, epoch: int, executor: Executor | None = None
    ) -> list[dict[str, Sample]]:
        """Read some instances, numbered as in `ids`, in one go.

        Parameters
        ----------
        chosen : sequence of int
            Which, in which order.
        epoch : int
            What is drawn depends on it.
        executor : Executor, optional
            Runs what computes, an instance at a time.

        Returns
        -------
        list of dict
            Every instance's arrays of every field.
        """
        wanted: list[tuple[Reader, int, list[Cut], Any]] = []
        for number in chosen:
            draw = Draw(self.seed, epoch, int(self.ids[number]))
            place = int(self.places[number])
            for name, reader in self._readers.items():
                wanted.append((reader, place, *reader.cuts(place, draw.stream(name))))
        values = self._read(wanted)

        def sample(place: int) -> Sample:
            reader, _, _, notes = wanted[place]
            return reader.sample(values[place], notes)

        mapped: Callable[..., Iterable[Sample]] = map if executor is None or not self.computes else executor.map
        made = iter(list(mapped(sample, range(len(wanted)))))
        return [{name: next(made) for name in self._readers} for _ in chosen]

    def _read(self, wanted: Sequence[tuple[Reader, int, list[Cut], Any]]) -> list[list[NDArray[Any]]]:
        """Read the cuts of all that is wanted, those of one store together."""
        values: list[list[NDArray[Any]]] = [[] for _ in wanted]
        for store in {id(reader.store): reader.store for reader in self._readers.values()}.values():
            mine = [place for place, (reader, _, _, _) in enumerate(wanted) if reader.store is store]
            found = iter(store.cut([cut for place in mine for cut in wanted[place][2]]))
            for place in mine:
                values[place] = [next(found) for _ in wanted[place][2]]
        return values

    def single(self, number: int, samples: Mapping[str, Sample]) -> Arrays:
        """Return one instance's arrays under their full names."""
        named = {name + part: whole(value) for name, sample in samples.items() for part, value in sample.items()}
        return {"id": self.ids[number], **named}

    def batch(self, chosen: Sequence[int], samples: Sequence[Mapping[str, Sample]]) -> Arrays:
        """Return the arrays of some instances joined into a batch."""
        arrays: Arrays = {"id": self.ids[list(chosen)]}
        for name, reader in self._readers.items():
            joined = reader.stacked([sample[name] for sample in samples])
            arrays |= {name + part: value for part, value in joined.items()}
        return arrays
