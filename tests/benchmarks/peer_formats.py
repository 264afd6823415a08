"""The ways to read training data that people use today, each as its own documentation says; without this project.

Runs in an environment that has webdataset, mosaicml-streaming, litdata, torch, tifffile and trimesh:

    python tests/benchmarks/peer_formats.py write NAME INSTANCES DESTINATION KEY,KEY,...
    python tests/benchmarks/peer_formats.py read NAME CASE URL CACHE BATCH WORKERS

INSTANCES is a folder of uncompressed ``<id>.npz``. Reading goes through all of it twice, first from the URL and then
from what is cached, and prints a line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SHARD_BYTES = 64 * 2**20
"""What mosaicml-streaming defaults to; the other two recommend about as much."""

CONNECTIONS = 32
"""Files asked for at once where a sample is a file."""

QUERIES = 2048

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "unused", "AWS_SECRET_ACCESS_KEY": "unused", "AWS_DEFAULT_REGION": "us-east-1"}

Sample = dict[str, Any]


def instances(folder: Path, keys: list[str]) -> Iterator[Sample]:
    """Yield every instance's arrays."""
    for path in sorted(folder.glob("*.npz"), key=lambda path: int(path.stem)):
        yield instance(path, keys)


def instance(path: Path, keys: list[str]) -> Sample:
    """Return one instance's arrays."""
    with np.load(path) as arrays:
        return {"id": int(path.stem), **{key: arrays[key] for key in keys}}


def needed(case: str, sample: Sample) -> Sample:
    """Return what a training step takes of a sample: one view, some queries, or all that there is."""
    rng = np.random.default_rng()
    if case in {"images", "points + image"}:
        taken = {"id": int(sample["id"]), "image": np.asarray(sample["conf2"])[rng.integers(6)]}
        if case == "points + image":
            chosen = rng.integers(0, 100_000, QUERIES)
            taken["points"] = np.asarray(sample["points"])[chosen]
            taken["inside"] = (np.asarray(sample["inside"])[chosen // 8] >> (7 - chosen % 8)) & 1
        return taken
    return {key: value if key == "id" else np.array(value) for key, value in sample.items()}


def listed(batch: list[Sample]) -> dict[str, list[Any]]:
    """Collate without stacking, which meshes do not allow."""
    return {key: [sample[key] for sample in batch] for key in batch[0]}


def write_webdataset(source: Path, to: Path, keys: list[str]) -> None:
    """Write tar shards."""
    import webdataset

    with webdataset.ShardWriter(str(to / "%05d.tar"), maxsize=SHARD_BYTES, maxcount=10**9, verbose=0) as sink:
        for sample in instances(source, keys):
            arrays = {f"{key}.npy": value for key, value in sample.items() if key != "id"}
            sink.write({"__key__": str(sample["id"]), **arrays})
    (to / "index.json").write_text(json.dumps(sorted(path.name for path in to.glob("*.tar"))))


def webdataset_loader(case: str, url: str, cache: str, batch: int, workers: int) -> Iterable[Any]:
    """Return a loader of tar shards over HTTP, kept in the cache folder."""
    import torch
    import webdataset

    shards = [f"{url}/{name}" for name in json.loads(fetched(f"{url}/index.json"))]
    data = webdataset.WebDataset(
        shards,
        cache_dir=cache,
        shardshuffle=100,
        workersplitter=webdataset.split_by_worker,
        empty_check=False,
    )
    data = data.shuffle(256, initial=batch).decode().map(partial(from_tar, case))
    return torch.utils.data.DataLoader(data, batch_size=batch, num_workers=workers, collate_fn=listed)


def from_tar(case: str, sample: Sample) -> Sample:
    """Return what is needed of a sample of a tar shard."""
    arrays = {key.removesuffix(".npy"): value for key, value in sample.items() if key.endswith(".npy")}
    return needed(case, {"id": int(sample["__key__"]), **arrays})


def write_mosaic(source: Path, to: Path, keys: list[str]) -> None:
    """Write MDS shards."""
    import streaming

    columns = {"id": "int", **dict.fromkeys(keys, "ndarray")}
    with streaming.MDSWriter(columns=columns, out=str(to), size_limit=SHARD_BYTES) as sink:
        for sample in instances(source, keys):
            sink.write(sample)


def mosaic_loader(case: str, url: str, cache: str, batch: int, workers: int) -> Iterable[Any]:
    """Return a loader of MDS shards over S3's protocol."""
    import streaming
    import torch

    streaming.base.util.clean_stale_shared_memory()
    parts = urlsplit(url)
    os.environ.update(CREDENTIALS, S3_ENDPOINT_URL=f"{parts.scheme}://{parts.netloc}")

    class Needed(streaming.StreamingDataset):  # type: ignore[misc]
        """Takes what is needed of every sample."""

        def __getitem__(self, at: Any) -> Sample:
            return needed(case, super().__getitem__(at))

    data = Needed(remote=f"s3:/{parts.path}", local=cache, shuffle=True, batch_size=batch, predownload=8 * batch)
    return torch.utils.data.DataLoader(data, batch_size=batch, num_workers=workers, collate_fn=listed)


def write_litdata(source: Path, to: Path, keys: list[str]) -> None:
    """Write litdata's chunks."""
    import litdata

    paths = sorted(map(str, source.glob("*.npz")), key=lambda path: int(Path(path).stem))
    litdata.optimize(
        partial(litdata_sample, keys=keys),
        paths,
        output_dir=str(to),
        chunk_bytes=SHARD_BYTES,
        num_workers=1,
        verbose=False,
    )


def litdata_sample(path: str, keys: list[str]) -> Sample:
    """Return one instance's arrays."""
    return instance(Path(path), keys)


def litdata_loader(case: str, url: str, cache: str, batch: int, workers: int) -> Iterable[Any]:
    """Return a loader of litdata's chunks over S3's protocol."""
    import litdata
    import litdata.streaming.downloader as downloader

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it has no option for servers without TLS
    parts = urlsplit(url)
    os.environ.update(CREDENTIALS)
    data = litdata.StreamingDataset(
        f"s3:/{parts.path}",
        cache_dir=cache,
        shuffle=True,
        transform=partial(needed, case),
        storage_options={
            "endpoint_url": f"{parts.scheme}://{parts.netloc}",
            "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            "region_name": CREDENTIALS["AWS_DEFAULT_REGION"],
        },
    )
    return litdata.StreamingDataLoader(data, batch_size=batch, num_workers=workers, collate_fn=listed)


def write_npz(source: Path, to: Path, keys: list[str]) -> None:
    """Write an uncompressed file an instance."""
    for sample in instances(source, keys):
        np.savez(to / f"{sample['id']}.npz", **{key: sample[key] for key in keys})
    (to / "index.json").write_text(json.dumps([path.stem for path in to.glob("*.npz")]))


def npz_loader(case: str, url: str, cache: str, batch: int, workers: int) -> Iterable[Any]:
    """Return a loader of one file a sample, in threads."""
    return Files(partial(npz_sample, case, url, Path(cache)), json.loads(fetched(f"{url}/index.json")), batch)


def npz_sample(case: str, url: str, cache: Path, number: str) -> Sample:
    """Fetch one instance's file."""
    with np.load(BytesIO(kept(f"{url}/{number}.npz", cache))) as arrays:
        return needed(case, {"id": int(number), **arrays})


def plain_loader(case: str, url: str, cache: str, batch: int, workers: int) -> Iterable[Any]:
    """Return a loader of the published files, unpacked, in threads."""
    return Files(partial(plain_sample, case, url, Path(cache)), json.loads(fetched(f"{url}/index.json")), batch)


def plain_sample(case: str, url: str, cache: Path, folder: str) -> Sample:
    """Fetch the files of one instance that a case needs, as a user of the published folders does."""
    import tifffile
    import trimesh

    number = folder.rpartition("/")[2]
    views = ("0", "x90", "x180", "y90", "y180", "z90")

    def image(name: str) -> Any:
        return tifffile.imread(BytesIO(kept(f"{url}/{folder}/{name}", cache)))

    def occupancy() -> dict[str, Any]:
        with np.load(BytesIO(kept(f"{url}/{folder}/occupancies.npz", cache))) as arrays:
            return {"points": arrays["points"], "inside": arrays["occupancies"]}

    def mesh() -> dict[str, Any]:
        found: Any = trimesh.load(BytesIO(kept(f"{url}/{folder}/raw_mesh.off", cache)), file_type="off", process=False)
        return {"vertices": found.vertices, "faces": found.faces}

    sample: Sample = {"id": int(number)}
    if case in {"images", "points + image"}:
        view = np.random.default_rng().choice(views)
        sample["conf2"] = [image(f"Conf2_imgs/0_{number}_{view}.tif")] * 6
        if case == "points + image":
            sample |= occupancy()
        return needed(case, sample)
    if case == "whole":
        cloud: Any = trimesh.load(BytesIO(kept(f"{url}/{folder}/pointcloud.ply", cache)), file_type="ply")
        patterns = ("Conf1_imgs/N_0_{}_{}.tif", "Conf2_imgs/0_{}_{}.tif", "Epi1_imgs/0_{}_{}.tif")
        sample["images"] = [image(pattern.format(number, view)) for pattern in patterns for view in views]
        sample |= {"cloud": cloud.vertices, **occupancy()}
    return needed(case, {**sample, **mesh()})


class Files:
    """Batches of samples that are files, `CONNECTIONS` of them under way at once."""

    def __init__(self, load: Callable[[str], Sample], names: list[str], batch: int) -> None:
        self._load = load
        self._names = names
        self._batch = batch

    def __iter__(self) -> Iterator[dict[str, list[Any]]]:
        names = np.random.default_rng().permutation(self._names).tolist()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            done = pool.map(self._load, names)
            for first in range(0, len(names), self._batch):
                yield listed([next(done) for _ in names[first : first + self._batch]])


def fetched(url: str) -> bytes:
    """Return what a URL holds, over a connection that is kept."""
    import urllib3

    global _POOL  # noqa: PLW0603 (one for all threads)
    if _POOL is None:
        _POOL = urllib3.PoolManager(maxsize=CONNECTIONS)
    answer = _POOL.request("GET", url)
    if answer.status != 200:
        raise OSError(f"{url}: status {answer.status}")
    return bytes(answer.data)


_POOL: Any = None


def kept(url: str, cache: Path) -> bytes:
    """Return what a URL holds, from the cache folder where it has been fetched before."""
    place = cache / urlsplit(url).path.strip("/").replace("/", "_")
    if place.exists():
        return place.read_bytes()
    data = fetched(url)
    place.write_bytes(data)
    return data


LOADERS = {
    "webdataset": webdataset_loader,
    "mosaicml-streaming": mosaic_loader,
    "litdata": litdata_loader,
    "unzipped npz": npz_loader,
    "plain files": plain_loader,
}

WRITERS = {
    "webdataset": write_webdataset,
    "mosaicml-streaming": write_mosaic,
    "litdata": write_litdata,
    "unzipped npz": write_npz,
}

WARMING = {
    "webdataset": "webdataset",
    "mosaicml-streaming": "streaming",
    "litdata": "litdata",
    "plain files": "trimesh",
    "unzipped npz": "urllib3",
}
"""What is imported before the clock starts."""


def timed(loader: Iterable[Any], began: float) -> dict[str, float]:
    """Go through a loader once."""
    first, count = 0.0, 0
    for batch in loader:
        first = first or time.perf_counter() - began
        count += len(next(iter(batch.values())))
    return {
        "first_s": first,
        "seconds": time.perf_counter() - began,
        "samples": count,
        "ended": time.monotonic(),  # the clock of the proxy's log
    }


def main() -> None:
    """Write or read."""
    if sys.argv[1] == "write":
        name, source, to, keys = sys.argv[2:]
        shutil.rmtree(to, ignore_errors=True)
        Path(to).mkdir(parents=True)
        WRITERS[name](Path(source), Path(to), keys.split(","))
        return
    name, case, url, cache, batch, workers = sys.argv[2:]
    __import__(WARMING[name])
    if name in {"webdataset", "mosaicml-streaming", "litdata"}:
        import torch.utils.data  # noqa: F401
    began = time.perf_counter()
    loader = LOADERS[name](case, url, cache, int(batch), int(workers))
    cold = timed(loader, began)
    print(json.dumps({"cold": cold, "warm": timed(loader, time.perf_counter())}))


if __name__ == "__main__":
    main()
