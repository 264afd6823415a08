"""Stages of work on a volume: numbered pieces, each done once, in any order, by any process.

A stage keeps its results in a folder whose name has a digest of everything they depend on. So a run that is repeated
goes on where it was stopped, one with other options starts only what depends on them, and none takes another's results
for its own. Every piece is written whole, and gives the same bytes whoever writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.em.volume import digest_of
from msl_store.blockwise import Outcome, run_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from msl_store.blockwise import Scheduler
    from msl_store.store import Objects

Tell = Any
"""A callable that hears (stage, pieces done, all pieces)."""

READ_AT_ONCE = 512
"""Results that are read together."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    work : Objects
        The work place.
    name : str
        What is done, as in ``labels``.
    digest : str
        Of all that the results depend on.
    """

    work: Objects
    name: str
    digest: str

    @property
    def folder(self) -> str:
        """Where the stage's objects lie in the work place."""
        return f"{self.name}-{self.digest[:16]}"

    def path(self, name: str) -> str:
        """Return the path of an object of the stage."""
        return f"{self.folder}/{name}"

    def next(self, name: str, *depends: Any) -> Stage:
        """Return a stage that stands on this one's results and on some JSON values."""
        return Stage(self.work, name, digest_of(self.digest, name, *depends))

    def finish(self, number: int, result: bytes = b"") -> None:
        """Say that a piece is done, and with what result."""
        self.work.put(self._done(number), result)

    def finished(self) -> set[int]:
        """Return the pieces that are done."""
        return {int(path.rpartition("/")[2]) for path, _ in self.work.list(self.path("done"))}

    def results(self, numbers: Sequence[int]) -> Iterable[bytes]:
        """Yield the results of some pieces, in their order."""
        for start in range(0, len(numbers), READ_AT_ONCE):
            some = numbers[start : start + READ_AT_ONCE]
            for (part,) in self.work.get_many([(self._done(number), None) for number in some]):
                yield bytes(part)

    def run(
        self,
        tasks: Mapping[int, Callable[[], None]],
        *,
        scheduler: Scheduler,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Do the pieces that are not done yet; `run_blocks` says how, and what is raised."""
        done = self.finished() & set(tasks)
        count = len(done)
        progress(self.name, count, len(tasks))

        def tell(outcome: Outcome[None]) -> None:
            nonlocal count
            if outcome.error is None:
                count += 1
                progress(self.name, count, len(tasks))

        run_blocks(
            {number: task for number, task in tasks.items() if number not in done}, scheduler=scheduler, done=tell
        )

    def _done(self, number: int) -> str:
        return self.path(f"done/{number:012d}")
