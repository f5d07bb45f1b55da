"""Sides of a comparison timed in turn: a machine that slows down slows all of them alike."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """How long one side took, in seconds, once for each round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of its times."""
        return statistics.median(self.seconds)


def time_in_turn(
    sides: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    tell: Callable[[str], None],
    show: Callable[[str, float], str] = lambda _, seconds: f"{seconds:.2f} s",
) -> dict[str, Timing]:
    """Timings of the sides by name, every side once in each round.

    A side is a function that does the work and returns the seconds it took, or those for a fixed
    amount of work; `show` turns a side's name and its seconds into what is told.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side())
            tell(f"round {number + 1} of {rounds}: {name} {show(name, seconds[name][-1])}")
    return {name: Timing(name, tuple(found)) for name, found in seconds.items()}


def paired_ratio(above: Timing, below: Timing) -> float:
    """The median over the rounds of the one's time divided by the other's in the same round."""
    return statistics.median(a / b for a, b in zip(above.seconds, below.seconds, strict=True))
