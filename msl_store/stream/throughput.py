"""Figures of a stream: what it has delivered, fetched and waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msl_store.library import Library


class Fetched:
    """What this process has fetched since now from where a library lies, and its edition where it has one."""

    def __init__(self, library: Library) -> None:
        libraries = [library] if library.edition is None else [library, library.edition]
        self._traffic = [each.store.objects.traffic for each in libraries]
        self._before = [(traffic.requests, traffic.bytes) for traffic in self._traffic]

    @property
    def requests(self) -> int:
        """Requests that were answered."""
        return sum(now.requests - then for now, (then, _) in zip(self._traffic, self._before, strict=True))

    @property
    def bytes(self) -> int:
        """Bytes of the answers' bodies."""
        return sum(now.bytes - then for now, (_, then) in zip(self._traffic, self._before, strict=True))


@dataclass(frozen=True)
class Throughput:
    """What the batches of this process have cost so far.

    Attributes
    ----------
    batches, instances : int
        Delivered.
    seconds : float
        From the first request for a batch on, the time in which the batches were used included.
    wait_s : float
        Of these, spent waiting for a batch. Near 0, the stream is faster than what uses it.
    requests, bytes : int
        Fetched from the library's place and its edition's, answers' bodies; of everything that is read there meanwhile
        in this process, and in the workers of a loader.
    held_bytes : int
        Most bytes that batches being read and waiting to be taken held at once, as estimated; of a loader's workers
        together.
    """

    batches: int = 0
    instances: int = 0
    seconds: float = 0.0
    wait_s: float = 0.0
    requests: int = 0
    bytes: int = 0
    held_bytes: int = 0

    @property
    def instances_per_s(self) -> float:
        """Instances delivered a second of waiting and using."""
        return self.instances / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_instance(self) -> float:
        """Bytes fetched for every instance delivered; those read ahead are among them."""
        return self.bytes / self.instances if self.instances else 0.0

    def __str__(self) -> str:
        """Return one line for people."""
        return (
            f"{self.instances} instances in {self.batches} batches, {self.instances_per_s:.0f}/s, waited "
            f"{self.wait_s:.2f} of {self.seconds:.2f} s; {self.requests} requests, {self.bytes / 1e6:.1f} MB, "
            f"{self.bytes_per_instance / 1e3:.1f} kB an instance"
        )
