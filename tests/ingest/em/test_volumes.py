"""Every kind of volume gives the labels, the extents and the voxel size that were written, box by box."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.em.opening import open_volume
from ingest.em.volume import Box, Grid, voxel_size
from msl_store.errors import FormatError, IntegrityError, MissingError, UsageError

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")

SHAPE = (7, 70, 90)
EDGES = (30.0, 8.0, 8.0)


def labels(dtype="uint16"):
    values = np.random.default_rng(1).integers(0, 2 if dtype in ("bool", "uint8") else 300, SHAPE)
    values[:, :40, :30] = 0
    return values.astype(dtype)


def plain_tiff(folder):
    tifffile.imwrite(folder / "v.tif", labels(), photometric="minisblack")
    return "v.tif", labels(), None


def strips_tiff(folder):
    tifffile.imwrite(folder / "v.tiff", labels(), compression="zlib", rowsperstrip=16, photometric="minisblack")
    return "v.tiff", labels(), None


def tiled_bigtiff(folder):
    options = {"compression": "zlib", "predictor": True, "tile": (32, 48), "bigtiff": True}
    tifffile.imwrite(folder / "v.btf", labels(), photometric="minisblack", **options)
    return "v.btf", labels(), None


def big_endian_tiff(folder):
    tifffile.imwrite(folder / "v.tif", labels().astype(">u2"), byteorder=">", photometric="minisblack")
    return "v.tif", labels(), None


def bilevel_tiff(folder):
    tifffile.imwrite(folder / "v.tif", labels("bool"), photometric="minisblack", compression="packbits")
    return "v.tif", labels("bool"), None


def imagej_tiff(folder):
    metadata = {"spacing": 0.03, "unit": "micron", "axes": "ZYX"}
    tifffile.imwrite(folder / "v.tif", labels(), imagej=True, resolution=(125.0, 125.0), metadata=metadata)
    return "v.tif", labels(), EDGES


def ome_tiff(folder):
    metadata = {
        "axes": "ZYX",
        **{f"PhysicalSize{axis}": edge for axis, edge in zip("ZYX", EDGES, strict=True)},
        **{f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"},
    }
    tifffile.imwrite(folder / "v.ome.tif", labels("uint8"), metadata=metadata, compression="zlib", tile=(32, 32))
    return "v.ome.tif", labels("uint8"), EDGES


def png_slices(folder):
    from imagecodecs import png_encode

    (folder / "slices").mkdir()
    for z, plane in enumerate(labels("uint8")):
        (folder / "slices" / f"s{9 * z}.png").write_bytes(png_encode(plane))  # s9 comes before s18 and s54
    return "slices", labels("uint8"), None


def tiff_slices(folder):
    (folder / "slices").mkdir()
    for z, plane in enumerate(labels()):
        tifffile.imwrite(folder / "slices" / f"{z:03}.tif", plane, compression="zlib", photometric="minisblack")
    return "slices", labels(), None


def hdf5(folder):
    with h5py.File(folder / "v.h5", "w") as file:
        made = file.create_dataset("labels/all", data=labels("uint64"), chunks=(4, 32, 32), compression="gzip")
        made.attrs["element_size_um"] = [edge / 1000 for edge in EDGES]
        file.create_dataset("flat", data=np.zeros((4, 4)))
    return "v.h5", labels("uint64"), EDGES


def zarr_2(folder):
    array = zarr.create_array(folder / "v.zarr", shape=SHAPE, chunks=(4, 32, 32), dtype="int32", zarr_format=2)
    array[:] = labels("int32")
    return "v.zarr", labels("int32"), None


def ome_metadata(axes, scale, version):
    scales = [{"type": "scale", "scale": scale}]
    found = {
        "axes": axes,
        "datasets": [{"path": "s0", "coordinateTransformations": scales}],
    }
    return {"multiscales": [found]} if version == "0.4" else {"ome": {"version": "0.5", "multiscales": [found]}}


def space(names, unit):
    return [{"name": name, "type": "space", "unit": unit} for name in names]


def ome_zarr_4(folder):
    group = zarr.open_group(folder / "v.zarr", mode="w", zarr_format=2)
    axes = [{"name": "c", "type": "channel"}, *space("zyx", "micrometer")]
    group.attrs.update(ome_metadata(axes, [1, *(edge / 1000 for edge in EDGES)], "0.4"))
    array = group.create_array("s0", shape=(1, *SHAPE), chunks=(1, 4, 32, 32), dtype="uint16")
    array[:] = labels()[None]
    return "v.zarr", labels(), EDGES


def ome_zarr_5(folder):
    group = zarr.open_group(folder / "v.zarr", mode="w", zarr_format=3)
    group.attrs.update(ome_metadata(space("zyx", "nanometer"), list(EDGES), "0.5"))
    array = group.create_array("s0", shape=SHAPE, chunks=(4, 32, 32), shards=(8, 64, 64), dtype="uint16")
    array[:] = labels()
    return "v.zarr", labels(), EDGES


def ome_zarr_level(folder):
    name, values, edges = ome_zarr_5(folder)
    return f"{name}/s0", values, edges


KINDS = [
    plain_tiff, strips_tiff, tiled_bigtiff, big_endian_tiff, bilevel_tiff, imagej_tiff, ome_tiff, png_slices,
    tiff_slices, hdf5, zarr_2, ome_zarr_4, ome_zarr_5, ome_zarr_level,
]  # fmt: skip

BOXES = [
    Box((0, 0, 0), SHAPE),
    Box((2, 33, 31), (5, 65, 90)),
    Box((6, 69, 89), SHAPE),
    Box((0, 31, 47), (3, 33, 49)),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_volume_is_what_was_written(kind, tmp_path):
    name, expected, edges = kind(tmp_path)
    volume = pickle.loads(pickle.dumps(open_volume(tmp_path / name)))
    assert volume.shape == SHAPE
    assert volume.dtype == expected.dtype
    assert all(1 <= chunk <= extent for chunk, extent in zip(volume.chunk, SHAPE, strict=True))
    for box in BOXES:
        found = volume.read(box)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected[box.slices])
    assert volume.voxel_nm == (None if edges is None else pytest.approx(edges, rel=1e-5))
    assert volume.digest == open_volume(tmp_path / name).digest


@pytest.mark.parametrize("kind", [tiled_bigtiff, plain_tiff, png_slices, hdf5, ome_zarr_4, ome_zarr_5])
def test_a_volume_is_the_same_in_a_bucket(kind, tmp_path, bucket):
    from msl_store.store import locate

    name, expected, edges = kind(tmp_path)
    there = locate(bucket.url, bucket.storage_options)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            there.put(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    volume = open_volume(f"{bucket.url}/{name}", bucket.storage_options)
    for box in BOXES[:2]:
        np.testing.assert_array_equal(volume.read(box), expected[box.slices])
    assert volume.voxel_nm == (None if edges is None else pytest.approx(edges, rel=1e-5))


@pytest.mark.parametrize("kind", [tiled_bigtiff, ome_zarr_5, hdf5])
def test_a_volume_is_the_same_on_a_web_server_that_cannot_list(kind, tmp_path, web):
    name, expected, _ = kind(tmp_path)
    volume = open_volume(f"{web(tmp_path).url}/{name}")
    np.testing.assert_array_equal(volume.read(BOXES[1]), expected[BOXES[1].slices])


def test_a_voxel_size_is_asked_for_where_there_is_none(tmp_path):
    name, _, _ = plain_tiff(tmp_path)
    volume = open_volume(tmp_path / name)
    with pytest.raises(UsageError, match=r"v\.tif: its metadata has no voxel size; .* --voxel-size 8,8,8"):
        voxel_size(volume)
    assert voxel_size(volume, (30, 8, 8)) == EDGES
    with pytest.raises(UsageError, match="three positive lengths"):
        voxel_size(volume, (8, 0, 8))


def test_what_is_given_counts_more_than_the_metadata(tmp_path):
    name, _, _ = ome_zarr_5(tmp_path)
    volume = open_volume(tmp_path / name)
    assert voxel_size(volume) == EDGES
    assert voxel_size(volume, (24, 24, 24)) == (24.0, 24.0, 24.0)


def test_units_that_are_no_lengths_are_no_voxel_size(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", labels(), imagej=True, metadata={"axes": "ZYX", "spacing": 3, "unit": "pixel"})
    assert open_volume(tmp_path / "v.tif").voxel_nm is None


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda f: None, MissingError, "there is no volume; allowed are a TIFF"),
        (lambda f: tifffile.imwrite(f / "v.tif", np.zeros(SHAPE, np.float32)), FormatError, "holds float32"),
        (lambda f: tifffile.imwrite(f / "v.tif", np.zeros((9, 9, 3), np.uint8)), FormatError, "is a colour image"),
        (lambda f: (f / "v.tif").write_bytes(b"II*\0"), FormatError, "is no TIFF file"),
        (lambda f: (f / "v.h5").write_bytes(b"no"), FormatError, "is no HDF5 file"),
        (lambda f: zarr.open_group(f / "v.zarr", mode="w"), FormatError, "have no multiscales"),
        (
            lambda f: zarr.create_array(f / "v.zarr", shape=(2, 9, 9, 9), dtype="u1"),
            FormatError,
            "allowed is a volume of three axes",
        ),
        (lambda f: (f / "v.zarr").mkdir() or (f / "v.zarr" / "zarr.json").write_bytes(b"{"), FormatError, "no JSON"),
    ],
)
def test_what_is_no_volume_is_refused(make, error, match, tmp_path):
    make(tmp_path)
    names = [path.name for path in tmp_path.iterdir()] or ["nothing.zarr"]
    with pytest.raises(error, match=match):
        open_volume(tmp_path / names[0])


def test_a_dataset_is_named_where_there_are_several(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name in ("a", "b"):
            file.create_dataset(name, data=labels())
    with pytest.raises(UsageError, match=re.escape("2 datasets of three axes (/a, /b); name one: --dataset PATH")):
        open_volume(tmp_path / "v.h5")
    with pytest.raises(MissingError, match="has no dataset c"):
        open_volume(tmp_path / "v.h5", dataset="c")
    assert open_volume(tmp_path / "v.h5", dataset="b").shape == SHAPE
    with pytest.raises(UsageError, match="names a part of an HDF5 file"):
        open_volume(tmp_path / "v.zarr", dataset="b")


def test_slices_of_another_size_are_refused_when_they_are_read(tmp_path):
    for z, side in enumerate((8, 9)):
        tifffile.imwrite(tmp_path / f"{z}.tif", np.zeros((side, 8), np.uint8))
    volume = open_volume(tmp_path)
    with pytest.raises(FormatError, match=r"1\.tif: is uint8 \(9, 8\), the first slice uint8 \(8, 8\)"):
        volume.read(Box((0, 0, 0), (2, 8, 8)))


def test_a_damaged_chunk_is_an_error(tmp_path):
    name, _, _ = ome_zarr_5(tmp_path)
    shard = tmp_path / name / "s0" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-900] + bytes(900))
    with pytest.raises(IntegrityError, match="cannot be decoded"):
        open_volume(tmp_path / name).read(BOXES[0])


SIDES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=50)
@given(SIDES, SIDES, st.data())
def test_blocks_tile_the_volume_and_a_box_names_those_that_it_touches(shape, block, data):
    grid = Grid(shape, block)
    count = np.zeros(shape, int)
    for number in range(len(grid)):
        count[grid.box(number).slices] += 1
        assert grid.number(grid.place(number)) == number
    assert (count == 1).all()
    corners = [sorted(data.draw(st.tuples(st.integers(0, side), st.integers(0, side)))) for side in shape]
    box = Box(tuple(a for a, _ in corners), tuple(b for _, b in corners))
    touched = {number for number in range(len(grid)) if grid.box(number).common(box).size}
    if box.size:
        assert set(grid.blocks_of(box)) == touched
