"""Chance that is the same on every machine: choices drawn from a text key."""

import random
from collections.abc import Sequence
from typing import TypeVar

Choice = TypeVar("Choice")


class Dice:
    """Choices that depend on the key alone.

    Only `Random.random` is used: Python promises its sequence for ever, while `choice` and
    `sample` may change between versions.
    """

    def __init__(self, key: str) -> None:
        self._draw = random.Random(key).random

    def pick(self, options: Sequence[Choice]) -> Choice:
        """One of the options, all equally likely."""
        return options[int(self._draw() * len(options))]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._draw() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._draw() * (high - low + 1))
