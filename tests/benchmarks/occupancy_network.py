"""Train a small occupancy network from a remote sample library on one core, and again from the local files.

``python tests/benchmarks/occupancy_network.py [--json] [--instances 240] [--zips DIR] [--steps 600] [--delay-ms 30]``

The task: from 2,048 surface points without normals tell which query points are inside. The network sees, for every
query, the offsets to twelve of its ninety nearest surface points, joins what it makes of each by maximum and mean, and
answers (5,000 weights). It never sees the test split of the library, which is frozen by a hash of the ids. The score is
the intersection over union of answers and truth on 2,048 queries of an instance, averaged over the test instances.

Beside it stands the best one can do without learning from the distance to the nearest point alone: call inside what is
nearer than a threshold, chosen on the training split. Both trainings must give the same score to the last digit.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show
from benchmarks.sample_archives import add_options, sample
from servers.proxy import DelayProxy
from servers.web import WebServer

import msl_store as msl
from msl_store.stream import Batches, Cloud, Queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msl_store.library import Library

FIELDS = {"points": Queries(2048), "cloud": Cloud(2048)}
SIZE = 8

NEIGHBOURS = (1, 2, 4, 6, 9, 13, 18, 25, 35, 48, 64, 90)
"""Which of the nearest surface points a query looks at: closely at the first, widely at the last."""

NEAR, ANY = 512, 256
"""Queries to train on: the nearest to the surface, which are hard, and any others."""

THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.08)
"""Distances in the normalized frame that are tried for the answer without learning."""

TIMES_BASELINE = 2.0
MINUTES = 5.0


class Network(nn.Module):
    """From offsets to neighbours, shape (..., neighbour, 4) with the distance last, to a logit of being inside."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.all = nn.Sequential(
            nn.Linear(2 * width + 1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, near: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (...)."""
        distance, first = near[..., 3:], near[..., :1, 3:]
        direction = near[..., :3] / (distance + 1e-6)
        seen = self.each(torch.cat([10 * near, direction, distance / (first + 1e-3)], -1))
        joined = torch.cat([seen.amax(-2), seen.mean(-2), 10 * first[..., 0, :]], -1)
        logits: torch.Tensor = self.all(joined)[..., 0]
        return logits


def neighbours(tree: cKDTree, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the offsets from points to their neighbours and the distances, shape (point, neighbour, 4)."""
    distance, index = tree.query(points, list(NEIGHBOURS))
    return np.concatenate([tree.data[index] - points[:, None], distance[..., None]], -1).astype(np.float32)


def hard_ones(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return neighbours and answers of the queries that are worth training on."""
    near, inside = [], []
    for points, answers, cloud in zip(batch["points"], batch["points.inside"], batch["cloud"], strict=True):
        tree = cKDTree(cloud)
        order = np.argsort(tree.query(points)[0], kind="stable")
        chosen = np.concatenate([order[:NEAR], np.sort(order[NEAR:])[:ANY]])
        near.append(neighbours(tree, points[chosen]))
        inside.append(answers[chosen])
    return torch.from_numpy(np.stack(near)), torch.from_numpy(np.stack(inside))


def all_of_them(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return neighbours and answers of all queries."""
    near = [neighbours(cKDTree(cloud), points) for points, cloud in zip(batch["points"], batch["cloud"], strict=True)]
    return torch.from_numpy(np.stack(near)), torch.from_numpy(batch["points.inside"])


def train(library: Library, steps: int, *, seed: int = 0) -> tuple[Network, float, Batches]:
    """Train on a library's training split; return the network, its last loss and the stream that fed it."""
    torch.manual_seed(seed)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    batches = Batches(library.select(split="train"), FIELDS, SIZE, seed=seed, transform=hard_ones)
    done, loss = 0, torch.zeros(())
    while done < steps:
        for near, inside in batches:
            loss = functional.binary_cross_entropy_with_logits(network(near), inside.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
            if done == steps:
                break
    return network, float(loss.detach()), batches


def overlap(answers: torch.Tensor, inside: torch.Tensor) -> NDArray[np.float64]:
    """Return the intersection over union of every instance of a batch; 1 where both are empty."""
    both, either = (answers & inside).sum(-1), (answers | inside).sum(-1)
    return np.where(either > 0, both / either.clamp(min=1), 1.0)


def score(network: Network, library: Library, split: str = "test") -> float:
    """Return the mean intersection over union on a split."""
    found = []
    with torch.no_grad():
        for near, inside in Batches(library.select(split=split), FIELDS, SIZE, shuffle=None, transform=all_of_them):
            found.append(overlap(network(near) > 0, inside))
    return float(np.concatenate(found).mean())


def baseline(library: Library) -> float:
    """Return the score on the test split of the threshold on the distance that is best on the training split."""

    def scores(split: str) -> NDArray[np.float64]:
        found = [
            [overlap(near[..., 0, 3] < threshold, inside) for threshold in THRESHOLDS]
            for near, inside in Batches(library.select(split=split), FIELDS, SIZE, shuffle=None, transform=all_of_them)
        ]
        return np.concatenate(found, axis=-1).mean(axis=-1)

    return float(scores("test")[np.argmax(scores("train"))])


def measure(options: argparse.Namespace, places: dict[str, str]) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Train from every place, and compare."""
    table, found = [], []
    for name, place in places.items():
        library = msl.open(place)
        began = time.perf_counter()
        network, loss, batches = train(library, options.steps)
        seconds = time.perf_counter() - began
        reached = score(network, library)
        found.append((reached, loss, [weights.numpy().tobytes() for weights in network.state_dict().values()]))
        table.append(
            {
                "from": name,
                "steps": options.steps,
                "loss": f"{loss:.9f}",
                "test IoU": f"{reached:.9f}",
                "train s": seconds,
                "waited s": batches.stats.wait_s,
                "MB": batches.stats.bytes / 1e6,
                "kB an instance": batches.stats.bytes_per_instance / 1e3,
            }
        )
    without = baseline(msl.open(places["local files"]))
    table.append({"from": "nearest distance alone, local files", "test IoU": f"{without:.9f}"})
    goals = [
        Goal(
            "trainings that end in the same weights, loss and score to the digit",
            found.count(found[0]),
            2,
            at_least=True,
        ),
        Goal("test IoU over that of the nearest distance alone", found[0][0] / without, TIMES_BASELINE, at_least=True),
        Goal("minutes of training from the remote library", table[0]["train s"] / 60, MINUTES),
    ]
    return table, goals


def main() -> None:
    """Make the sample library, serve it, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--delay-ms", type=float, default=30.0)
    add_options(parser, instances=240, archives=2)
    options = parser.parse_args()
    # one thread for the network: the same sums in the same order, and the other cores for the stream
    torch.set_num_threads(1)
    with ExitStack() as held:
        zips, work = held.enter_context(sample(options))
        from ingest.archive import open_source
        from ingest.repack import ingest
        from msl_store.store import locate

        ingest(open_source([str(path) for path in zips]), locate(work / "library.zarr"))
        web = held.enter_context(WebServer(work))
        proxy = held.enter_context(DelayProxy(web.url, delay_s=options.delay_ms / 1e3))
        remote = f"web server, {options.delay_ms:g} ms a request"
        rows, goals = measure(options, {remote: f"{proxy.url}/library.zarr", "local files": str(work / "library.zarr")})
        count = len(msl.open(work / "library.zarr"))
    title = f"occupancy network, {count} instances, batches of {SIZE}, 1 core"
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
