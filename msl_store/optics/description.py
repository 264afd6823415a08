"""Microscopes as text: JSON or YAML, there and back."""

from __future__ import annotations

import json
from typing import Literal

from msl_store.errors import UsageError
from msl_store.optics.microscope import Microscope


def write_description(microscope: Microscope, form: Literal["json", "yaml"] = "json") -> str:
    """Return a microscope as text; `read_description` is the inverse.

    Parameters
    ----------
    microscope : Microscope
        What to describe.
    form : {"json", "yaml"}
        YAML needs pyyaml.

    Raises
    ------
    UsageError
        There is no such form.
    """
    if form == "json":
        return json.dumps(microscope.to_dict(), indent=2) + "\n"
    if form == "yaml":
        import yaml

        return str(yaml.safe_dump(microscope.to_dict(), sort_keys=False))
    raise UsageError(f"form is {form!r}, but must be json or yaml")


def read_description(text: str) -> Microscope:
    """Return the microscope that a text in JSON or YAML describes.

    Raises
    ------
    UsageError
        The text is neither, or a field is unknown, missing or outside what is allowed.

    Examples
    --------
    >>> text = '{"name": "oil", "numerical_aperture": 1.3, "wavelength_um": 0.5, "pixel_um": 0.1}'
    >>> read_description(text).immersion
    'oil'
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        import yaml

        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"microscope: the text is neither JSON nor YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"microscope: the text holds a {type(values).__name__}, but must hold fields with values")
    return Microscope.from_dict(values)
