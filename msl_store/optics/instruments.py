"""Common instruments as microscopes, each with the source of its numbers.

A source says first which numbers a document was seen to give, and where it is; then, after *assumed*, those that are
usual values, choices or from memory. No maker's data sheet was at hand in full: what is quoted from one was seen in
the documents named.

Photons, exposures and pinholes are choices of an experiment: take a preset and `dataclasses.replace` what differs.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msl_store.optics.detector import Camera
from msl_store.optics.microscope import IMMERSIONS, Microscope

if TYPE_CHECKING:
    from collections.abc import Mapping

ORCA_FLASH = Camera(
    chip="scmos",
    quantum_efficiency=0.82,
    dark_electrons_per_s=0.06,
    read_noise_electrons=1.0,
    read_noise_spread=0.69,
    electrons_per_count=0.46,
    offset_counts=100.0,
    full_well_electrons=30_000.0,
    source="Hamamatsu ORCA-Flash4.0 V3 (C13440-20CU): efficiency at its peak, 1.6 electrons rms of read noise, dark "
    "current and well as others quote https://www.hamamatsu.com/us/en/product/cameras/cmos-cameras/C13440-20CU.html; "
    "electrons a count and offset as others quote its manual, C13440-20CU_IM_En.pdf. Assumed: a median read noise of "
    "1.0 electron, so that the log-normal's spread is sqrt(log(1.6 / 1.0)); photons and exposure",
)
"""A scientific CMOS camera."""

IXON_888 = Camera(
    chip="emccd",
    photons_per_emitter=5.0,
    quantum_efficiency=0.95,
    read_noise_electrons=45.0,
    em_gain=300.0,
    electrons_per_count=10.0,
    offset_counts=200.0,
    full_well_electrons=80_000.0,
    source="Andor iXon Ultra 888: 45 electrons of read noise at 10 MHz by "
    "https://andor.oxinst.com/learning/view/article/dynamic-range-emccds; efficiency and 13 um pixels by its brochure, "
    "https://raw.githubusercontent.com/SciCrunch/RRID-Instruments/refs/heads/main/PDF/SCR_023166.pdf. Assumed: a well "
    "of 80,000 electrons, a gain of 300 as published methods have it, 10 electrons a count, the offset, no dark "
    "current (the sensor is cooled), and light so dim that the gain does not saturate densely labelled shapes",
)
"""An electron-multiplying CCD camera."""

COUNTING = Camera(
    chip="scmos",
    photons_per_emitter=5.0,
    quantum_efficiency=0.4,
    read_noise_electrons=0.0,
    electrons_per_count=1.0,
    offset_counts=0.0,
    exposure_s=1e-6,
    full_well_electrons=65_535.0,
    source="A photon-counting photomultiplier: every photon detected is one count, and exposure is the time on a "
    "pixel. Assumed: 40 % efficiency, as GaAsP cathodes such as the Hamamatsu H7422-40's have at their peak; photons",
)
"""The detector of a scanning microscope: counts of photons, without read noise."""

_WATER: dict[str, Any] = {"n_immersion": IMMERSIONS["water"], "n_immersion_design": IMMERSIONS["water"]}
_DIPPING: dict[str, Any] = {**_WATER, "n_sample": IMMERSIONS["water"], "glass_um": 0.0, "glass_design_um": 0.0}
_NIKON = (
    "aperture and working distance by Nikon MicroscopyU, 'Working Distance and Parfocal Length', table 1, "
    "http://www.microscopyu.com/articles/formulas/formulasworkingparfocal.html"
)
_GFP = "emission of GFP-like fluorophores"
_PLAN_APO_100X = f"Nikon Plan Apo 100x/1.40 oil: {_NIKON}"

_WIDEFIELD = Microscope(
    name="widefield-100x-oil",
    numerical_aperture=1.4,
    magnification=100.0,
    wavelength_um=0.525,
    pixel_um=0.065,
    working_distance_um=130.0,
    camera=ORCA_FLASH,
    source=f"{_PLAN_APO_100X}; 6.5 um pixels of the camera. Assumed: {_GFP}",
)

INSTRUMENTS: Mapping[str, Microscope] = MappingProxyType(
    {
        microscope.name: microscope
        for microscope in (
            _WIDEFIELD,
            replace(
                _WIDEFIELD,
                name="widefield-100x-oil-emccd",
                pixel_um=0.13,
                camera=IXON_888,
                source=f"{_PLAN_APO_100X}; 13 um pixels of the camera. Assumed: {_GFP}",
            ),
            Microscope(
                name="confocal-60x-oil",
                modality="confocal",
                numerical_aperture=1.4,
                magnification=60.0,
                excitation_um=0.488,
                wavelength_um=0.525,
                pinhole_au=1.0,
                pixel_um=0.05,
                working_distance_um=210.0,
                camera=COUNTING,
                source=f"Nikon Plan Apo 60x/1.40 oil: {_NIKON}. Assumed: a pinhole of one Airy unit, pixels near "
                f"Nyquist's, a 488 nm laser, {_GFP}",
            ),
            Microscope(
                name="spinning-disk-60x-water",
                modality="confocal",
                numerical_aperture=1.2,
                magnification=60.0,
                excitation_um=0.488,
                wavelength_um=0.525,
                pinhole_au=1.56,
                pixel_um=0.2167,
                working_distance_um=280.0,
                camera=IXON_888,
                source="Olympus UPLSAPO60XW: aperture and working distance by Evident's table of objectives, in "
                "https://github.com/micro-manager/mmCoreAndDevices, EvidentLensDatabase.h; Yokogawa CSU-X1: pinholes "
                "of 50 um by the documentation of https://github.com/tlambert03/microsim, that is 0.83 um in the "
                f"sample; 13 um pixels of the camera. Assumed: no crosstalk between pinholes, a 488 nm laser, {_GFP}",
                **_WATER,
            ),
            Microscope(
                name="two-photon-25x-water",
                modality="two-photon",
                numerical_aperture=1.05,
                magnification=25.0,
                excitation_um=0.92,
                wavelength_um=0.525,
                pixel_um=0.15,
                working_distance_um=2000.0,
                camera=COUNTING,
                source="Olympus XLPLN25XWMP2: 25x/1.05 and 2.0 mm as published methods quote it. Assumed: 920 nm for "
                f"GFP, pixels near Nyquist's, {_GFP}",
                **_DIPPING,
            ),
            Microscope(
                name="light-sheet-25x-water",
                modality="light-sheet",
                numerical_aperture=1.1,
                magnification=62.5,
                sheet_um=1.0,
                wavelength_um=0.525,
                pixel_um=0.104,
                working_distance_um=2000.0,
                camera=ORCA_FLASH,
                source="After B.-C. Chen et al., 'Lattice light-sheet microscopy', Science 346, 1257998 (2014): "
                "detection by a Nikon CFI Apo LWD 25XW of NA 1.1, as methods of such microscopes quote it; 6.5 um "
                "pixels of the camera. Assumed: 2.0 mm as of Nikon's 25x/1.10 for multiphoton imaging, "
                "https://thorlabs.com/NewGroupPage9.cfm?objectgroup_id=5824; a 500 mm tube lens, which makes 62.5x; a "
                f"Gaussian sheet of 1 um; {_GFP}",
                **_DIPPING,
            ),
        )
    }
)
"""Instruments by name, focused on the coverslip but for what `Microscope.immersion_displacement_um` says."""
