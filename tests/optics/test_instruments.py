import numpy as np
import pytest

from msl_store.errors import UsageError
from msl_store.optics.description import read_description, write_description
from msl_store.optics.emitters import NM2_PER_EMITTER
from msl_store.optics.exposure import expose
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.microscope import MODALITIES, PRESETS, Microscope, get_microscope
from msl_store.optics.psf import AIRY_UNIT

ALL = {**PRESETS, **INSTRUMENTS}


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("name", ALL)
def test_a_description_survives_text(name, form):
    assert read_description(write_description(ALL[name], form), Microscope) == ALL[name]


def test_instruments_have_sources_cameras_and_every_modality():
    assert all(m.source and m.camera is not None and m.camera.source for m in INSTRUMENTS.values())
    assert {m.modality for m in ALL.values()} == set(MODALITIES)
    assert all(get_microscope(name) is m for name, m in ALL.items())


def test_sources_say_what_is_assumed():
    for microscope in INSTRUMENTS.values():
        for source in (microscope.source, microscope.camera.source):
            known, assumed = source.split("Assumed: ")
            assert known
            assert assumed


def test_pixels_are_the_cameras_over_the_magnification():
    camera_um = {"ORCA-Flash4.0": 6.5, "iXon Ultra 888": 13.0}
    for microscope in INSTRUMENTS.values():
        edges = [um for camera, um in camera_um.items() if camera in microscope.camera.source]
        for edge in edges:
            assert microscope.pixel_um == pytest.approx(edge / microscope.magnification, rel=1e-3)
            assert f"{edge:g} um pixels" in microscope.source


def test_no_instrument_saturates_on_a_densely_labelled_sphere():
    points = np.random.default_rng(0).normal(size=(round(4 * np.pi * 0.4**2 * 1e6 / NM2_PER_EMITTER), 3))
    sphere = 0.4 * points / np.linalg.norm(points, axis=1)[:, None]
    for microscope in INSTRUMENTS.values():
        camera = microscope.camera
        (counts,) = expose(sphere, microscope, ["0"], instance=0)
        brightest = (counts.max() - camera.offset_counts) * camera.electrons_per_count / camera.em_gain
        assert 100 < brightest < camera.full_well_electrons / 2
        assert counts.max() < 2**camera.bit_depth - 1


def test_the_spinning_disk_has_the_pinholes_of_its_disk():
    microscope = INSTRUMENTS["spinning-disk-60x-water"]
    airy_um = AIRY_UNIT * microscope.wavelength_um / microscope.numerical_aperture
    assert microscope.pinhole_au * airy_um * microscope.magnification == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_instruments_expose(name):
    emitters = np.random.default_rng(0).normal(size=(300, 3)) * [0.5, 0.5, 0.2]
    microscope = INSTRUMENTS[name]
    (counts,) = expose(emitters, microscope, ["0"], instance=0)
    middle, border = counts[54:74, 54:74].mean(), counts[:8].mean()
    assert border == pytest.approx(microscope.camera.offset_counts, abs=30)
    assert middle > border + 1
    assert counts.max() < 2**16 - 1


def test_the_immersion_is_named():
    assert INSTRUMENTS["two-photon-25x-water"].immersion == "water"
    assert PRESETS["conf1"].immersion == "oil"


def test_published_descriptions_hold_what_they_always_held():
    assert list(PRESETS["conf1"].to_dict()) == [
        "name", "numerical_aperture", "wavelength_um", "pixel_um", "modality", "size_px", "n_sample", "n_immersion",
        "n_immersion_design", "n_glass", "n_glass_design", "glass_um", "glass_design_um", "working_distance_um",
        "immersion_displacement_um",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "the text holds a list, but must hold fields with values"),
        ("a: [", "the text is neither JSON nor YAML"),
        ("name: x", "numerical_aperture, wavelength_um, pixel_um is missing; name, numerical_aperture"),
        ("camera: {colour: red}", "camera: unknown field colour"),
    ],
)
def test_texts_that_are_no_microscope_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        read_description(text, Microscope)


def test_there_are_two_forms():
    with pytest.raises(UsageError, match="form is 'xml', but must be json or yaml"):
        write_description(PRESETS["conf1"], "xml")
