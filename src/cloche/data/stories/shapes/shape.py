"""A plot shape: a function that tells it, and the things and places that it can be about."""

from collections.abc import Callable
from dataclasses import dataclass

from cloche.data.stories.tale import Tale


@dataclass(frozen=True)
class Shape:
    """One plot. Things and places are chosen by tag; an empty place tag allows every place."""

    name: str
    tell: Callable[[Tale], None]
    things: str
    places: str = ""
    held_out: bool = False
    """Kept for the held-out part alone."""
