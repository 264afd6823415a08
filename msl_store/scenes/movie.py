"""Time-lapses as films for people: GIF by pillow, MP4 (H.264) by the ffmpeg that imageio-ffmpeg carries."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import xarray as xr
    from numpy.typing import NDArray

SEEN_PX = 512
"""Small images are enlarged, by a whole number, until they are about this wide."""

TOP_PERCENTILE = 99.8
"""White, in percent of the first frame's pixels, where no limits are given."""


def write_movie(
    images: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    fps: float = 10.0,
    limits: tuple[float, float] | None = None,
    zoom: int | None = None,
) -> Path:
    """Write a time-lapse as a GIF or MP4, one frame in memory at a time (a GIF's compressed frames apart).

    Parameters
    ----------
    images : xarray.DataArray
        Dims (frame, [z,] y, x); a stack shows its brightest plane at every pixel.
    path : str or path
        Ends in ``.gif`` or ``.mp4``.
    fps : float
        Frames a second.
    limits : tuple of float, optional
        Values shown as black and white for the whole film; without it, the least of the first frame and its 99.8th
        percentile, so that bleaching shows.
    zoom : int, optional
        Pixels on the screen for one; without it, as many as make the film about 512 wide.

    Returns
    -------
    Path
        The film.

    Raises
    ------
    UsageError
        An argument is outside what is allowed, or the library that writes this kind of film is not installed.
    """
    target = Path(path)
    if images.dims not in (("frame", "y", "x"), ("frame", "z", "y", "x")):
        raise UsageError(f"images have the dims {images.dims}; allowed are (frame, [z,] y, x)")
    if not 0 < fps <= 240 or (zoom is not None and zoom < 1):
        raise UsageError(f"fps {fps}, zoom {zoom}: allowed are 0 to 240 frames a second, and 1 or more")
    writers = {".gif": _write_gif, ".mp4": _write_mp4}
    if target.suffix.lower() not in writers:
        raise UsageError(f"{target}: allowed are the endings {', '.join(writers)}")
    pictures = _pictures(images, limits, zoom or max(1, round(SEEN_PX / images.sizes["x"])))
    try:
        writers[target.suffix.lower()](pictures, target, fps)
    except ImportError as error:
        raise UsageError(f"{target}: {error}; install it with: pip install 'msl-store[movie]'") from error
    return target


def _pictures(images: xr.DataArray, limits: tuple[float, float] | None, zoom: int) -> Iterator[NDArray[np.uint8]]:
    """Yield every frame as grey values; height and width are even, as H.264 wants them."""
    for place in range(images.sizes["frame"]):
        values = np.asarray(images.isel(frame=place).values, np.float64)
        flat = values.max(axis=0) if values.ndim == 3 else values
        if limits is None:
            limits = float(flat.min()), float(np.percentile(flat, TOP_PERCENTILE))
        black, white = limits
        span = white - black if white > black else 1.0
        grey = np.rint(np.clip((flat - black) / span, 0, 1) * 255).astype(np.uint8)
        large = grey.repeat(zoom, axis=0).repeat(zoom, axis=1)
        yield np.pad(large, [(0, side % 2) for side in large.shape], mode="edge")


def _write_gif(pictures: Iterator[NDArray[np.uint8]], target: Path, fps: float) -> None:
    from PIL import Image

    first, *others = (Image.fromarray(picture) for picture in pictures)
    first.save(target, save_all=True, append_images=others, duration=1000 / fps, loop=0, optimize=False)


def _write_mp4(pictures: Iterator[NDArray[np.uint8]], target: Path, fps: float) -> None:
    import imageio_ffmpeg

    first = next(pictures)
    with closing(
        imageio_ffmpeg.write_frames(
            str(target),
            (first.shape[1], first.shape[0]),
            pix_fmt_in="gray",
            fps=fps,
            codec="libx264",
            quality=8,
            macro_block_size=2,
        )
    ) as film:
        film.send(None)
        for picture in chain([first], pictures):
            film.send(np.ascontiguousarray(picture))
