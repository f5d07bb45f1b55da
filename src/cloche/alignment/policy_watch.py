"""Watches for reward hacking: answers that the reward likes ever more, while they get worse."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from statistics import fmean, variance
from typing import Any

from torch import Tensor

SIGNIFICANT = 2.0
"""Standard errors by which reward and truth have to move apart."""


@dataclass(frozen=True)
class Measured:
    """A mean over held-out prompts, and how sure it is."""

    mean: float
    error: float
    """Its standard error."""


def measured(values: Sequence[float]) -> Measured:
    """The mean of some values, at least one."""
    spread = variance(values) if len(values) > 1 else 0.0
    return Measured(fmean(values), sqrt(spread / len(values)))


@dataclass(frozen=True)
class Observation:
    """What an evaluation found."""

    step: int
    reward: Measured
    truth: Measured


@dataclass
class HackingWatch:
    """Remembers evaluations, and compares each with the one of the highest truth."""

    seen: list[Observation] = field(default_factory=list)

    def observe(self, now: Observation) -> str | None:
        """A warning where the reward has risen since the best truth, and the truth has fallen."""
        self.seen = [each for each in self.seen if each.step < now.step]
        best = max(self.seen, key=lambda each: each.truth.mean, default=None)
        self.seen.append(now)
        if best is None:
            return None
        risen = _apart(now.reward, best.reward)
        fallen = _apart(best.truth, now.truth)
        if not (risen and fallen):
            return None
        return (
            f"Reward hacking: since step {best.step} the reward has risen from "
            f"{best.reward.mean:.3g} to {now.reward.mean:.3g}, and the true score has fallen from "
            f"{best.truth.mean:.3g} to {now.truth.mean:.3g}. What is rewarded is not what is "
            "meant: see what the answers say, mend the reward, or let the divergence cost more "
            "(--align.kl). `best` has the checkpoint with the highest true score."
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """None: what was seen are values."""
        return {}

    def state_values(self) -> dict[str, Any]:
        """All that was seen."""
        return {"seen": [asdict(each) for each in self.seen]}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Remember what was seen earlier."""
        self.seen = [
            Observation(each["step"], Measured(**each["reward"]), Measured(**each["truth"]))
            for each in values["seen"]
        ]


def _apart(higher: Measured, lower: Measured) -> bool:
    error = sqrt(higher.error**2 + lower.error**2)
    return higher.mean - lower.mean > SIGNIFICANT * error
