"""The engine beside what one would otherwise image a shape with: one image, and a stack of 32 planes 0.1 um apart.

`python tests/benchmarks/imaging_peers.py [--json] [--microscope conf2] [--shapes small,large]
[--instance FOLDER] [--microsim PYTHON]`

Two shapes: instance 1 of the published data (4,141 emitters) where it is at hand, else as many on a procedural rod; and
50,000 on a torus. On each, with the same microscope and pixels:

- *engine*: `expected_images` with the plan at hand, at the tolerance named; it promises no more error than that, and
  so errs less. `cold` rows say what a first call takes;
- *paper*: the published simulator's way, every emitter's PSF read from a table at every pixel (see `engine.py`), the
  table at hand; a stack is reckoned as its 32 planes;
- *microsim*: https://pypi.org/project/microsim, in the interpreter that ``--microsim`` names, with our PSF in place of
  its own and the voxels of the particle mesh (see `microsim_peer.py`);
- *plain FFT*, *particle mesh* and, for the stack, *3D FFT*: see `voxel_imaging.py`. Of many sizes of voxels the
  cheapest is taken that errs by at most 1e-3, or else, of those that fit in memory, the cheapest of the most exact.

Errors are the largest of a pixel over the largest pixel, against direct summation: of the image, and of some of the
stack's planes, each to its own brightest pixel. The engine is compared at the tolerance that is the fastest of those
whose images err by at most 1e-3, as voxels are chosen. Methods that err by more than 1e-2 are not compared: where
immersion and sample differ in index, the PSF changes with the focus, and one convolution cannot make a stack. Times are
of processors, one thread each, in turn and in one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import INSTANCE, instance_emitters, psf_table, ring, spline
from benchmarks.measuring import Goal, fresh, show, side_by_side
from benchmarks.voxel_imaging import (
    HALF_PX,
    StackByPlanes,
    StackByVolume,
    kernel_bytes,
    psf_volume,
    volume_bytes,
    voxelised,
    voxels_about,
)

from ingest.procedural import instance
from msl_store.optics.emitters import sample_emitters
from msl_store.optics.imaging import expected_images
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.microscope import PRESETS, Microscope, get_microscope
from msl_store.optics.reference import direct_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.voxel_imaging import Voxels

ERROR, COMPARABLE = 1e-3, 1e-2
TOLERANCES = (0.1, 0.03, 0.01, 0.003, 0.001)
"""The engine's, the last its default."""

Z_UM = (0.1 * (np.arange(32) - 15.5)).tolist()
CHECKED = {"small": (0, 2, 4, 5, 8, 16, 27, 31), "large": (2, 16, 30)}
"""Planes of the stack that are also summed directly, the engine's least exact ones among them."""

FINE, STEPS_UM = (1, 2, 3, 4, 6, 8, 12), (0.1, 0.05, 0.025, 0.0125)
MOST_VOXELS, MOST_BYTES = 64_000_000, 2_000_000_000
"""Most voxels that are tried, and most bytes of kernels."""

UPRIGHT = np.eye(3)[None]
TIMES = {"paper": (3000, None), "microsim": (100, 5), "plain FFT": (100, 5), "3D FFT": (100, 5)}
TIMES["particle mesh"] = (100, 5)
"""How many times as fast the engine should be, for an image and a stack."""


@dataclass
class Case:
    """One shape, one image or stack of it, and what each method made of it."""

    shape: str
    emitters: np.ndarray
    microscope: Microscope
    z_um: list[float] | None
    truth: np.ndarray
    checked: list[int]
    errors: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def focuses(self) -> list[float]:
        """Immersion displacements of all planes."""
        m = self.microscope
        return [m.immersion_displacement_um] if self.z_um is None else [m.focused(depth) for depth in self.z_um]

    def error(self, images: np.ndarray) -> float:
        """Return the error of the checked planes."""
        off = np.abs(images - self.truth).max(axis=(1, 2)) / self.truth.max(axis=(1, 2))
        return float(off.max())

    def rows(self) -> list[dict[str, Any]]:
        """Return the table's rows."""
        count = len(self.focuses)
        return [
            {
                "shape": f"{self.shape}, {len(self.emitters)}",
                "what": "image" if self.z_um is None else f"stack of {count}",
                "method": name,
                "setting": self.settings.get(name, ""),
                "error": f"{self.errors[name]:.1e}" if name in self.errors else "",
                "core ms": float(f"{1e3 * seconds:.4g}"),
                "images/s": float(f"{count / seconds:.4g}"),
                "over the engine": float(f"{seconds / self.seconds['engine']:.3g}"),
            }
            for name, seconds in self.seconds.items()
        ]

    def goals(self) -> list[Goal]:
        """Return what was to be reached."""
        what, which = ("an image", 0) if self.z_um is None else ("a stack", 1)
        default = "engine, default"
        found = [Goal(f"{what}, {self.shape}: the engine's error at 1e-3", self.errors[default], 1e-3)]
        for name, limits in TIMES.items():
            if name in self.seconds and self.errors[name] <= COMPARABLE and (limit := limits[which]):
                times = self.seconds[name] / self.seconds["engine"]
                claim = f"{what}, {self.shape}: times {name}"
                if self.errors[name] > ERROR:
                    claim += f", which errs by {self.errors[name]:.1e}"
                found.append(Goal(claim, times, limit, at_least=True))
        if self.shape == "large" and self.z_um is None:
            found.append(Goal("an image of 50,000 emitters at 1e-3: core-ms", 1e3 * self.seconds[default], 10))
        return found


def shapes(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the shapes, centred."""
    if folder.is_dir():
        yield "small", instance_emitters(folder)
    else:
        rod = instance("rod", 1, seed=0)
        emitters = sample_emitters(rod.vertices_um(), rod.faces, np.random.default_rng(0), 4141)
        yield "small", emitters - emitters.mean(axis=0)
    yield "large", ring(50_000)


def sizes(case: Case, *, shared: tuple[bool, ...], corrected: bool, by_volume: bool = False) -> list[Voxels]:
    """Return the voxels to try, few before many."""
    origin = case.z_um[0] if case.z_um else 0.0
    found = [
        voxels_about(case.emitters, case.microscope, fine, step, shared=each, corrected=corrected, origin_um=origin)
        for fine in FINE
        for step in STEPS_UM
        for each in shared
    ]

    def held(voxels: Voxels) -> int:
        if by_volume:
            return volume_bytes(voxels, case.z_um or [])
        return len(case.focuses) * kernel_bytes(voxels, case.microscope)

    return sorted(
        (voxels for voxels in found if voxels.count <= MOST_VOXELS and held(voxels) <= MOST_BYTES),
        key=lambda voxels: voxels.count,
    )


def cheapest(case: Case, candidates: list[Voxels], check: Callable[[Voxels], np.ndarray]) -> tuple[Voxels, float]:
    """Return the first voxels that err by at most 1e-3, or else the first that err hardly more than the best do."""
    errors: dict[Voxels, float] = {}
    for voxels in candidates:
        errors[voxels] = case.error(check(voxels))
        if errors[voxels] <= ERROR:
            break
    enough = max(ERROR, 1.1 * min(errors.values()))
    return next((voxels, error) for voxels, error in errors.items() if error <= enough)


def fft_peers(case: Case) -> dict[str, Any]:
    """Choose the voxels of every FFT method, and return the methods made ready."""
    some = [case.focuses[plane] for plane in case.checked]
    methods: dict[str, Any] = {}

    def by_planes(voxels: Voxels) -> np.ndarray:
        return StackByPlanes(voxels, case.microscope, some)(case.emitters)

    def by_volume(voxels: Voxels) -> np.ndarray:
        return StackByVolume(voxels, case.microscope, case.z_um or [])(case.emitters)[case.checked]

    for name, shared, corrected in (("plain FFT", (False, True), False), ("particle mesh", (True,), True)):
        voxels, case.errors[name] = cheapest(case, sizes(case, shared=shared, corrected=corrected), by_planes)
        case.settings[name] = described(voxels)
        methods[name] = StackByPlanes(voxels, case.microscope, case.focuses)
    if case.z_um is not None:
        candidates = sizes(case, shared=(True,), corrected=True, by_volume=True)
        voxels, case.errors["3D FFT"] = cheapest(case, candidates, by_volume)
        case.settings["3D FFT"] = described(voxels)
        methods["3D FFT"] = StackByVolume(voxels, case.microscope, case.z_um)
    return methods


def described(voxels: Voxels) -> str:
    """Return a grid and how emitters get into it."""
    return f"{voxels}, {'shared' if voxels.shared else 'nearest'}"


def microsim(case: Case, voxels: Voxels, python: str) -> None:
    """Run microsim in its own process."""
    m, fine, step = case.microscope, voxels.fine, voxels.step_um
    window = slice(voxels.side // 2 - HALF_PX * fine, voxels.side // 2 + HALF_PX * fine)
    volume = voxelised(case.emitters, m, voxels)[:, window, window]
    if case.z_um is None:
        wanted = np.array([voxels.planes // 2])
        half = max(wanted[0], voxels.planes - 1 - wanted[0])
        psf = psf_volume(voxels, m, voxels.low_um + step * (wanted[0] + np.arange(-half, half + 1)), case.focuses[0])
    else:
        wanted = np.rint((np.array(case.z_um) - voxels.low_um) / step).astype(int)
        before, after = max(0, -wanted[0]), max(0, wanted[-1] - voxels.planes + 1)
        volume = np.pad(volume, [(before, after), (0, 0), (0, 0)])
        wanted += before
        half = len(volume) - 1
        psf = psf_volume(voxels, m, step * np.arange(-half, half + 1), m.focused(0.0))
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        edges = (step, m.pixel_um / fine, m.pixel_um / fine)
        repeat = 3 if case.z_um is None else 1
        np.savez(given, volume=volume, psf=psf[::-1], edges=edges, planes=wanted, repeat=repeat)
        command = [python, str(Path(__file__).with_name("microsim_peer.py")), str(given), str(made)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900)
        with np.load(made) as arrays:
            images, seconds = arrays["images"], arrays["seconds"]
    sampled = images[:, ::fine, ::fine]
    case.errors["microsim"] = case.error(sampled[case.checked] if case.z_um else sampled)
    case.seconds["microsim"] = float(statistics.median(seconds))
    case.settings["microsim"] = described(voxels)


def first_image(emitters: np.ndarray, microscope: str) -> float:
    """Return the seconds of a process's first image, all imports but numpy's included."""
    began = time.process_time()
    from msl_store.optics.imaging import expected_images as engine

    engine(emitters, get_microscope(microscope), UPRIGHT)
    return time.process_time() - began


def measured(case: Case, paper_s: float, python: str | None) -> None:
    """Fill in a case."""
    engine = partial(expected_images, rotations=UPRIGHT, z_um=case.z_um)

    def seen(tolerance: float) -> np.ndarray:
        images = engine(case.emitters, case.microscope, tolerance=tolerance)
        return images[0][case.checked] if case.z_um else images

    enough = [tolerance for tolerance in TOLERANCES if case.error(seen(tolerance)) <= ERROR]
    tried = {str(tolerance): lambda tolerance=tolerance: partial(seen, tolerance) for tolerance in enough}
    times = side_by_side(tried, 5, clock=time.process_time)
    tolerance = min(enough, key=lambda tolerance: statistics.median(times[str(tolerance)]))
    methods = fft_peers(case)
    for name, each in (("engine", tolerance), ("engine, default", 1e-3)):
        methods[name] = partial(engine, microscope=case.microscope, tolerance=each)
        case.errors[name], case.settings[name] = case.error(seen(each)), f"tolerance {each:g}"
    actions = {name: (lambda method=method: lambda: method(case.emitters)) for name, method in methods.items()}
    engines = {name: actions.pop(name) for name in ("engine", "engine, default")}
    seconds = side_by_side(engines, 25, clock=time.process_time)
    for n in (1, 2, 3):
        other = replace(case.microscope, wavelength_um=case.microscope.wavelength_um + 1e-5 * n)
        began = time.process_time()
        engine(case.emitters, other)
        seconds.setdefault("engine, default, cold: a new plan", []).append(time.process_time() - began)
    seconds["paper"] = [paper_s * len(case.focuses)]
    seconds |= side_by_side(actions, 5, clock=time.process_time)
    case.seconds = {name: statistics.median(times) for name, times in seconds.items()}
    if python:
        microsim(case, methods["particle mesh" if case.z_um is None else "3D FFT"].voxels, python)


def cases(shape: str, emitters: np.ndarray, microscope: Microscope, python: str | None) -> Iterator[Case]:
    """Measure a shape's image, and its stack."""
    truth = direct_images(emitters, microscope, UPRIGHT)
    tabulated = psf_table(emitters, microscope)
    began = time.process_time()
    by_paper = spline(emitters, microscope, tabulated)
    paper_s = time.process_time() - began
    one = Case(shape, emitters, microscope, None, truth, [0])
    one.errors["paper"] = one.error(by_paper[None])
    measured(one, paper_s, python)
    one.seconds["engine, default, cold: a process's first"] = fresh(first_image, emitters, microscope.name)
    yield one
    checked = list(CHECKED[shape])
    planes = direct_images(emitters, microscope, UPRIGHT, z_um=[Z_UM[plane] for plane in checked])[0]
    stack = Case(shape, emitters, microscope, Z_UM, planes, checked)
    stack.errors["paper"] = one.errors["paper"]
    measured(stack, paper_s, python)
    yield stack


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--microscope", default="conf2", choices=[*PRESETS, *INSTRUMENTS])
    parser.add_argument("--shapes", default="small,large")
    parser.add_argument("--instance", type=Path, default=INSTANCE, help="the folder of instance 1")
    parser.add_argument("--microsim", metavar="PYTHON", help="an interpreter that has microsim")
    options = parser.parse_args()
    microscope = get_microscope(options.microscope)
    found = [
        case
        for shape, emitters in shapes(options.instance)
        if shape in options.shapes.split(",")
        for case in cases(shape, emitters, microscope, options.microsim)
    ]
    title = f"{options.microscope}, one thread; errors against direct summation"
    rows = [row for case in found for row in case.rows()]
    show(title, rows, [goal for case in found for goal in case.goals()], as_json=options.json)


if __name__ == "__main__":
    main()
