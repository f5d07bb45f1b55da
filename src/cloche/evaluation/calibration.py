"""Whether a model's probabilities can be taken at their word.

Of all tokens whose likeliest candidate has a probability of about 0.7, that candidate should be the
true one in 70 of 100. The bins of probability with the shares that came true are the reliability
table; the mean gap between the two is the expected calibration error.

Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599
"""

from dataclasses import dataclass

import numpy as np

BINS = 15
"""Of equal width, as in the source."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The tokens whose likeliest candidate has a probability within these bounds."""

    low: float
    high: float
    tokens: int
    confidence: float
    """Mean probability of the likeliest candidate."""
    accuracy: float
    """How often it was the true one."""


@dataclass(frozen=True)
class Calibration:
    """The reliability table of a text."""

    bins: tuple[ReliabilityBin, ...]
    """Those with any token, from the least sure on."""

    @property
    def tokens(self) -> int:
        """Of all bins."""
        return sum(part.tokens for part in self.bins)

    @property
    def expected_error(self) -> float:
        """The mean distance of probability and share, weighted by tokens: 0 for a model that is
        exactly as often right as it says."""
        gaps = sum(part.tokens * abs(part.accuracy - part.confidence) for part in self.bins)
        return gaps / self.tokens


class ReliabilityCounts:
    """Counts tokens into bins as they come."""

    def __init__(self, bins: int = BINS) -> None:
        self._sums = np.zeros((bins, 3))  # tokens, probabilities, right ones

    def add(self, confidences: np.ndarray, correct: np.ndarray) -> None:
        """Take in tokens: the likeliest candidate's probability, and whether it was the true one.

        A bin has its upper bound, and not its lower one, as in the source.
        """
        count = len(self._sums)
        places = np.clip(np.ceil(confidences * count).astype(np.int64) - 1, 0, count - 1)
        for column, weights in enumerate((None, confidences, correct.astype(np.float64))):
            self._sums[:, column] += np.bincount(places, weights=weights, minlength=count)

    def calibration(self) -> Calibration:
        """What was counted."""
        count = len(self._sums)
        found = [
            ReliabilityBin(
                number / count, (number + 1) / count, int(tokens), sure / tokens, right / tokens
            )
            for number, (tokens, sure, right) in enumerate(self._sums.tolist())
            if tokens
        ]
        return Calibration(tuple(found))
