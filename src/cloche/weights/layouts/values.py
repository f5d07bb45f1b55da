"""The contents of a config.json, asked for by key and kind."""

import math
from collections.abc import Mapping
from typing import Any

from cloche.errors import CheckpointError

LARGEST_COUNT = 2**31 - 1


class Values:
    """Looks keys up; whatever is of another kind than asked for is an error that names the key.

    A key that holds null counts as not given.
    """

    def __init__(self, values: Mapping[str, Any], *, name: str = "config.json") -> None:
        """`name` is what messages call the place of the values."""
        self._values = values
        self.name = name

    def keys(self) -> tuple[str, ...]:
        """All there are."""
        return tuple(self._values)

    def given(self, key: str) -> bool:
        """Whether the key is there, and not null."""
        return self._values.get(key) is not None

    def raw(self, key: str) -> Any:
        """The value as it stands; None where it is not given."""
        return self._values.get(key)

    def count(self, *keys: str, default: int | None = None) -> int:
        """A whole number from 1 on, under the first of `keys` that is given."""
        value = next((self._values[key] for key in keys if self.given(key)), default)
        if value is None:
            raise CheckpointError(f"{self.name} lacks {keys[0]}; it is not whole")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_COUNT:
            raise self._wrong(keys[0], value, "a whole number from 1 on")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number that is not negative."""
        value = self._values[key] if self.given(key) else default
        if value is None:
            raise CheckpointError(f"{self.name} lacks {key}; it is not whole")
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(key, value, "a number")
        if not (math.isfinite(value) and value >= 0):
            raise self._wrong(key, value, "a number from 0 on")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """true or false."""
        value = self._values[key] if self.given(key) else default
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        """A text."""
        value = self._values[key] if self.given(key) else default
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def section(self, key: str) -> "Values | None":
        """An object with keys of its own; None where it is not given or empty."""
        value = self._values.get(key)
        if not value:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, value, "an object")
        return Values(value, name=f"{self.name}, {key},")

    def refuse(self, found: list[str]) -> None:
        """CheckpointError where something was found that cloche has no part for."""
        if found:
            raise CheckpointError(
                f"{self.name} asks for {', and for '.join(found)}; cloche has no such part"
            )

    def _wrong(self, key: str, value: Any, wanted: str) -> CheckpointError:
        return CheckpointError(f"{self.name}: {key} must be {wanted}, not {value!r:.80}")
