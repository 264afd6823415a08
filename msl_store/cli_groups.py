"""Groups of options: what several commands take is declared once, as a dataclass of typer's annotated options."""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups of options.

    Typer makes a function's parameters into options. Here a parameter whose type is a dataclass stands for that
    dataclass's fields: each is an option of its own, and the function is called with the dataclass that they make.
    """
    parameters: list[Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for parameter in _evaluated(command):
        if not is_dataclass(parameter.annotation):
            parameters.append(parameter)
            continue
        group: Any = parameter.annotation
        fields = list(_evaluated(group))
        parameters += fields
        groups[parameter.name] = group, [field.name for field in fields]

    @wraps(command)
    def called(**given: Any) -> None:
        made = {
            name: group(**{field: given.pop(field) for field in fields}) for name, (group, fields) in groups.items()
        }
        command(**made, **given)

    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return called


def _evaluated(function: Callable[..., Any]) -> Iterator[Parameter]:
    """Yield a function's or dataclass's parameters, their types as objects, to be given by name."""
    types = get_type_hints(function, include_extras=True)
    for name, parameter in signature(function).parameters.items():
        yield parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=types[name])
