import json
from dataclasses import FrozenInstanceError, replace

import pytest

from msl_store.errors import UsageError
from msl_store.optics.microscope import PRESETS, Microscope, get_microscope


@pytest.mark.parametrize("name", PRESETS)
def test_a_microscope_survives_json(name):
    microscope = PRESETS[name]
    assert Microscope.from_dict(json.loads(json.dumps(microscope.to_dict()))) == microscope


def test_presets_are_the_published_three():
    assert list(PRESETS) == ["conf1", "conf2", "epi1"]
    assert {name: (m.name, m.modality, m.wavelength_um, m.pixel_um) for name, m in PRESETS.items()} == {
        "conf1": ("conf1", "published", 0.60, 0.070),
        "conf2": ("conf2", "published", 0.488, 0.0488),
        "epi1": ("epi1", "widefield", 0.608, 0.109),
    }
    assert {(m.numerical_aperture, m.n_sample, m.n_immersion, m.n_glass) for m in PRESETS.values()} == {
        (1.4, 1.33, 1.515, 1.515)
    }


def test_get_microscope_takes_names_and_microscopes():
    own = replace(PRESETS["epi1"], name="mine")
    assert get_microscope(own) is own
    assert get_microscope("conf2") is PRESETS["conf2"]
    with pytest.raises(UsageError, match=r'microscope "leica" is unknown; presets are conf1, conf2, epi1'):
        get_microscope("leica")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "name is '', but must be a text"),
        ("modality", "sted", "modality is 'sted', but must be one of widefield, published, confocal, two-photon"),
        ("modality", "confocal", "excitation_um is None, but must be given where the modality is confocal"),
        ("pinhole_au", 1.0, r"pinhole_au is 1\.0, but must be None where the modality is published"),
        ("psf", "airy", "psf is 'airy', but must be one of scalar, vectorial, gaussian"),
        ("camera", "sCMOS", "camera is 'sCMOS', but must be a Camera"),
        ("source", None, "source is None, but must be a text"),
        ("magnification", 0, "magnification is 0, but must be a number above 0"),
        ("numerical_aperture", 1.6, r"numerical_aperture is 1\.6, but must be less than 1\.515"),
        ("wavelength_um", 0, "wavelength_um is 0, but must be a number above 0"),
        ("wavelength_um", "0.5", "wavelength_um is '0.5', but must be a number"),
        ("pixel_um", float("nan"), "pixel_um is nan"),
        ("n_sample", 0.5, r"n_sample is 0\.5, but must be a number above 0\.99 and below 5"),
        ("glass_um", -1.0, "glass_um is -1.0"),
        ("immersion_displacement_um", -150.0, "immersion_displacement_um is -150.0, but must be a number above -150"),
        ("size_px", (128, 0), r"size_px is \(128, 0\), but must be a pair \(rows, columns\)"),
        ("size_px", [128, 128], "size_px is"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(field, value, message):
    with pytest.raises(UsageError, match=message):
        replace(PRESETS["conf1"], **{field: value})


def test_from_dict_refuses_unknown_and_missing_fields():
    with pytest.raises(UsageError, match="unknown field colour; known are name, numerical_aperture"):
        Microscope.from_dict({**PRESETS["conf1"].to_dict(), "colour": "red"})
    with pytest.raises(UsageError, match=r"pixel_um is missing; name, .*, pixel_um have no default"):
        Microscope.from_dict({"name": "x"})


def test_microscopes_are_frozen_and_equal_by_content():
    with pytest.raises(FrozenInstanceError):
        PRESETS["conf1"].pixel_um = 1.0
    assert hash(replace(PRESETS["conf1"])) == hash(PRESETS["conf1"])
    assert replace(PRESETS["conf1"], n_sample=1).n_sample == 1.0
