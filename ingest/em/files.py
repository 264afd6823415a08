"""Volumes that lie in one file: how they are reached, opened in each process and read."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from msl_store.errors import IntegrityError, MSLError
from msl_store.store import Objects, RangeFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest.em.volume import Box


@dataclass(frozen=True)
class FileVolume(ABC):
    """A volume in a file; opens at first use in each process, and pickles.

    Attributes
    ----------
    objects : Objects
        The place that holds the file.
    file : str
        The file's name there.
    """

    objects: Objects
    file: str

    DAMAGE: ClassVar[tuple[type[Exception], ...]]
    """What the library that reads such files raises where one is damaged."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def name(self) -> str:
        """The file's URL."""
        return f"{self.objects.url}/{self.file}"

    def read(self, box: Box) -> NDArray[Any]:
        """Return the labels in a box.

        Raises
        ------
        IntegrityError
            The file is damaged.
        """
        try:
            return self._read(box)
        except MSLError:
            raise
        except self.DAMAGE as error:
            raise IntegrityError(f"{self.name}: {box} cannot be decoded ({error}); fetch the file again") from error

    @abstractmethod
    def _read(self, box: Box) -> NDArray[Any]:
        """Return the labels in a box; raises `DAMAGE`."""


def buffered(objects: Objects, file: str, size: int) -> io.BufferedReader:
    """Return a file, wherever it lies, for reading; so many bytes are fetched together."""
    return io.BufferedReader(RangeFile(objects, file), size)
