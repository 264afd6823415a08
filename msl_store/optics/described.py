"""What descriptions of experiments share: checked values, and plain ones for JSON and YAML, there and back."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field
    from typing import Self


class Described:
    """A frozen dataclass of numbers, texts, tuples of numbers and further descriptions; messages name the class."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; `from_dict` is the inverse."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build one from what `to_dict` returned.

        Raises
        ------
        UsageError
            A field is unknown, is missing, or is outside what is allowed.
        """
        known = {item.name: item for item in fields(cls)}
        kind = cls.__name__.lower()
        if unknown := sorted(set(values) - set(known)):
            raise UsageError(f"{kind}: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
        needed = [name for name, item in known.items() if item.default is item.default_factory is MISSING]
        if missing := [name for name in needed if name not in values]:
            raise UsageError(f"{kind}: {', '.join(missing)} is missing; {', '.join(needed)} have no default")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def _refusal(self, item: str, value: object, allowed: str) -> UsageError:
        return UsageError(f"{type(self).__name__.lower()}: {item} is {value!r}, but must be {allowed}")

    def _check_number(
        self,
        item: str,
        *,
        above: float = -math.inf,
        below: float = math.inf,
        least: float = -math.inf,
        most: float = math.inf,
        optional: bool = False,
    ) -> None:
        """Make a field a float; refuse what is no finite number within the bounds, or None where it is `optional`."""
        value = getattr(self, item)
        if value is None and optional:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not (above < value < below and least <= value <= most):
            bounds = [
                f"{word} {bound:g}"
                for word, bound in (("above", above), ("of at least", least), ("below", below), ("at most", most))
                if math.isfinite(bound)
            ]
            allowed = f"a number {' and '.join(bounds)}".rstrip()
            raise self._refusal(item, value, f"{allowed}, or None" if optional else allowed)
        object.__setattr__(self, item, float(value))

    def _check_text(self, item: str, allowed: tuple[str, ...] = ()) -> None:
        """Refuse a field that is no text, or none of those allowed."""
        value = getattr(self, item)
        if not isinstance(value, str) or (allowed and value not in allowed):
            raise self._refusal(item, value, f"one of {', '.join(allowed)}" if allowed else "a text")
