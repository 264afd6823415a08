"""Microscopes, labellings and other descriptions as text: JSON or YAML, there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from msl_store.optics.described import Described

D = TypeVar("D", bound="Described")

ENDINGS = (".json", ".yaml", ".yml")
"""What the name of a file with a description ends in."""


def write_description(described: Described, form: Literal["json", "yaml"] = "json") -> str:
    """Return a description as text; `read_description` is the inverse.

    Parameters
    ----------
    described : Microscope, Camera, Labelling or Motion
        What to describe.
    form : {"json", "yaml"}
        YAML needs pyyaml.

    Raises
    ------
    UsageError
        There is no such form.
    """
    if form == "json":
        return json.dumps(described.to_dict(), indent=2) + "\n"
    if form == "yaml":
        yaml = _yaml()
        return str(yaml.safe_dump(described.to_dict(), sort_keys=False))
    raise UsageError(f"form is {form!r}, but must be json or yaml")


def read_description(text: str, kind: type[D]) -> D:
    """Return what a text in JSON or YAML describes.

    Raises
    ------
    UsageError
        The text is neither, or a field is unknown, missing or outside what is allowed.

    Examples
    --------
    >>> from msl_store.optics.microscope import Microscope
    >>> text = '{"name": "oil", "numerical_aperture": 1.3, "wavelength_um": 0.5, "pixel_um": 0.1}'
    >>> read_description(text, Microscope).immersion
    'oil'
    """
    name = kind.__name__.lower()
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        yaml = _yaml()
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{name}: the text is neither JSON nor YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{name}: the text holds a {type(values).__name__}, but must hold fields with values")
    return kind.from_dict(values)


def find_description(name: str, kind: type[D], known: Callable[[str], D]) -> D:
    """Return what a file describes where a name ends in one of `ENDINGS`, else what is known by that name.

    Raises
    ------
    UsageError
        The file cannot be read or is no such description, or the name is not known.
    """
    return read_file(name, kind) if name.endswith(ENDINGS) else known(name)


def read_file(path: str, kind: type[D]) -> D:
    """Return what a file in JSON or YAML describes.

    Raises
    ------
    UsageError
        The file cannot be read or is no such description.
    """
    try:
        return read_description(Path(path).read_text(), kind)
    except (OSError, UsageError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise UsageError(f"{error}; install it with: pip install pyyaml, or use JSON") from error
    return yaml
