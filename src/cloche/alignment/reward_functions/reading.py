"""What a reward function is, and how the ready ones read a record."""

from collections.abc import Callable, Mapping
from typing import Any

from cloche.errors import DataError

RewardFunction = Callable[[str, str, Mapping[str, Any]], float]
"""(prompt, answer, record) -> the reward, any finite number; larger is better."""


def field_of(record: Mapping[str, Any], name: str) -> Any:
    """The record's field of that name; DataError where it has none."""
    if record.get(name) is None:
        held = ", ".join(sorted(record)) or "none"
        raise DataError(f"there is no field {name!r}; there are: {held}")
    return record[name]
