"""The batch at which a trainer is fastest, and how much memory one takes at its most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil

from cloche.bench.processes import TrainerProcess
from cloche.bench.sizes import TrainerSetup
from cloche.errors import ClocheError

Tell = Callable[[str], None]

WORTH_IT = 1.03  # how much faster twice the batch has to be, to be tried further
LONGEST_STEP_SECONDS = 60.0
LARGEST_SHARE = 0.8  # of the memory that is free before


def find_best_batch(setup: TrainerSetup, *, seconds: float, tell: Tell) -> int:
    """The batch that has most tokens a second: the setup's own, doubled while that pays.

    Each is measured in a process of its own, for `seconds` after it has warmed up. Doubling ends
    where it gains less than 3%, where it fails, or where a step would take over a minute or most
    of the memory.
    """
    best, fastest = setup.batch, 0.0
    batch = setup.batch
    while True:
        free = psutil.virtual_memory().available
        try:
            with TrainerProcess(replace(setup, batch=batch)) as side:
                found, peak = side.steps(seconds), side.memory()["peak_bytes"]
        except ClocheError as exc:
            if not fastest:  # the smallest one: there is nothing to fall back on
                raise
            tell(f"{exc}\nbatch {best} is taken")
            return best
        speed = found["tokens"] / found["seconds"]
        step_seconds = found["seconds"] / found["steps"]
        tell(f"{setup.side} at {setup.size.name}, batch {batch}: {speed:,.0f} tokens a second")
        pays = speed > WORTH_IT * fastest
        if speed > fastest:
            best, fastest = batch, speed
        if not pays or 2 * step_seconds > LONGEST_STEP_SECONDS or 2 * peak > LARGEST_SHARE * free:
            return best
        batch *= 2


@dataclass(frozen=True)
class MemoryResult:
    """Most memory of each side's process, in bytes, over its start and a few steps."""

    size: str
    batch: int
    context: int
    sides: dict[str, dict[str, int]]

    def ratios(self) -> dict[str, float]:
        """cloche's peak over that of the others."""
        if "cloche" not in self.sides:
            return {}
        ours = self.sides["cloche"]["peak_bytes"]
        return {
            f"cloche over {name}": ours / found["peak_bytes"]
            for name, found in self.sides.items()
            if name != "cloche"
        }

    def to_values(self) -> dict[str, Any]:
        """Plain values: bytes by side, ratios by name."""
        return {
            "size": self.size,
            "batch": self.batch,
            "context": self.context,
            "sides": self.sides,
            "ratios": self.ratios(),
        }

    def lines(self) -> list[str]:
        """The result for a screen."""
        found = [f"{self.size}, batch {self.batch}, context {self.context}: most memory"]
        for name, side in self.sides.items():
            peak, before = (side[key] / 1e9 for key in ("peak_bytes", "before_bytes"))
            found.append(f"  {name:<22} {peak:6.2f} GB  ({before:.2f} GB without a model)")
        return [
            *found,
            *(f"  {name:<34} {ratio:.0%} of the memory" for name, ratio in self.ratios().items()),
        ]


def measure_memory(setups: Sequence[TrainerSetup], *, tell: Tell) -> MemoryResult:
    """The peaks of these setups of one size and batch, one process after the other."""
    first = setups[0]
    sides: dict[str, dict[str, int]] = {}
    for setup in setups:
        with TrainerProcess(setup) as side:
            side.steps(0.0)
            sides[setup.side] = side.memory()
        tell(f"{setup.side}: {sides[setup.side]['peak_bytes'] / 1e9:.2f} GB at its peak")
    return MemoryResult(first.size.name, first.batch, first.size.context, sides)
