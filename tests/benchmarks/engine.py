"""The spectral engine: agreement with the published images, error against direct summation, and time against it.

`python tests/benchmarks/engine.py [--json] [--microscope conf2] [--emitters 50000]`

Everything runs in one thread (none of it uses BLAS), every sum is run in full, and all times come from the same run.
Takes some minutes, nearly all of them in the direct sums:

- *exact*: every emitter's radial profile by quadrature at its own depth, then every pixel (`direct_images`);
- *spline*: as the published simulator did it: a table of the PSF over depth (1 nm) and radius (a quarter pixel), read
  for every emitter on every pixel by scipy's cubic spline;
- *lookup*: the leanest that the direct method can be made: the same table, bilinear, one compiled loop.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from scipy.ndimage import map_coordinates, spline_filter

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show

from msl_store.optics.emitters import sample_emitters
from msl_store.optics.imaging import expected_images
from msl_store.optics.microscope import PRESETS, Microscope
from msl_store.optics.psf import point_spread
from msl_store.optics.reference import direct_images
from msl_store.optics.rotations import SIMULATED_ORDER, published_rotation
from msl_store.shapes import VOXEL_UM

INSTANCE = Path(__file__).parents[2].parent / "shared" / "data" / "3dmsl" / "1"
FILES = {"conf1": "Conf1_imgs/N_0_1_{}.tif", "conf2": "Conf2_imgs/0_1_{}.tif", "epi1": "Epi1_imgs/0_1_{}.tif"}
DEPTH_STEP_UM = 0.001


def ring(count: int) -> np.ndarray:
    """Place emitters on a tilted torus 3.4 um across: the area that 50,000 published emitters have."""
    steps = 180, 60
    along, around = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in steps), indexing="ij")
    reach = 1.3 + 0.38 * np.cos(around)
    flat = np.stack([reach * np.cos(along), reach * np.sin(along), 0.38 * np.sin(around)], axis=-1).reshape(-1, 3)
    tilt = math.radians(20)
    turn = [[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]]
    corner = np.arange(len(flat)).reshape(steps)
    ahead, beside = np.roll(corner, -1, axis=0), np.roll(corner, -1, axis=1)
    across = np.roll(ahead, -1, axis=1)
    faces = np.concatenate(
        [np.stack(corners, axis=-1) for corners in ((corner, ahead, across), (corner, across, beside))], 1
    )
    return sample_emitters(flat @ np.array(turn), faces.reshape(-1, 3), np.random.default_rng(0), count)


def psf_table(emitters: np.ndarray, microscope: Microscope) -> tuple[np.ndarray, float]:
    """Tabulate the PSF over depth and radius, from the deepest emitter; (depth, radius), and the radial step."""
    step = microscope.pixel_um / 4
    radii = step * np.arange(8 * 128 + 8)
    low, high = emitters[:, 2].min(), emitters[:, 2].max()
    depths = low + DEPTH_STEP_UM * np.arange(math.ceil((high - low) / DEPTH_STEP_UM) + 2)
    displacement = microscope.immersion_displacement_um
    table = point_spread(radii, depths, microscope, immersion_displacement_um=displacement)
    return np.ascontiguousarray(table.T, np.float32), step


def centres(microscope: Microscope) -> np.ndarray:
    """Return the coordinates of the pixel centres along one axis in um."""
    return (np.arange(128) + 0.5 - 64) * microscope.pixel_um


def spline(
    emitters: np.ndarray, microscope: Microscope, tabulated: tuple[np.ndarray, float] | None = None
) -> np.ndarray:
    """Sum the PSF of every emitter over every pixel by cubic splines; `tabulated` is what `psf_table` returns."""
    table, step = tabulated or psf_table(emitters, microscope)
    filtered, at, low = spline_filter(table), centres(microscope), emitters[:, 2].min()
    image = np.zeros(128 * 128)
    for batch in np.array_split(emitters, math.ceil(len(emitters) / 100)):
        radius = np.hypot(at[None, :, None] - batch[:, 1, None, None], at[None, None, :] - batch[:, 0, None, None])
        depth = np.broadcast_to((batch[:, 2, None, None] - low) / DEPTH_STEP_UM, radius.shape)
        values = map_coordinates(filtered, [depth.ravel(), radius.ravel() / step], prefilter=False)
        image += values.reshape(len(batch), -1).sum(axis=0)
    return image.reshape(128, 128)


@numba.njit(error_model="numpy")
def _look_up(emitters: Any, low: float, table: Any, step: float, at: Any, image: Any) -> None:
    profile = np.empty(table.shape[1], np.float32)
    for i in range(len(emitters)):
        position = (emitters[i, 2] - low) / 0.001
        row = int(position)
        share = np.float32(position - row)
        for j in range(len(profile)):
            profile[j] = table[row, j] + share * (table[row + 1, j] - table[row, j])
        for y in range(len(at)):
            dy = at[y] - emitters[i, 1]
            for x in range(len(at)):
                dx = at[x] - emitters[i, 0]
                radius = math.sqrt(dx * dx + dy * dy) / step
                j = int(radius)
                image[y, x] += profile[j] + (radius - j) * (profile[j + 1] - profile[j])


def look_up(emitters: np.ndarray, microscope: Microscope) -> np.ndarray:
    """Sum the PSF of every emitter over every pixel by bilinear interpolation in a compiled loop."""
    table, step = psf_table(emitters, microscope)
    image = np.zeros((128, 128))
    _look_up(emitters, emitters[:, 2].min(), table, step, centres(microscope), image)
    return image


def instance_emitters(folder: Path) -> np.ndarray:
    """Place the published number of emitters on the mesh of a published instance, centred on their mean."""
    lines = (folder / "raw_mesh.off").read_text().splitlines()
    vertex_count, face_count, _ = map(int, lines[1].split())
    vertices = np.loadtxt(lines[2 : 2 + vertex_count]) * VOXEL_UM
    faces = np.loadtxt(lines[2 + vertex_count : 2 + vertex_count + face_count], dtype=np.int64)[:, 1:]
    emitters = sample_emitters(vertices, faces, np.random.default_rng(0))
    return emitters - emitters.mean(axis=0)


def correlations() -> list[dict[str, Any]]:
    """Correlate noise-free published simulations of instance 1 with its images, where it is at hand."""
    if not INSTANCE.is_dir():
        return []
    import tifffile

    emitters = instance_emitters(INSTANCE)
    rows = []
    for name, file in FILES.items():
        rotations = np.array([published_rotation(name, view) for view in SIMULATED_ORDER])
        images = expected_images(emitters, PRESETS[name], rotations, keep="above")
        row: dict[str, Any] = {"microscope": name, "what": "correlation with instance 1"}
        for view, image in zip(SIMULATED_ORDER, images, strict=True):
            published = tifffile.imread(INSTANCE / file.format(view))
            row[view] = round(float(np.corrcoef(image.ravel(), published.ravel())[0, 1]), 3)
        rows.append(row)
    return rows


def seconds(action: Any, repeat: int) -> float:
    """Return the median time of an action."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--microscope", default="conf2", choices=list(PRESETS))
    parser.add_argument("--emitters", type=int, default=50_000)
    options = parser.parse_args()
    microscope, emitters, upright = PRESETS[options.microscope], ring(options.emitters), np.eye(3)[None]
    agreement = correlations()

    look_up(emitters[:2], microscope)  # compiles
    direct_images(emitters[:2], microscope, upright)
    directs, truth = {}, np.empty(0)
    for name, method in (
        ("exact", lambda: direct_images(emitters, microscope, upright)[0]),
        ("spline", lambda: spline(emitters, microscope)),
        ("lookup", lambda: look_up(emitters, microscope)),
    ):
        began = time.perf_counter()
        image = method()
        directs[name] = time.perf_counter() - began
        truth = image if name == "exact" else truth

    rows: list[dict[str, Any]] = []
    goals: list[Goal] = []
    for tolerance in (1e-2, 1e-3, 1e-4, 1e-5):
        began = time.perf_counter()
        image = expected_images(emitters, microscope, upright, tolerance=tolerance)[0]
        first = time.perf_counter() - began
        error = float(np.abs(image - truth).max() / truth.max())
        again = seconds(lambda t=tolerance: expected_images(emitters, microscope, upright, tolerance=t), 25)
        faster = {f"{name} / engine": round(directs[name] / again) for name in directs}
        rows.append({"tolerance": tolerance, "error": error, "first ms": first * 1e3, "ms": again * 1e3, **faster})
        goals.append(Goal(f"error at tolerance {tolerance:g}", error, tolerance))
        if tolerance == 1e-3:
            goals.append(Goal("ms an image at 1e-3", again * 1e3, 10))
            goals += [
                Goal(f"times faster than {name} at 1e-3", directs[name] / again, 1000, at_least=True)
                for name in ("exact", "spline")
            ]
    for row in rows:
        row.update({"error": f"{row['error']:.1e}", "first ms": round(row["first ms"]), "ms": round(row["ms"], 2)})
    title = f"{options.microscope}, {options.emitters} emitters, one thread; direct sums in s: "
    title += ", ".join(f"{name} {value:.1f}" for name, value in directs.items())
    if agreement and not options.json:
        show("agreement with the published images", agreement, [], as_json=False)
    show(title, rows + agreement if options.json else rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
