"""The whole way on a sample: archives, ingest, serving, a remote subset, dask simulation, a picture and figures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from msl_store.library import Library

SAMPLE = {
    "title": "Sample of procedural mitochondria in the format of 3DMSL",
    "license": "CC0-1.0",
    "citation": "made by msl-ingest sample; not part of the 3DMSL dataset",
}


@dataclass
class _Steps:
    """Seconds and remarks of every step, printed as they come."""

    figures: dict[str, Any] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def done(self, step: str, text: str, **figures: Any) -> None:
        """Print a step that is done, and start the clock of the next."""
        seconds = time.perf_counter() - self._since
        self.figures[step] = {"seconds": round(seconds, 3), **figures}
        print(f"{step:<10} {seconds:6.2f} s  {text}", flush=True)
        self._since = time.perf_counter()


def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything goes.")] = Path("demo"),
    instances: Annotated[int, typer.Option(min=6, help="How many sample instances.")] = 48,
) -> None:
    """Run the whole way on a sample: archives, ingest, web server, remote subset, dask simulation, picture."""
    from ingest.archive import open_source
    from ingest.catalog import write_catalog
    from ingest.repack import ingest
    from ingest.sample import write_sample
    from ingest.verify import verify
    from msl_store.cache.sizes import size_text
    from msl_store.library import open_library
    from msl_store.serving import serving
    from msl_store.store import locate

    steps = _Steps()
    zips = write_sample(folder / "zips", instances=instances)
    zipped = sum(path.stat().st_size for path in zips)
    steps.done("sample", f"{instances} procedural mitochondria in {len(zips)} zips, {size_text(zipped)}", bytes=zipped)

    source = open_source([str(folder / "zips")])
    target = folder / "library.zarr"
    report = ingest(source, locate(target), attributes=SAMPLE, overwrite=True)
    stored = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    steps.done(
        "ingest",
        f"{report.complete} of {report.instances} instances complete, {size_text(stored)} in {target}",
        bytes=stored,
        complete=report.complete,
    )
    compared = verify(source, open_library(target))
    steps.done(
        "verify",
        f"{compared.instances} instances against the zips, {len(compared.differences)} differences",
        differences=len(compared.differences),
    )
    with serving(folder) as server:
        url = f"{server.url}/{target.name}"
        before = server.traffic()
        library = open_library(url)
        opened = server.traffic().since(before)
        steps.done(
            "open",
            f"{url}: {opened.requests} request, {size_text(opened.sent_bytes)}",
            requests=opened.requests,
            bytes=opened.sent_bytes,
        )
        before = server.traffic()
        chosen = library.select(where="genus >= 1 or elongation > 3")
        table = server.traffic().since(before)
        steps.done(
            "select",
            f"{len(chosen)} instances with a hole or elongation over 3: {table.requests} requests, "
            f"{size_text(table.sent_bytes)}",
            requests=table.requests,
            bytes=table.sent_bytes,
            instances=len(chosen),
        )
        before = server.traffic()
        picked = library.select(ids=_one_of_each_kind(library))
        images = picked.images.load()
        read = server.traffic().since(before)
        steps.done(
            "read",
            f"{images.size // (128 * 128)} images of {len(picked)} instances: {read.requests} requests, "
            f"{size_text(read.sent_bytes)} of {size_text(stored)}",
            requests=read.requests,
            bytes=read.sent_bytes,
        )
        _simulate(steps, server, chosen, folder)
        _draw(steps, picked, folder)
    write_catalog({"sample": (target, None), "sample-conf2": (folder / "edition.zarr", None)}, folder / "catalog.yaml")
    steps.done("catalog", f"{folder / 'catalog.yaml'}: intake.open_catalog opens it")
    figures = folder / "figures.json"
    figures.write_text(json.dumps(steps.figures, indent=1))
    print(f"\npicture {folder / 'demo.png'}, figures {figures}; total {_total(steps):.1f} s")


def _simulate(steps: _Steps, server: Any, chosen: Library, folder: Path) -> None:
    """Simulate the subset straight from the web server and write the edition."""
    from msl_store.cache.sizes import size_text
    from msl_store.edition import write_edition
    from msl_store.simulation import simulate

    before = server.traffic()
    stack = simulate(chosen, "conf2", views=["0"], z=[-0.5, 0.0, 0.5], seed=7)
    written = write_edition(stack, folder / "edition.zarr", overwrite=True)
    sent = server.traffic().since(before)
    count = stack.size // (128 * 128)
    steps.done(
        "simulate",
        f"{count} images (conf2, 3 planes) of {len(chosen)} instances with dask from their remote meshes: "
        f"{sent.requests} requests, {size_text(sent.sent_bytes)} read, {size_text(written.stored_bytes)} written",
        requests=sent.requests,
        bytes=sent.sent_bytes,
        images=count,
    )


def _draw(steps: _Steps, picked: Library, folder: Path) -> None:
    from msl_store.plot import plot_overview, save
    from msl_store.simulation import simulate

    corrected = simulate(picked, "conf2", views=["0"], seed=7).compute()
    save(plot_overview(picked, picked.ids.tolist(), images=corrected), folder / "demo.png")
    steps.done("picture", f"{folder / 'demo.png'}")


def _one_of_each_kind(library: Library) -> list[int]:
    """Return the first instance of every kind: the sample's ids go through the kinds in turn."""
    from ingest.procedural import KINDS

    ids: list[int] = library.ids[: len(KINDS)].tolist()
    return ids


def _total(steps: _Steps) -> float:
    return float(sum(step["seconds"] for step in steps.figures.values()))
