"""Catalogs: what intake opens is what the library holds, at every kind of place, and no credential is ever written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from ingest.catalog import library_name, open_options, write_catalog
from ingest.record import Entry, Images, Listing, Record
from ingest.repack import ingest
from msl_store.errors import FormatError, MissingError, UsageError
from msl_store.intake_entry import location_of
from msl_store.library import open_library
from msl_store.schema import BLOCK, MICROSCOPES, VIEWS
from msl_store.shapes import Mesh
from msl_store.store import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from servers.s3 import Bucket
    from servers.web import WebServer

intake = pytest.importorskip("intake")

GROUPS = ("images", "instances", "mesh", "occupancy", "point_cloud")
COUNT = BLOCK + 2
SHIPPED = Path(__file__).parents[2] / "catalog" / "msl.yaml"


@dataclass(frozen=True)
class Tetrahedra:
    """A source of small meshes with ids 10, 11, ...; every other one has images."""

    name: str = "tetrahedra"

    def listing(self) -> Listing:
        return Listing(tuple(Entry(10 + number, "made", 4, 4, str(number)) for number in range(COUNT)))

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.uint32)
        for entry in entries:
            mesh = Mesh(np.vstack([np.zeros(3), np.eye(3)]) * entry.id, faces)
            counts = np.full((len(MICROSCOPES), len(VIEWS), 128, 128), entry.id, np.uint16)
            images = Images(counts, np.ones(counts.shape[:2], bool)) if entry.id % 2 else None
            yield Record(entry.id, mesh=mesh, images=images)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two blocks."""
    folder = tmp_path_factory.mktemp("catalog") / "3dmsl.zarr"
    ingest(Tetrahedra(), locate(folder), scheduler="synchronous")
    return folder


def opened(path: object, **options: Any) -> Any:
    return intake.open_catalog(str(path), **options)


def check_entries(catalog: Any, url: str) -> None:
    """Every entry opens and reads what the library holds."""
    stored = open_library(url) if "s3://" not in url else catalog["3dmsl/library"].read()
    assert sorted(catalog) == ["3dmsl", *(f"3dmsl/{name}" for name in sorted((*GROUPS, "library")))]
    instance = catalog["3dmsl/instances"].read()
    np.testing.assert_array_equal(instance["id"], stored.ids)
    images = catalog["3dmsl/images"].read()
    assert images["counts"].dtype == np.uint16
    assert images["counts"].chunks[0] == (BLOCK, 2)
    assert all(len(chunks) == 1 for chunks in images["counts"].chunks[1:])
    np.testing.assert_array_equal(images["counts"][BLOCK + 1], stored.images.sel(instance=10 + BLOCK + 1))
    mesh = catalog["3dmsl/mesh"].read()
    start, count = int(mesh["vertex_start"][5]), int(mesh["vertex_count"][5])
    np.testing.assert_array_equal(mesh["vertices"][start : start + count], stored.mesh(15).vertices)
    tree = catalog["3dmsl"].read()
    assert sorted(tree.children) == sorted(GROUPS)
    assert tree["images/counts"].chunks[0] == (BLOCK, 2)
    np.testing.assert_array_equal(tree["images/counts"].sel(instance=15), stored.images.sel(instance=15))
    np.testing.assert_array_equal(tree["mesh/vertices"][start : start + count], stored.mesh(15).vertices)
    assert len(catalog["3dmsl/library"].read()) == COUNT


def test_entries_open_from_a_disk(library: Path, tmp_path: Path) -> None:
    written = write_catalog({"3dmsl": (library, None)}, tmp_path / "msl.yaml")
    catalog = opened(tmp_path / "msl.yaml")
    assert set(written.entries) == set(catalog)
    assert written.left_out == ()
    check_entries(catalog, str(library))


def test_entries_open_from_a_web_server(library: Path, tmp_path: Path, web: Callable[..., WebServer]) -> None:
    url = f"{web(library.parent).url}/{library.name}"
    write_catalog({"3dmsl": (url, None)}, tmp_path / "msl.yaml")
    check_entries(opened(tmp_path / "msl.yaml"), url)


def test_entries_open_from_a_bucket(
    library: Path, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = locate(f"{bucket.url}/3dmsl.zarr", bucket.storage_options)
    for path, _ in locate(library).list():
        target.put(path, locate(library).get(path))
    written = write_catalog({"3dmsl": (target.url, bucket.storage_options)}, tmp_path / "msl.yaml")
    assert set(written.left_out) == {"3dmsl: key", "3dmsl: secret"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.storage_options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.storage_options["secret"])
    check_entries(opened(tmp_path / "msl.yaml"), target.url)


def test_a_catalog_can_lie_in_a_bucket(library: Path, bucket: Bucket) -> None:
    destination = f"{bucket.url}/catalogs/msl.yaml"
    write_catalog({"3dmsl": (library, None)}, destination, bucket.storage_options)
    catalog = opened(destination, storage_options=bucket.storage_options)
    assert len(catalog["3dmsl/library"].read()) == COUNT


def test_a_catalog_moves_with_the_library_below_it(
    library: Path, tmp_path: Path, web: Callable[..., WebServer]
) -> None:
    shutil.copytree(library, tmp_path / "a" / "data" / "3dmsl.zarr")
    write_catalog({"3dmsl": (tmp_path / "a" / "data" / "3dmsl.zarr", None)}, tmp_path / "a" / "msl.yaml")
    assert str(tmp_path) not in (tmp_path / "a" / "msl.yaml").read_text()
    (tmp_path / "a").rename(tmp_path / "b")
    check_entries(opened(tmp_path / "b" / "msl.yaml"), str(tmp_path / "b" / "data" / "3dmsl.zarr"))
    served = opened(f"{web(tmp_path / 'b').url}/msl.yaml")
    assert len(served["3dmsl/library"].read()) == COUNT


def test_entries_say_title_licence_citation_and_size(library: Path, tmp_path: Path) -> None:
    write_catalog({"3dmsl": (library, None)}, tmp_path / "msl.yaml")
    attributes = open_library(library).attributes
    catalog = opened(tmp_path / "msl.yaml")
    for name in catalog:
        metadata = catalog[name].metadata
        assert metadata["license"] == "CC BY-NC 4.0"
        assert metadata["instances"] == COUNT
        assert metadata["description"]
        assert {key: metadata[key] for key in ("title", "citation", "doi", "digest")} == {
            key: attributes[key] for key in ("title", "citation", "doi", "digest")
        }


def test_every_entry_says_where_its_library_lies(library: Path, tmp_path: Path) -> None:
    write_catalog({"3dmsl": (library, {"anon": True})}, tmp_path / "msl.yaml")
    catalog = opened(tmp_path / "msl.yaml")
    for name in (*catalog, "3dmsl/zarr"):
        assert location_of(catalog[name]) == (str(library), {"anon": True})
    with pytest.raises(UsageError, match="no URL, path or intake entry"):
        location_of(7)


SECRETS = {
    "key": "AKIAEXAMPLE",
    "secret": "hush-secret",
    "token": "hush-token",
    "headers": {"Authorization": "Bearer hush-header"},
    "client_kwargs": {"aws_secret_access_key": "hush-client", "region_name": "eu-north-1"},
    "some_future_option": "hush-future",
}


def test_no_credential_is_written_but_the_place_is(library: Path, tmp_path: Path) -> None:
    place = {"endpoint_url": "http://localhost:9000", "anon": False, "profile": "lab"}
    written = write_catalog({"3dmsl": (library, {**place, **SECRETS})}, tmp_path / "msl.yaml")
    text = (tmp_path / "msl.yaml").read_text()
    assert "hush" not in text
    assert "AKIA" not in text
    assert set(written.left_out) == {
        f"3dmsl: {name}"
        for name in ("key", "secret", "token", "headers", "client_kwargs.aws_secret_access_key", "some_future_option")
    }
    _, kept = location_of(opened(tmp_path / "msl.yaml")["3dmsl"])
    assert kept == {**place, "client_kwargs": {"region_name": "eu-north-1"}}


@pytest.mark.parametrize("url", ["https://me:hush@host/3dmsl.zarr", "https://host/3dmsl.zarr?X-Amz-Signature=hush"])
def test_credentials_inside_a_url_are_refused_without_repeating_them(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a password or a query") as caught:
        write_catalog({"3dmsl": (url, None)}, tmp_path / "msl.yaml")
    assert "hush" not in str(caught.value)
    with pytest.raises(UsageError, match="a password or a query"):
        open_options({"endpoint_url": url})
    assert not (tmp_path / "msl.yaml").exists()


def test_adding_a_library_keeps_the_others_and_replaces_its_namesake(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "msl.yaml"
    foreign = intake.entry.Catalog(metadata={"title": "ours"})
    foreign.add_entry(intake.datatypes.CSV(url="table.csv").to_reader(reader="PandasCSV"), name="table")
    foreign.aliases["table"] = "table"
    foreign.to_yaml_file(str(path))
    before = yaml.safe_load(path.read_text())
    write_catalog({"3dmsl": (library, None)}, path)
    alone = yaml.safe_load(path.read_text())
    written = write_catalog({"3dmsl-epi1": (library, None)}, path)
    assert set(written.kept) == {"table", "3dmsl", *(f"3dmsl/{name}" for name in (*GROUPS, "library"))}
    after = yaml.safe_load(path.read_text())
    for section in ("data", "entries", "aliases"):
        for document in (before, alone):
            assert document[section].items() <= after[section].items()
    assert after["metadata"] == {"title": "ours"}
    write_catalog({"3dmsl": (library, {"anon": True})}, path)
    assert set(opened(path)) == set(written.entries) | set(written.kept)
    assert location_of(opened(path)["3dmsl/mesh"])[1] == {"anon": True}
    assert location_of(opened(path)["3dmsl-epi1/mesh"])[1] == {}


def test_options_that_intake_saves_with_a_catalog_do_not_stay(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "msl.yaml"
    write_catalog({"3dmsl": (library, None)}, path)
    catalog = opened(path)
    catalog.user_parameters["STORAGE_OPTIONS"] = {"secret": "hush"}
    catalog.to_yaml_file(str(path))
    assert "hush" in path.read_text()
    write_catalog({"3dmsl": (library, None)}, path)
    assert "hush" not in path.read_text()


@pytest.mark.parametrize(
    "text", ["sources: {}\n", "version: 1\n", "- a list\n", "a: [unclosed\n"], ids=["v1", "version", "list", "no yaml"]
)
def test_a_file_that_is_something_else_is_refused_and_stays(text: str, library: Path, tmp_path: Path) -> None:
    path = tmp_path / "msl.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match="choose another file, or remove it"):
        write_catalog({"3dmsl": (library, None)}, path)
    assert path.read_text() == text


def test_a_library_that_is_not_there_is_not_catalogued(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nothing"):
        write_catalog({"nothing": (tmp_path / "nothing.zarr", None)}, tmp_path / "msl.yaml")
    assert not (tmp_path / "msl.yaml").exists()


@pytest.mark.parametrize("name", ["", "a/b", "{env(HOME)}", "data(x)", ".hidden"])
def test_names_that_intake_would_interpret_are_refused(name: str, library: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="library name"):
        write_catalog({name: (library, None)}, tmp_path / "msl.yaml")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://b/3dmsl.zarr", "3dmsl"),
        ("/data/my lib", "my-lib"),
        ("https://h/x.zarr.zip", "x"),
        ("s3://b/_/", "library"),
    ],
)
def test_a_library_is_named_by_its_url(url: str, name: str) -> None:
    assert library_name(url) == name


def test_the_shipped_catalog_opens_any_library(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_entries(opened(SHIPPED)(library=str(library)), str(library))
    monkeypatch.setenv("MSL_LIBRARY", str(library))
    assert len(opened(SHIPPED)["3dmsl/library"].read()) == COUNT
    monkeypatch.delenv("MSL_LIBRARY")
    with pytest.raises(UsageError, match="parameters, such as `library`"):
        opened(SHIPPED)["3dmsl/library"].read()


def test_the_shipped_catalog_is_what_is_written_but_for_the_place(library: Path, tmp_path: Path) -> None:
    write_catalog({"3dmsl": (library, None)}, tmp_path / "msl.yaml")
    written, shipped = (yaml.safe_load(path.read_text()) for path in (tmp_path / "msl.yaml", SHIPPED))
    for section in ("data", "entries"):
        for description in written[section].values():
            for key in ("digest", "instances"):
                description["metadata"].pop(key, None)
    written["data"]["3dmsl/zarr"]["kwargs"] |= {"url": "{library}", "storage_options": "{storage_options}"}
    for section in ("aliases", "data", "entries", "version"):
        assert shipped[section] == written[section]
