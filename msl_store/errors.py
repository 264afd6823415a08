"""What can go wrong, each kind with the exit code that the command-line tools return for it."""

from __future__ import annotations


class MSLError(Exception):
    """Any error that this project raises on purpose; the message names place, fault and remedy."""

    exit_code = 1


class UsageError(MSLError, ValueError):
    """An argument is outside what is allowed."""

    exit_code = 2


class MissingError(MSLError, LookupError):
    """What was asked for is not there: a library, an instance, or one of its parts."""

    exit_code = 3

    def __str__(self) -> str:
        """Return the plain message: LookupError's children quote theirs."""
        return str(self.args[0]) if self.args else ""


class NetworkError(MSLError, ConnectionError):
    """A server could not be reached or refused to answer, or a disk could not be read or written."""

    exit_code = 4


class IntegrityError(MSLError, ValueError):
    """Stored or published bytes are not what they should be."""

    exit_code = 5


class FormatError(IntegrityError):
    """A file or library does not follow its format."""


class BusyError(MSLError, RuntimeError):
    """Another run is writing to the same target."""

    exit_code = 2
