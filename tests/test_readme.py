"""The README's Python blocks run, one after the other, on the sample that its first command makes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ingest.archive import open_source
    from ingest.catalog import write_catalog
    from ingest.demo import SAMPLE
    from ingest.repack import ingest
    from ingest.sample import write_sample
    from msl_store.store import locate

    folder = tmp_path_factory.mktemp("readme") / "demo"
    write_sample(folder / "zips", instances=12, scheduler="synchronous")
    ingest(open_source([str(folder / "zips")]), locate(folder / "library.zarr"), attributes=SAMPLE)
    write_catalog({"sample": (folder / "library.zarr", None)}, folder / "catalog.yaml")
    return folder


def test_every_python_block_of_the_readme_runs(demo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_folder.parent)
    blocks = BLOCK.findall(README.read_text())
    assert len(blocks) >= 3
    names: dict[str, object] = {"__name__": "__readme__"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


def test_every_command_of_the_readme_exists() -> None:
    from ingest.cli import app as ingest_app
    from msl_store.cli import app as msl_app

    project = tomllib.loads((README.parent / "pyproject.toml").read_text())["project"]
    added = project["entry-points"]["msl_store.commands"]
    groups = {group.name for group in msl_app.registered_groups}
    known = {
        "msl": {*(c.name or c.callback.__name__ for c in msl_app.registered_commands if c.callback), *groups, *added},
        "msl-ingest": {c.name or c.callback.__name__ for c in ingest_app.registered_commands if c.callback},
    }
    used = re.findall(r"^(?:\.venv/bin/)?(msl|msl-ingest) ([a-z]+)", README.read_text(), re.MULTILINE)
    assert used
    unknown = [f"{tool} {command}" for tool, command in used if command not in known[tool]]
    assert not unknown
