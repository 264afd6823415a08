"""What storage libraries raise, turned into this project's errors."""

from __future__ import annotations

import re
import sys
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msl_store.errors import IntegrityError, MissingError, MSLError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRIED = re.compile(r"after (?P<retries>\d+) retries, max_retries: \d+, retry_timeout: \S+\s+- (?P<last>.*)")
_ANSWER = re.compile(r"<Error>\s*<Code>(?P<code>[^<]*)</Code>\s*<Message>(?P<message>[^<]*)</Message>")
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"')


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what storage libraries raise into this project's errors, naming the place."""
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    remedy = "check the address, the credentials and the network"
    if "://" not in place or place.startswith("file://"):
        remedy = "check the path, its permissions and the room on the disk"
    try:
        yield
    except MSLError:
        raise
    except (NotFoundError, FileNotFoundError, KeyError) as error:
        raise MissingError(f"{place}: there is no such object; check the URL") from error
    except (AlreadyExistsError, FileExistsError) as error:
        raise FileExistsError(place) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise IntegrityError(f"{place}: {error}; copy the zip file again") from error
    except _client_errors(BaseError) as error:
        raise NetworkError(f"{place}: {_reason(error)}; {remedy}") from error


def _reason(error: Exception) -> str:
    """Return in one line why a client failed.

    Of obstore's errors, what an S3 server says; else without how it was retried, and with the innermost cause, which
    only the debug text names.
    """
    first, _, more = str(error).strip().partition("\n")
    said = _ANSWER.search(more)
    if said is not None:
        return f"the server answers {said['code']}: {said['message']}"
    tried = _RETRIED.search(first)
    if tried is None:
        return first
    causes = _CAUSE.findall(more)
    return f"{tried['last']} ({tried['retries']} retries){': ' + causes[-1] if causes else ''}"


def refuse_if_short(place: str, held: int, wanted: tuple[int, int | None]) -> None:
    """Raise `IntegrityError` where an object ends before a range does: that, not the network, is why it failed."""
    start, stop = wanted
    if stop is not None and held < stop:
        raise IntegrityError(
            f"{place}: bytes {start} to {stop} were asked for, but it has {held}: it is shorter than its index says; "
            "copy or ingest it again"
        )


def is_passing(error: object) -> bool:
    """Whether an error of a web client may be gone at the next try: a broken connection, or a server at its limits."""
    if "aiohttp" not in sys.modules:
        return False
    status = getattr(error, "status", 500)
    broken = isinstance(error, sys.modules["aiohttp"].ClientError | ConnectionError | TimeoutError)
    return broken and (status == 429 or status >= 500)


def _client_errors(obstore: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what obstore raises, what operating systems do, and what the clients behind fsspec do that are loaded.

    A client that another thread is importing just now lacks them still, and has raised nothing.
    """
    errors = [
        ("aiohttp", "ClientError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
    ]
    found = (getattr(sys.modules.get(module), name, None) for module, name in errors)
    return (obstore, OSError, RuntimeError, *(error for error in found if error is not None))
