"""Films hold every frame, in order, at the stated size and speed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

import msl_store as msl
from msl_store.scenes import write_movie

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ramp() -> xr.DataArray:
    """Eight frames, each of one level, on 11 rows and 14 columns, with a black and a white pixel."""
    values = np.repeat(np.arange(8.0) * 100, 11 * 14).reshape(8, 11, 14)
    values[:, 0, 0], values[:, 0, 13] = 0, 700
    return xr.DataArray(values, dims=("frame", "y", "x"))


def test_a_gif_has_every_frame(ramp: xr.DataArray, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = write_movie(ramp, tmp_path / "a.gif", fps=5, limits=(0, 700), zoom=2)
    with image.open(path) as film:
        assert (film.n_frames, film.size) == (8, (28, 22))
        levels = []
        for place in range(8):
            film.seek(place)
            assert film.info["duration"] == 200
            levels.append(int(np.asarray(film.convert("L"))[10, 10]))
    np.testing.assert_allclose(levels, np.arange(8) * 255 / 7, atol=1)


def test_an_mp4_has_every_frame(ramp: xr.DataArray, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = write_movie(ramp.expand_dims(z=2, axis=1), tmp_path / "a.mp4", fps=5, limits=(0, 700), zoom=3)
    command = [ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    decoded = subprocess.run(command, capture_output=True, check=True)
    assert re.search(r"Video: h264.* 42x34.* 5 fps", decoded.stderr.decode())  # 33 rows made even
    levels = np.frombuffer(decoded.stdout, np.uint8).reshape(-1, 34, 42)[:, 20, 20]
    np.testing.assert_allclose(levels, np.arange(8) * 255 / 7, atol=8)


def test_limits_come_from_the_first_frame(ramp: xr.DataArray, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = write_movie(ramp.isel(frame=[7, 0]), tmp_path / "a.gif", zoom=1)
    with image.open(path) as film:
        film.seek(1)
        assert np.asarray(film.convert("L"))[5, 5] == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("a.avi", {}, r"\.gif, \.mp4"), ("a.gif", {"fps": 0}, "fps 0"), ("a.gif", {"zoom": 0}, "zoom 0")],
)
def test_bad_arguments_say_what_is_allowed(
    ramp: xr.DataArray, tmp_path: Path, name: str, options: dict, message: str
) -> None:
    with pytest.raises(msl.UsageError, match=message):
        write_movie(ramp, tmp_path / name, **options)
    with pytest.raises(msl.UsageError, match="dims"):
        write_movie(ramp.isel(frame=0), tmp_path / "a.gif")
