"""How good a reward model is on pairs it has not seen: accuracy, calibration, margins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from cloche.alignment.scoring import RankedGroup
from cloche.evaluation.calibration import Calibration, ReliabilityCounts
from cloche.tuning.classify_scoring import score_examples

BINS = 10
"""Of probabilities from 0.5 on, which is where that of the likelier answer lies: five are used."""


@dataclass(frozen=True)
class RewardReport:
    """Held-out pairs, scored."""

    pairs: int
    groups: int
    accuracy: float
    """Share of the pairs whose preferred answer has the higher score; equal ones count as wrong."""
    loss: float
    """Mean over groups of the mean over their pairs, in nats."""
    calibration: Calibration
    """How often the likelier answer was the preferred one, by its probability."""
    margins: tuple[float, ...]
    """Score of the preferred answer above that of the other, of each pair."""
    mean_score: float
    part: str = "validation"
    """test, or validation where the split has no test records."""

    @property
    def mean_margin(self) -> float:
        """Of all pairs."""
        return float(np.mean(self.margins))

    def to_values(self) -> dict[str, Any]:
        """As JSON values, without the single margins."""
        return {
            "part": self.part,
            "pairs": self.pairs,
            "groups": self.groups,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "expected_calibration_error": self.calibration.expected_error,
            "reliability": [
                {
                    "low": each.low,
                    "high": each.high,
                    "confidence": each.confidence,
                    "accuracy": each.accuracy,
                    "pairs": each.tokens,
                }
                for each in self.calibration.bins
            ],
            "mean_margin": self.mean_margin,
            "mean_score": self.mean_score,
        }

    def lines(self) -> list[str]:
        """In sentences for the screen."""
        low, middle, high = np.quantile(self.margins, [0.1, 0.5, 0.9])
        return [
            f"Held-out pairs ({self.pairs:,}, {self.part}): {self.accuracy:.1%} right, loss "
            f"{self.loss:.4f} nats (0.6931 for one that knows nothing).",
            f"Calibration: the probability is off by {self.calibration.expected_error:.1%} on "
            "average (expected calibration error).",
            f"Margins: median {middle:.2f}; a tenth lie below {low:.2f}, a tenth above {high:.2f}.",
        ]


def measure_rewards(model: nn.Module, groups: Sequence[RankedGroup]) -> RewardReport:
    """What a scorer makes of the pairs of these groups, at least one."""
    examples = [example for group in groups for example in group.examples]
    scores = score_examples(model, examples)[:, 0]
    margins, losses, begin = [], [], 0
    for group in groups:
        own = scores[begin : begin + len(group.examples)]
        better, worse = torch.tensor(group.pairs).T
        apart = own[better] - own[worse]
        margins.append(apart)
        losses.append(float(-F.logsigmoid(apart).mean()))
        begin += len(group.examples)
    joined = torch.cat(margins).double()
    counts = ReliabilityCounts(BINS)
    counts.add(joined.abs().sigmoid().numpy(), (joined > 0).numpy())
    return RewardReport(
        pairs=len(joined),
        groups=len(groups),
        accuracy=float((joined > 0).double().mean()),
        loss=float(np.mean(losses)),
        calibration=counts.calibration(),
        margins=tuple(joined.tolist()),
        mean_score=float(scores.mean()),
    )
