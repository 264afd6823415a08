"""A library's instances by position or id, for frameworks that choose the order themselves."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from msl_store.errors import MissingError, UsageError
from msl_store.stream.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from msl_store.library import Library
    from msl_store.stream.form import Form
    from msl_store.stream.recipe import Arrays


class Instances:
    """A map-style data set: ``len``, ``[position]``, `by_id`; plain numpy, for any framework.

    PyTorch's `DataLoader` takes it as it is, with a sampler of its own, and reads each batch in one go. What is drawn
    of an instance is the same as `Batches` draw: a pure function of the seed, the epoch and the id. Call `set_epoch`
    before every epoch; a loader's workers must be started after it (no ``persistent_workers``).

    Parameters
    ----------
    library : Library
        Which instances; those that lack something of what is asked for are left out.
    fields : mapping of str to Form
        What to read, by the name that it shall have.
    seed : int
        Chooses what is drawn.
    epoch : int
        The first epoch.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    MissingError
        No instance has all that is asked for.
    """

    def __init__(self, library: Library, fields: Mapping[str, Form], *, seed: int = 0, epoch: int = 0) -> None:
        self.library = library
        self._recipe = Recipe(library, fields, seed=seed)
        self._places = {instance: place for place, instance in enumerate(self._recipe.ids.tolist())}
        self.set_epoch(epoch)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.library, self._recipe.fields, self._recipe.seed, self.epoch)

    def __len__(self) -> int:
        return len(self._recipe)

    def __repr__(self) -> str:
        left_out = f", {len(self.left_out)} left out" if len(self.left_out) else ""
        fields = ", ".join(self._recipe.fields)
        return f"<Instances: {fields} of {len(self)}{left_out}, epoch {self.epoch}, at {self.library.url}>"

    def __iter__(self) -> Iterator[Arrays]:
        return (self[place] for place in range(len(self)))

    @property
    def ids(self) -> NDArray[np.int64]:
        """The id of the instance at every position."""
        return self._recipe.ids

    @property
    def left_out(self) -> NDArray[np.int64]:
        """The ids of the library's other instances, which lack something of what is asked for."""
        return self._recipe.left_out

    def set_epoch(self, epoch: int) -> None:
        """Draw as in that epoch from now on."""
        if epoch < 0:
            raise UsageError(f"epoch {epoch}: allowed is 0 or more")
        self.epoch = epoch

    def __getitem__(self, position: int) -> Arrays:
        """Return one instance's arrays, without an axis for the batch."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Arrays]:
        """Return the arrays of some instances, read together; PyTorch's loaders call it for every batch."""
        numbers = [index(position) for position in positions]
        beyond = [number for number in numbers if not -len(self) <= number < len(self)]
        if beyond:
            raise IndexError(
                f"position {beyond[0]}: allowed is {-len(self)} to {len(self) - 1}; by id: Instances.by_id"
            )
        wanted = [number % len(self) for number in numbers]
        samples = self._recipe.samples(wanted, epoch=self.epoch)
        return [self._recipe.single(*pair) for pair in zip(wanted, samples, strict=True)]

    def by_id(self, instance: int) -> Arrays:
        """Return the arrays of the instance with an id.

        Raises
        ------
        MissingError
            There is no such instance, or it lacks something of what is asked for.
        """
        if instance not in self._places:
            why = "it lacks something of what is asked for" if instance in self.library else "it is not there"
            raise MissingError(f"{self.library.url}: instance {instance}: {why}; see Instances.ids")
        return self[self._places[instance]]


def _reopened(library: Library, fields: Mapping[str, Form], seed: int, epoch: int) -> Instances:
    return Instances(library, fields, seed=seed, epoch=epoch)
