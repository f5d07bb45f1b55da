"""A few of many: where not all that a view has finds room."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(given: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if len(given) <= most:
        return list(given)
    if most == 1:
        return [given[-1]]
    return [given[round(number * (len(given) - 1) / (most - 1))] for number in range(most)]
