"""What a replay finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloche.replays.materials import Materials
from cloche.replays.published import Published


@dataclass(frozen=True)
class Measured:
    """A value computed anew, in plain Python numbers, text, lists and dictionaries."""

    value: Any
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What else was found on the way and helps to read it."""


Measure = Callable[[Published, Materials], Measured]
"""Computes one published result from its inputs."""
