"""What keeps the code readable in the long run: one-way imports, light imports, names, sizes and docstrings."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from small_library import WHOLE, built

ROOT = Path(__file__).parents[1]
PACKAGES = ("msl_store", "ingest")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

LINES = 400
"""A file stays readable in one sitting: most have about 250 lines, none more than twice that."""

VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "base", "core", "tools", "lib"}

HEAVY = {
    "aiohttp", "boto3", "botocore", "bokeh", "cc3d", "cufinufft", "cupy", "dask", "distributed", "edt",
    "fast_simplification", "fastremap", "fill_voids", "finufft", "h5py", "igl", "imagecodecs", "intake", "matplotlib",
    "numba", "s3fs", "scipy", "skimage", "tensorstore", "tifffile", "torch", "trimesh",
}  # fmt: skip
"""Libraries that nobody should wait for who does not use them."""

HOMES = {
    "zarr": {"msl_store.store"},
    "numcodecs": {"msl_store.store"},
    "obstore": {"msl_store.store"},
    "fsspec": {"msl_store.store"},
    "boto3": set(),
    "botocore": {"msl_store.store"},
    "cuda": {"msl_store.optics.gpu"},
    "cufinufft": {"msl_store.optics.gpu"},
    "cupy": {"msl_store.optics.gpu"},
    "cc3d": {"ingest.em"},
    "fastremap": {"ingest.em"},
    "h5py": {"ingest.em"},
    "dask": {"msl_store.blockwise", "msl_store.scenes", "msl_store.simulation"},
    "distributed": {"msl_store.blockwise"},
    "igl": {"msl_store.geometry"},
    "fast_simplification": {"msl_store.geometry"},
    "finufft": set(),
    "s3fs": set(),
    "tensorstore": set(),
    "torch": {"msl_store.stream.pytorch"},
    "xxhash": {"msl_store.cache"},
}
"""Which part of the code may import a library at all, at the top of a file or in a function."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Top-level names of what a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    ran = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_contracts_of_pyproject_are_kept():
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    assert " 0 broken" in fresh(code)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_where_it_belongs_only(library):
    importers = {dotted(path) for path in FILES if library in imported(path)}
    strangers = {name for name in importers if not any(f"{name}.".startswith(f"{home}.") for home in HOMES[library])}
    assert strangers == set()


LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_importing_msl_store_loads_nothing_heavy():
    loaded = set(fresh(f"import msl_store; {LOADED}").split())
    assert "msl_store" in loaded
    assert loaded & (HEAVY | {"numpy", "pandas", "xarray", "zarr", "obstore"}) == set()


def test_reading_shapes_loads_nothing_heavy():
    work = f"import msl_store as msl; msl.open({str(built())!r}).select(first=9).instance({WHOLE})"
    assert set(fresh(f"{work}; {LOADED}").split()) & (HEAVY | {"zarr"}) == set()


def test_streaming_loads_nothing_heavy():
    fields = "{'points': stream.Queries(9), 'image': stream.Images('conf2'), 'mesh': stream.Meshes()}"
    work = (
        f"import msl_store as msl; from msl_store import stream; stream.Batches(msl.open({str(built())!r}), {fields})"
    )
    assert set(fresh(f"{work}; {LOADED}").split()) & (HEAVY | {"zarr"}) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_asking_a_command_for_help_loads_nothing_heavy(package):
    pytest.importorskip("typer")
    assert set(fresh(f"import {package}.cli; {LOADED}").split()) & HEAVY == set()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_of_readable_length(path):
    assert len(path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_named_for_its_subject(path):
    assert not set(dotted(path).replace("_", ".").split(".")) - {"msl", "store"} & VAGUE


def undocumented(body, prefix):
    """Yield the public functions and classes below some statements that have no docstring."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            overload = any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)
            if not (ast.get_docstring(node) or overload):
                yield f"{prefix}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{prefix}.{node.name}")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_everything_public_has_a_docstring(path):
    assert ast.get_docstring(tree(path)), "the file itself"
    assert list(undocumented(tree(path).body, dotted(path))) == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_left_to_do(path):
    text = path.read_text()
    assert not [word for word in ("TODO", "FIXME", "XXX", "NotImplementedError", "pragma: no cover") if word in text]
