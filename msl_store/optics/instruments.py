"""Common instruments as microscopes, each with the source of its numbers.

Photons, exposures and pinholes are choices of an experiment: take a preset and `dataclasses.replace` what differs.
"""

from __future__ import annotations

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
    source="Hamamatsu, data sheet of the ORCA-Flash4.0 V3 (C13440-20CU), standard scan, air-cooled: read noise 1.0 "
    "(median) and 1.6 (rms) electrons, which a log-normal of spread sqrt(log(1.6 / 1.0)) has; 6.5 um pixels",
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
    source="Andor, 'Dynamic range and EMCCDs' (andor.oxinst.com/learning): 45 electrons at 10 MHz; data sheet of the "
    "iXon Ultra 888: efficiency, well, 13 um pixels; gain, electrons a count and offset are usual settings",
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
    source="Hamamatsu, data sheet of the H7422P-40 GaAsP photomultiplier: 40 % efficiency at its peak; every photon "
    "detected is one count, and exposure is the time on a pixel",
)
"""The detector of a scanning microscope: counts of photons, without read noise."""

_WATER: dict[str, Any] = {"n_immersion": IMMERSIONS["water"], "n_immersion_design": IMMERSIONS["water"]}
_DIPPING: dict[str, Any] = {**_WATER, "n_sample": IMMERSIONS["water"], "glass_um": 0.0, "glass_design_um": 0.0}
_NIKON = "Nikon MicroscopyU, 'Working Distance and Parfocal Length', table 1"


INSTRUMENTS: Mapping[str, Microscope] = MappingProxyType(
    {
        microscope.name: microscope
        for microscope in (
            Microscope(
                name="widefield-100x-oil",
                numerical_aperture=1.4,
                magnification=100.0,
                wavelength_um=0.525,
                pixel_um=0.065,
                working_distance_um=130.0,
                camera=ORCA_FLASH,
                source=f"Nikon Plan Apo 100x/1.40 oil: {_NIKON}; 6.5 um pixels",
            ),
            Microscope(
                name="widefield-100x-oil-emccd",
                numerical_aperture=1.4,
                magnification=100.0,
                wavelength_um=0.525,
                pixel_um=0.13,
                working_distance_um=130.0,
                camera=IXON_888,
                source=f"Nikon Plan Apo 100x/1.40 oil: {_NIKON}; 13 um pixels",
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
                source=f"Nikon Plan Apo 60x/1.40 oil: {_NIKON}; a pinhole of one Airy unit; pixels near Nyquist's",
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
                source="Olympus, data sheet of the UPLSAPO60XW: 60x/1.2 water, 0.28 mm; Yokogawa CSU-X1: pinholes of "
                "50 um, that is 0.83 um in the sample; 13 um pixels",
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
                source="Olympus, data sheet of the XLPLN25XWMP2: 25x/1.05 water dipping, 2.0 mm; 920 nm for GFP",
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
                source="B.-C. Chen et al., 'Lattice light-sheet microscopy', Science 346, 1257998 (2014): detection by "
                "a Nikon CFI Apo LWD 25XW 1.1 NA with a 500 mm tube lens, 6.5 um pixels; a sheet of 1 um",
                **_DIPPING,
            ),
        )
    }
)
"""Instruments by name, focused on the coverslip but for what `Microscope.immersion_displacement_um` says."""
