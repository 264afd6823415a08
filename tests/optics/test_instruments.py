import pytest

from msl_store.errors import UsageError
from msl_store.optics.description import read_description, write_description
from msl_store.optics.exposure import expose
from msl_store.optics.instruments import INSTRUMENTS
from msl_store.optics.microscope import MODALITIES, PRESETS, Microscope, get_microscope

ALL = {**PRESETS, **INSTRUMENTS}


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("name", ALL)
def test_a_description_survives_text(name, form):
    assert read_description(write_description(ALL[name], form), Microscope) == ALL[name]


def test_instruments_have_sources_cameras_and_every_modality():
    assert all(m.source and m.camera is not None and m.camera.source for m in INSTRUMENTS.values())
    assert {m.modality for m in ALL.values()} == set(MODALITIES)
    assert all(get_microscope(name) is m for name, m in ALL.items())


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_instruments_expose(name):
    import numpy as np

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
