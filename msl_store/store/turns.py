"""Many requests at the same time from synchronous code: one event loop a process, and turns at using the network."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

S = TypeVar("S")
T = TypeVar("T")

REQUESTS_AT_ONCE = 256
"""Requests under way at the same time for one read; each takes a connection, of which a process has about 1,000."""


@cache
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """Return this process's event loop, which runs in a thread of its own so that notebooks' loops are left alone."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=f"msl-store-io-{pid}", daemon=True).start()
    return loop


class Turns:
    """At most `REQUESTS_AT_ONCE` requests of one read are under way at the same time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._queue = asyncio.Lock()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Take some turns, waiting in line for them."""
        async with self._queue:
            for _ in range(count):
                await self._free.acquire()
        try:
            yield
        finally:
            for _ in range(count):
                self._free.release()


def together(
    work: Callable[[S, Turns], Coroutine[Any, Any, T]], items: Sequence[S], each: Callable[[int, T], None]
) -> list[T]:
    """Run one coroutine an item, all at the same time, from synchronous code; hand each result on in a thread."""

    async def one(place: int, item: S, turns: Turns) -> T:
        result = await work(item, turns)
        await asyncio.get_running_loop().run_in_executor(None, each, place, result)
        return result

    async def gathered() -> list[T]:
        turns = Turns()
        return await asyncio.gather(*(one(place, item, turns) for place, item in enumerate(items)))

    return asyncio.run_coroutine_threadsafe(gathered(), _loop(os.getpid())).result()
