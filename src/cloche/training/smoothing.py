"""From counts to probabilities: how much goes to what was seen, and how much is kept back.

Both ways give each n-gram its share and leave the rest of a context's probability to the order
below (Kneser-Ney), or to all tokens alike (additive). What the shares of a context do not take
is its backoff, so every distribution sums to 1, and every token has a positive probability.
"""

from dataclasses import dataclass

import numpy as np

from cloche.model.config import Smoothing
from cloche.training.counting import OrderCounts

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where a small vocabulary has too few rare n-grams to estimate them."""


@dataclass(frozen=True)
class SmoothedOrder:
    """The probabilities of one order, in float64."""

    shares: np.ndarray
    """Of each n-gram's last token after its context, before the order below is added."""
    backoffs: np.ndarray
    """What each context leaves; 1 for a context that nothing follows."""


def smooth(counts: OrderCounts, smoothing: Smoothing, *, vocab_size: int) -> SmoothedOrder:
    """The order's shares and backoffs.

    kneser-ney: interpolated, with three discounts (Chen and Goodman 1998, section 3,
    https://nrs.harvard.edu/urn-3:HUL.InstRepos:25104739). additive: one is added to the count of
    every token of the vocabulary after every context (Laplace's rule).
    """
    contexts = counts.keys // vocab_size
    if smoothing == "additive":
        numerators = counts.counts.astype(np.float64)
        denominators = counts.totals + float(vocab_size)
    else:
        numerators = counts.counts - _discount_of_each(counts)
        denominators = counts.totals.astype(np.float64)
    taken = np.bincount(contexts, weights=numerators, minlength=len(denominators))
    followed = denominators > 0
    backoffs = np.ones(len(denominators))
    # subtracted before the division: what is left may be a billionth of the whole
    backoffs[followed] = (denominators - taken)[followed] / denominators[followed]
    return SmoothedOrder(numerators / denominators[contexts], backoffs)


def estimate_discounts(counts_of_counts: tuple[int, ...]) -> tuple[float, float, float]:
    """What is taken off the counts 1, 2, and 3 or more; each above 0.

    Source: Chen and Goodman 1998, equation 17: estimated from how many n-grams have the counts
    1 to 4. FALLBACK_DISCOUNTS where those are too few for it.
    """
    ones, twos, threes, fours = counts_of_counts
    if not (ones and twos and threes):
        return FALLBACK_DISCOUNTS
    share = ones / (ones + 2 * twos)
    found = (
        1 - 2 * share * twos / ones,
        2 - 3 * share * threes / twos,
        3 - 4 * share * fours / threes,
    )
    return found if min(found) > 0 else FALLBACK_DISCOUNTS


def _discount_of_each(counts: OrderCounts) -> np.ndarray:
    discounts = np.array([0.0, *estimate_discounts(counts.counts_of_counts)])
    return discounts[np.minimum(counts.counts, 3)]
