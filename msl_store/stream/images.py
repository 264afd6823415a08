"""Stored images of every instance: some views under one microscope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msl_store.errors import UsageError
from msl_store.store import Cut
from msl_store.stream.form import Reader, Sample, refuse_unknown, refuse_without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library


ROTATION = "images/rotation"

ImageType = Literal["stored", "float32"]


@dataclass(frozen=True)
class Images:
    """Images under one microscope.

    Makes ``name`` (batch, view, [frame,] [z,] y, x); ``name.view`` (batch, view), int64: positions in
    ``library.views``; and ``name.rotation`` (batch, view, 3, 3), float64: the true rotation R that each image shows,
    rotated = (p - mean) @ R for row vectors p. A library with an edition gives the edition's images.

    Attributes
    ----------
    microscope : str, optional
        One of ``library.microscopes``; may be left out where there is but one.
    views : tuple of str, or int
        These views of every instance, in this order; or so many that are drawn anew every epoch, no view twice, of
        those that the instance has. Instances that lack views, or have too few, are left out.
    dtype : {"stored", "float32"}
        As stored (uint16 counts, or float32 photons of a noise-free edition), or as float32.
    """

    microscope: str | None = None
    views: tuple[str, ...] | int = 1
    dtype: ImageType = "stored"

    def __post_init__(self) -> None:
        refuse_unknown(self, dtype=ImageType)

    def of(self, library: Library) -> Reader:
        """Return what reads them."""
        return _ImageReader(library, self)


class _ImageReader(Reader):
    def __init__(self, library: Library, form: Images) -> None:
        self._form = form
        source = library.imaged
        refuse_without(source, "images")
        names = [microscope["name"] for microscope in source.microscopes]
        wanted = names[0] if form.microscope is None and len(names) == 1 else form.microscope
        if wanted not in names:
            more = ", and a field for each" if isinstance(wanted, tuple | list) else ""
            raise UsageError(f"{source.url}: Images(microscope={wanted!r}): allowed is one of {', '.join(names)}{more}")
        self._microscope = names.index(wanted)
        self._views = _views(form.views, source.views)
        rows = source.rows_of(library.ids)
        present = source.images_present[:, self._microscope]
        super().__init__(source.store, _enough(self._views, present))
        self._present = present
        self._rows = rows
        self._path = source.image_path
        self._array = self.store.array(self._path)
        # not by source.rotations: making an xarray imports dask
        self._rotations = source.store.columns([ROTATION])[ROTATION][self._microscope]
        count = self._views if isinstance(self._views, int) else len(self._views)
        item = self._array.dtype.itemsize + (4 if form.dtype == "float32" else self._array.dtype.itemsize)
        self._nbytes = count * int(np.prod(self._array.shape[3:])) * (self._array.dtype.itemsize + item)

    def cuts(self, place: int, rng: np.random.Generator) -> tuple[list[Cut], Any]:
        views = self._views
        if isinstance(views, int):
            views = rng.choice(np.flatnonzero(self._present[place]), views, replace=False)
        inner = (0,) * (len(self._array.shape) - 3)
        where = int(self._rows[place]), self._microscope
        return [Cut(self._path, (*where, int(view), *inner), (0, 0, 0)) for view in views], views

    def sample(self, values: Sequence[NDArray[Any]], chosen: Any) -> Sample:
        images = [own[None] for own in values]
        if self._form.dtype == "float32":
            images = [own.astype(np.float32, copy=False) for own in images]
        return {"": tuple(images), ".view": chosen, ".rotation": self._rotations[chosen]}

    def nbytes(self, places: NDArray[np.int64]) -> int:
        return len(places) * self._nbytes


def _views(asked: tuple[str, ...] | str | int, stored: Sequence[str]) -> NDArray[np.int64] | int:
    """Return the positions of the views asked for, or how many to draw."""
    if isinstance(asked, int):
        if isinstance(asked, bool) or not 1 <= asked <= len(stored):
            raise UsageError(f"Images(views={asked}): allowed is 1 to {len(stored)}, or names of {', '.join(stored)}")
        return asked
    if isinstance(asked, str) or not asked or not set(asked) <= set(stored):
        raise UsageError(f"Images(views={asked!r}): allowed are a number, or a tuple of some of {', '.join(stored)}")
    return np.array([stored.index(view) for view in asked])


def _enough(views: NDArray[np.int64] | int, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which instances, of which images are `present` (instance, view), have the views asked for."""
    if isinstance(views, int):
        return np.asarray(present.sum(axis=1) >= views)
    return np.asarray(present[:, views].all(axis=1))
