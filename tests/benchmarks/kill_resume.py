"""Kill an ingest at random moments, resume it every time, and compare the library with an undisturbed one.

``python tests/benchmarks/kill_resume.py [--json] [--kills 20] [--s3-kills 6] [--instances 256] [--seed 0]``

`msl-ingest zips` runs in a process group that gets SIGKILL (as by ``kill -9``). Three of four kills come at a moment
drawn from the time that an undisturbed run takes; the fourth waits until the last block is there and comes within the
publication. After each kill the target is opened: it must say that it is not finished, or be the whole library. Then
the same command goes on, until it ends before its kill comes; then all objects are compared by name and content,
leftovers among them, and a new library is begun.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show
from benchmarks.sample_archives import add_options, sample
from servers.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msl_store.store import Objects

MAIN = "from ingest.cli import main; main()"
SCHEDULERS = ("threads", "processes")
PUBLICATION_S = 1.5
"""How long after the last block a kill that aims at the publication comes at most."""


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes
    ----------
    aim : {"anywhere", "publication"}
        Which moments it was drawn from.
    scheduler : str
        Of the run that was killed.
    after_s : float
        Seconds after the run's start, or after the last block was there.
    blocks : int
        Finished blocks at the target afterwards.
    opened : {"unfinished", "nothing", "whole"}
        What opening said: that the library is not finished, that none is there (no plan was made yet), or a library.
    """

    aim: Literal["anywhere", "publication"]
    scheduler: str
    after_s: float
    blocks: int
    opened: Literal["unfinished", "nothing", "whole"]


@dataclass
class Trial:
    """What became of many kills: each of them, and everything that was not as it should be."""

    kills: list[Kill] = field(default_factory=list)
    libraries: int = 0
    wrong: list[str] = field(default_factory=list)


class Run:
    """One ingest in a process group of its own."""

    def __init__(self, zips: Sequence[Path], target: Objects, scheduler: str) -> None:
        options = [f"--option={key}={json.dumps(value)}" for key, value in target.storage_options.items()]
        command = [sys.executable, "-c", MAIN, "-q", "zips", *map(str, zips), target.url, "--scheduler", scheduler]
        self.process = subprocess.Popen(
            [*command, *options], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def kill(self) -> None:
        """Kill the whole group and wait until it is gone."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def ended(self, within_s: float) -> bool:
        """Whether the run ends by itself in time; an error that it ends with is raised."""
        try:
            _, said = self.process.communicate(timeout=max(within_s, 0.0))
        except subprocess.TimeoutExpired:
            return False
        if self.process.returncode:
            raise RuntimeError(f"msl-ingest ended with exit code {self.process.returncode}: {said.decode()[-2000:]}")
        return True


def contents(target: Objects) -> dict[str, str]:
    """Return the SHA-256 of everything at a target by its name; on a disk of all files, whatever wrote them."""
    if target.path is not None:
        files = {path.relative_to(target.path).as_posix(): path for path in target.path.rglob("*") if path.is_file()}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}
    return {name: hashlib.sha256(target.get(name)).hexdigest() for name, _ in target.list()}


def clear(target: Objects) -> None:
    """Delete everything at a target."""
    if target.path is not None:
        import shutil

        shutil.rmtree(target.path, ignore_errors=True)
    else:
        for name, _ in target.list():
            target.delete(name)


def finished_blocks(target: Objects) -> int:
    """Return how many blocks have their record at a target."""
    return len(target.list("_unpublished/blocks"))


def difference(found: dict[str, str], expected: dict[str, str]) -> str:
    """Return how two contents differ, '' where they are equal."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    other = sorted(name for name in set(found) & set(expected) if found[name] != expected[name])
    parts = (("missing", missing), ("left over", extra), ("other content", other))
    return "; ".join(f"{what}: {', '.join(names[:4])} ({len(names)})" for what, names in parts if names)


def opened(target: Objects, expected: dict[str, str], trial: Trial) -> Literal["unfinished", "nothing", "whole"]:
    """Open what a kill has left, and note where that is neither nothing nor a whole library."""
    import msl_store

    try:
        msl_store.open(target.url, target.storage_options)
    except msl_store.MissingError as error:
        return "unfinished" if "not finished" in str(error) else "nothing"
    # What only an unpublished library needs may be there still: the next run sweeps it.
    found = {name: digest for name, digest in contents(target).items() if not name.startswith("_unpublished/")}
    if text := difference(found, expected):
        trial.wrong.append(f"a library that opens is not whole after kill {len(trial.kills) + 1}: {text}")
    return "whole"


def killed(run: Run, target: Objects, aim: Literal["anywhere", "publication"], after_s: float, blocks: int) -> bool:
    """Kill a run at its moment; False where it ended before."""
    if aim == "publication":
        while finished_blocks(target) < blocks:
            if run.ended(0.002):
                return False
    if run.ended(after_s):
        return False
    run.kill()
    return True


def torment(
    zips: Sequence[Path], target: Objects, expected: dict[str, str], *, kills: int, duration_s: float, blocks: int,
    rng: random.Random,
) -> Trial:  # fmt: skip
    """Kill runs that write to a target, and check it after every kill and every end."""
    trial = Trial()
    done = False
    while len(trial.kills) < kills or not done:
        last = len(trial.kills) == kills
        scheduler = rng.choice(SCHEDULERS)
        aim: Literal["anywhere", "publication"] = "publication" if len(trial.kills) % 4 == 3 else "anywhere"
        after_s = rng.uniform(0, PUBLICATION_S if aim == "publication" else duration_s)
        run = Run(zips, target, scheduler)
        done = run.ended(600) if last else not killed(run, target, aim, after_s, blocks)
        if not done:
            state = opened(target, expected, trial)
            trial.kills.append(Kill(aim, scheduler, after_s, finished_blocks(target), state))
            continue
        trial.libraries += 1
        if text := difference(contents(target), expected):
            trial.wrong.append(f"library {trial.libraries} is not the undisturbed one: {text}")
        clear(target)
    return trial


def undisturbed(zips: Sequence[Path], target: Objects) -> tuple[dict[str, str], float, int]:
    """Return the contents of a library that nobody disturbed, the seconds it took, and its number of blocks."""
    import msl_store
    from msl_store.layout import blocks_of

    began = time.perf_counter()
    run = Run(zips, target, "threads")
    if not run.ended(600):
        run.kill()
        raise RuntimeError("the undisturbed ingest did not end within 600 s")
    taken = time.perf_counter() - began
    library = msl_store.open(target.url, target.storage_options).with_set_aside()
    return contents(target), taken, len(blocks_of(len(library)))


def main() -> None:
    """Make the zips, kill, print."""
    from msl_store.store import locate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=20, help="of ingests to a folder")
    parser.add_argument("--s3-kills", type=int, default=6, help="of ingests to an S3 server")
    parser.add_argument("--seed", type=int, default=0)
    add_options(parser, instances=256, archives=4)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    libraries = 0
    with ExitStack() as held:
        zips, work = held.enter_context(sample(options))
        expected, duration_s, blocks = undisturbed(zips, locate(work / "undisturbed.zarr"))
        targets = {"folder": (locate(work / "library.zarr"), options.kills)}
        if options.s3_kills:
            bucket = held.enter_context(S3Server()).create_bucket("benchmark")
            targets["S3"] = (locate(f"{bucket.url}/library.zarr", bucket.storage_options), options.s3_kills)
        for place, (target, kills) in targets.items():
            trial = torment(zips, target, expected, kills=kills, duration_s=duration_s, blocks=blocks, rng=rng)
            rows += [{"target": place, "kill": n + 1, **asdict(kill)} for n, kill in enumerate(trial.kills)]
            wrong += [f"{place}: {text}" for text in trial.wrong]
            libraries += trial.libraries
    for text in wrong:
        print(text, file=sys.stderr)
    goals = [
        Goal("kills, each of them resumed", len(rows), options.kills + options.s3_kills, at_least=True),
        Goal(f"half-written libraries that open, or finished ones (of {libraries}) that differ", len(wrong), 0),
    ]
    title = f"{len(expected)} objects, {blocks} blocks, {duration_s:.1f} s undisturbed, seed {options.seed}"
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
