"""Show what becomes of the real instance 1 beside damaged neighbours: on a disk, in a bucket and over plain HTTP.

``python tests/benchmarks/real_input.py [--json] [--instance ../shared/data/3dmsl/1]``

Three zips hold the published instance under several ids, some of them damaged in one way each; they are ingested with
`msl-ingest` to a folder and to an S3 server, verified there and through a web server that cannot list, and compared
with what numpy, tifffile and plain Python read from the published files.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "ingest"))

from benchmarks.measuring import Goal, show
from damaged_zips import Damage, whole_instance, write_damaged
from servers.s3 import S3Server
from servers.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from servers.s3 import Bucket

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "3dmsl" / "1"
MAIN = "from ingest.cli import main; main()"
INSTANCES, COMPLETE, SET_ASIDE = 15, 3, 1
PARTIAL_EXIT = 6


@dataclass(frozen=True)
class Outcome:
    """What the tools said.

    Attributes
    ----------
    found : list of dict
        The findings of the ingest to a folder.
    checks : dict of str to bool
        Everything that must hold, by what it is.
    """

    found: list[dict[str, Any]]
    checks: dict[str, bool]


def msl_ingest(arguments: Sequence[str]) -> tuple[int, str]:
    """Run the tool in a process of its own; return its exit code and what it printed."""
    done = subprocess.run([sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def play(
    zips: Path, work: Path, bucket: Bucket, web: Callable[[Path], WebServer], tool: Callable[..., tuple[int, str]]
) -> Outcome:
    """Ingest and verify everywhere, and read back over plain HTTP."""
    import msl_store

    checks: dict[str, bool] = {}
    options = [f"--option={key}={json.dumps(value)}" for key, value in bucket.storage_options.items()]
    places: dict[str, tuple[str, list[str]]] = {
        "folder": (str(work / "library.zarr"), []),
        "S3": (f"{bucket.url}/library.zarr", options),
    }
    reports = {}
    for name, (url, extra) in places.items():
        code, text = tool(["-q", "zips", str(zips), url, "--json", *extra])
        reports[name] = json.loads(text)
        checks[f"{name}: ingest ends with exit code {PARTIAL_EXIT}"] = code == PARTIAL_EXIT
    served = web(work)
    places["HTTP"] = (f"{served.url}/library.zarr", [])
    for name, (url, extra) in places.items():
        code, text = tool(["-q", "verify", str(zips), url, "--json", *extra])
        found = json.loads(text)
        same = code == 0 and not found["differences"] and found["instances"] == INSTANCES
        checks[f"{name}: verify compares {INSTANCES} instances and finds no difference"] = same
    checks["folder and S3: same findings"] = reports["folder"]["findings"] == reports["S3"]["findings"]
    counted = [reports["folder"][name] for name in ("instances", "complete", "set_aside")]
    checks[f"{INSTANCES} instances, {COMPLETE} complete, {SET_ASIDE} set aside"] = counted == [
        INSTANCES, COMPLETE, SET_ASIDE,
    ]  # fmt: skip
    library = msl_store.open(places["HTTP"][0])
    checks["HTTP: the one set aside is not among the instances"] = 21 not in library and len(library) == INSTANCES - 1
    bucket_library = msl_store.open(places["S3"][0], bucket.storage_options)
    checks["folder and S3: same digest"] = library.digest == bucket_library.digest != ""
    return Outcome(reports["folder"]["findings"], checks)


def equals_published(library: Any, number: int, files: Mapping[str, bytes]) -> bool:
    """Whether an instance holds exactly what numpy, tifffile and plain Python read from the published files."""
    import tifffile

    from msl_store.schema import VIEWS

    instance = library.instance(number)
    words = files["raw_mesh.off"].split()
    vertices, faces = int(words[1]), int(words[2])
    positions = np.array([float(word) for word in words[4 : 4 + 3 * vertices]]).reshape(-1, 3)
    corners = np.array([int(word) for word in words[4 + 3 * vertices :]]).reshape(faces, 4)[:, 1:]
    queries = np.load(io.BytesIO(files["occupancies.npz"]))
    names = ("Conf1_imgs/N_0", "Conf2_imgs/0", "Epi1_imgs/0")
    images = [[tifffile.imread(io.BytesIO(files[f"{name}_1_{view}.tif"])) for view in VIEWS] for name in names]
    return bool(
        np.array_equal(instance.mesh.vertices, positions.astype(np.float32))
        and np.array_equal(instance.mesh.faces, corners)
        and instance.occupancy.points.tobytes() == queries["points"].tobytes()
        and np.array_equal(instance.occupancy.inside_bits, queries["occupancies"])
        and np.array_equal(instance.occupancy.loc, queries["loc"])
        and instance.occupancy.scale == queries["scale"]
        and np.array_equal(instance.images, np.array(images))
    )


def unexplained(found: Sequence[Mapping[str, Any]], damages: Sequence[Damage]) -> tuple[list[str], list[str]]:
    """Return which damages no finding names, and which findings name no damage."""

    def fits(finding: Mapping[str, Any], damage: Damage) -> bool:
        return (
            damage.place in finding["place"]
            and re.search(damage.reason, finding["reason"]) is not None
            and finding["instance"] == damage.instance
        )

    unnamed = [damage.name for damage in damages if not any(fits(finding, damage) for finding in found)]
    spurious = [
        f"{finding['place']}: {finding['reason']}"
        for finding in found
        if not any(fits(finding, damage) for damage in damages)
    ]
    return unnamed, spurious


def main() -> None:
    """Build the zips, play, print."""
    import msl_store

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--instance", type=Path, default=PUBLISHED, help="folder of the published instance 1")
    options = parser.parse_args()
    if not (options.instance / "raw_mesh.off").is_file():
        sys.exit(
            f"the published instance 1 is not at {os.path.relpath(options.instance)}; "
            "unpack it there, or name its folder with --instance"
        )
    files = whole_instance(options.instance)
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
        damages = write_damaged(scratch / "zips", files)
        server = held.enter_context(S3Server())
        bucket = server.create_bucket("benchmark")
        (scratch / "served").mkdir()

        def web(folder: Path) -> WebServer:
            return held.enter_context(WebServer(folder))

        outcome = play(scratch / "zips", scratch / "served", bucket, web, msl_ingest)
        library = msl_store.open(f"{web(scratch / 'served').url}/library.zarr")
        for number in (1, 2, 30):
            name = f"HTTP: instance {number} is bit for bit what numpy and tifffile read"
            outcome.checks[name] = equals_published(library, number, files)
    unnamed, spurious = unexplained(outcome.found, damages)
    rows = [
        {"instance": "" if row["instance"] is None else row["instance"], "place": row["place"], "reason": row["reason"]}
        for row in outcome.found
    ]
    goals = [
        Goal(f"damages of {len(damages)} that no finding names", len(unnamed), 0),
        Goal("findings beyond the damages", len(spurious), 0),
        *(Goal(name, int(holds), 1, at_least=True) for name, holds in outcome.checks.items()),
    ]
    for text in (*unnamed, *spurious):
        print(f"unexplained: {text}", file=sys.stderr)
    show("findings of the ingest", rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
