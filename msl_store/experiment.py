"""An experiment: which microscopes image every instance of a library, and how it is labelled, turned and filmed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.errors import UsageError
from msl_store.optics.exposure import checked_mode, emitters_of, expose, rotations
from msl_store.optics.gpu import checked_device
from msl_store.optics.labelling import get_labelling
from msl_store.optics.measured import MeasuredPsf
from msl_store.optics.microscope import Microscope, get_microscope
from msl_store.version import software

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.optics.exposure import Mode
    from msl_store.optics.gpu import DeviceName
    from msl_store.optics.labelling import Labelling


@dataclass(frozen=True)
class Experiment:
    """How every instance of a library is imaged; `planned` makes one.

    Attributes
    ----------
    microscopes : tuple of Microscope
        Of different names and one image size.
    several : bool
        Whether microscopes are a dimension of the images.
    psfs : mapping of str to MeasuredPsf
        In place of the microscopes' own, by their names.
    labelling, views, frames, interval_s, z_um, mode, noise, seed, tolerance, device
        As `msl_store.simulate` takes them.
    """

    microscopes: tuple[Microscope, ...]
    several: bool
    psfs: Mapping[str, MeasuredPsf]
    labelling: Labelling
    views: tuple[str, ...]
    frames: int | None
    interval_s: float
    z_um: tuple[float, ...] | None
    mode: Mode
    noise: bool
    seed: int
    tolerance: float
    device: DeviceName

    @property
    def sizes(self) -> dict[str, int]:
        """Extents of one instance's images by dimension."""
        sizes = {"microscope": len(self.microscopes)} if self.several else {}
        sizes["view"] = len(self.views)
        if self.frames is not None:
            sizes["frame"] = self.frames
        if self.z_um is not None:
            sizes["z"] = len(self.z_um)
        rows, columns = self.microscopes[0].size_px
        return {**sizes, "y": rows, "x": columns}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the images."""
        return np.dtype(np.uint16 if self.noise else np.float32)

    def image(self, vertices_um: NDArray[Any], faces: NDArray[Any], instance: int, out: NDArray[Any]) -> None:
        """Label one shape and write its images into `out`, which has the extents that `sizes` says."""
        emitters = emitters_of(vertices_um, faces, instance=instance, seed=self.seed, labelling=self.labelling)
        for optics, images in zip(self.microscopes, out if self.several else (out,), strict=True):
            images[:] = expose(
                emitters,
                optics,
                self.views,
                instance=instance,
                z_um=self.z_um,
                mode=self.mode,
                noise=self.noise,
                seed=self.seed,
                tolerance=self.tolerance,
                labelling=self.labelling,
                frames=self.frames,
                psf=self.psfs.get(optics.name),
                device=self.device,
            )

    def provenance(self) -> dict[str, Any]:
        """Return everything that the images depend on but for the library."""
        timed = {} if self.frames is None else {"interval_s": self.interval_s}
        return {
            "microscopes": [optics.to_dict() for optics in self.microscopes],
            "psf": {name: psf.to_dict() for name, psf in sorted(self.psfs.items())},
            "labelling": self.labelling.to_dict(),
            "views": list(self.views),
            "rotations": [rotations(optics, self.views, self.mode).tolist() for optics in self.microscopes],
            "frames": self.frames,
            **timed,
            "z_um": None if self.z_um is None else list(self.z_um),
            "mode": self.mode,
            "noise": self.noise,
            "seed": self.seed,
            "tolerance": self.tolerance,
            "device": self.device,
            "software": software(),
        }


def planned(
    microscope: str | Microscope | Sequence[str | Microscope],
    *,
    views: Sequence[str],
    z: Sequence[float] | None,
    frames: int | None,
    interval_s: float,
    labelling: str | Labelling | None,
    psf: MeasuredPsf | Mapping[str, MeasuredPsf] | None,
    mode: str,
    noise: bool,
    seed: int,
    tolerance: float,
    device: DeviceName,
) -> Experiment:
    """Return the experiment that `msl_store.simulate` was asked for, or raise `UsageError`."""
    given = [microscope] if isinstance(microscope, str | Microscope) else list(microscope)
    optics = tuple(get_microscope(one) for one in given)
    _check_microscopes(optics)
    unknown = [view for view in views if view not in schema.VIEWS]
    if isinstance(views, str) or unknown or not views or len(set(views)) != len(views):
        raise UsageError(f"views {views!r}: allowed is a list of some of {', '.join(schema.VIEWS)}, each once")
    if z is not None and (len(z) == 0 or not np.isfinite(np.asarray(z, float)).all()):
        raise UsageError(f"z {z!r}: allowed is a list of focal planes in um, or None")
    if frames is not None and frames < 1:
        raise UsageError(f"frames {frames}: allowed is a number of frames, 1 or more, or None")
    if not 0 < interval_s < math.inf:
        raise UsageError(f"interval_s {interval_s}: allowed is a positive number of seconds")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: allowed is 0 to 2**63 - 1")
    if not 1e-6 <= tolerance <= 0.1:
        raise UsageError(f"tolerance {tolerance}: allowed is 1e-6 to 0.1")
    return Experiment(
        microscopes=optics,
        several=not isinstance(microscope, str | Microscope),
        psfs=_psfs(psf, [one.name for one in optics]),
        labelling=get_labelling(labelling),
        views=tuple(views),
        frames=frames,
        interval_s=float(interval_s),
        z_um=None if z is None else tuple(float(depth) for depth in z),
        mode=checked_mode(mode),
        noise=noise,
        seed=seed,
        tolerance=tolerance,
        device=checked_device(device),
    )


def _check_microscopes(optics: Sequence[Microscope]) -> None:
    names = [one.name for one in optics]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"microscopes {', '.join(names)}: allowed are one or more, of different names")
    if len({one.size_px for one in optics}) != 1:
        shown = ", ".join(f"{one.name} {one.size_px[0]} x {one.size_px[1]}" for one in optics)
        raise UsageError(
            f"microscopes {shown}: allowed are images of one size; give all the same size_px (dataclasses.replace), or "
            "simulate them one by one"
        )


def _psfs(psf: MeasuredPsf | Mapping[str, MeasuredPsf] | None, names: Sequence[str]) -> Mapping[str, MeasuredPsf]:
    """Return the measured PSFs by the names of their microscopes."""
    if isinstance(psf, MeasuredPsf) and len(names) > 1:
        raise UsageError(f"psf: one for {len(names)} microscopes; allowed is a mapping from {', '.join(names)}")
    psfs = {names[0]: psf} if isinstance(psf, MeasuredPsf) else dict(psf or {})
    if unknown := sorted(set(psfs) - set(names)):
        raise UsageError(f"psf: {', '.join(unknown)} is none of the microscopes; those are {', '.join(names)}")
    if not all(isinstance(one, MeasuredPsf) for one in psfs.values()):
        raise UsageError(
            "psf: allowed is what msl_store.optics.measured.measured_psf returns, or a mapping of names to it"
        )
    return psfs
