"""Measured numbers with how sure they are: a share of trials, a mean, how well two sorts part.

A share has Wilson's 95% interval, which stays open where nothing or everything was a hit:
Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953. All else has the normal one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NORMAL_95 = 1.959964  # standard deviations to either side that hold 95% of a normal distribution


@dataclass(frozen=True)
class TrialEstimate:
    """A number estimated from independent trials."""

    value: float
    stderr: float | None
    """Standard error over the trials; None where there is only one."""
    low: float | None
    """Lower end of the 95% interval."""
    high: float | None
    """Upper end of the 95% interval."""
    count: int
    """Trials."""


def share_of(hits: int, count: int) -> TrialEstimate:
    """The share of `count` trials that were hits, with the binomial standard error."""
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"{hits} hits of {count} trials")
    share = hits / count
    square = _NORMAL_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = share * (1 - share) / count
    half = _NORMAL_95 * math.sqrt(spread + square / (4 * count**2)) / (1 + square / count)
    return TrialEstimate(
        share, math.sqrt(spread), max(0.0, middle - half), min(1.0, middle + half), count
    )


def mean_of(values: Sequence[float]) -> TrialEstimate:
    """The mean of at least one value, with its standard error over them."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return TrialEstimate(mean, None, None, None, 1)
    with np.errstate(invalid="ignore"):  # what was impossible to a model costs it infinitely much
        error = float(np.std(np.asarray(values, dtype=np.float64), ddof=1)) / math.sqrt(count)
    half = _NORMAL_95 * error
    return TrialEstimate(mean, error, mean - half, mean + half, count)


def separation_of(lower: Sequence[float], higher: Sequence[float]) -> TrialEstimate:
    """How well a number tells two sorts apart: the chance that one of `lower` has the lower one.

    It is the area under the ROC curve; 0.5 is a coin. Equal numbers count half. Its standard error
    is that of DeLong et al. 1988, https://doi.org/10.2307/2531595
    """
    first, second = (np.sort(np.asarray(values, np.float64)) for values in (lower, higher))
    if not len(first) or not len(second):
        raise ValueError("both sorts need at least one number")
    below = 1.0 - _share_below(second, first)  # of each of `lower`: the others that are higher
    above = _share_below(first, second)
    area = float(below.mean())
    count = len(first) + len(second)
    if len(first) == 1 or len(second) == 1:
        return TrialEstimate(area, None, None, None, count)
    variance = below.var(ddof=1) / len(first) + above.var(ddof=1) / len(second)
    error = math.sqrt(variance)
    half = _NORMAL_95 * error
    return TrialEstimate(area, error, max(0.0, area - half), min(1.0, area + half), count)


def _share_below(ranked: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each of `values`, the share of the sorted numbers below it; equal ones count half."""
    left = np.searchsorted(ranked, values, side="left")
    right = np.searchsorted(ranked, values, side="right")
    return (left + right) / (2 * len(ranked))
