"""Fits a law of loss to points, and says how far it can be trusted.

As in Hoffmann et al. 2022, appendix D.2 (https://arxiv.org/abs/2203.15556): residuals of the
logarithm of the loss under Huber's loss with 0.001, the best of several starts. They minimise by
L-BFGS; a trust-region Gauss-Newton comes to the same minimum (8 digits) in an eighth of the time.
The intervals come from fitting again to points drawn with replacement (Efron's bootstrap): they
tell how much the law depends on the points that happen to be there, and nothing of what all of
them share, such as a learning rate that suits none.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import least_squares

from cloche.errors import RunError
from cloche.planning.laws import Law
from cloche.planning.observations import LEAST_SIZES, Point

HUBER = 1e-3
SMALLEST_EXPONENT, LARGEST_EXPONENT = 0.01, 3.0
LEAST_EXPLAINED = 0.5
"""Share of the losses' variance that a law must explain to be called one."""
RESAMPLES = 200
COVERAGE = 0.9
LARGEST_EXPONENTIAL = 600.0


@dataclass(frozen=True)
class FittedLaw:
    """A law, and those that were fitted to the points drawn again."""

    law: Law
    resampled: tuple[Law, ...]
    drawn: str
    """What was drawn again, in words."""
    spread: float
    """Root mean square of the residuals, as a share of the loss; by degrees of freedom."""
    explained: float
    """Share of the variance of the losses' logarithms."""
    notes: tuple[str, ...]

    def interval(self, name: str) -> tuple[float, float]:
        """The middle 90% of a number of the law over the resampled fits."""
        return _middle([getattr(law, name) for law in self.resampled])

    def loss_interval(self, parameters: float, tokens: float) -> tuple[float, float]:
        """The same for a loss it predicts."""
        return _middle([law.loss(parameters, tokens) for law in self.resampled])


def fit_law(points: Sequence[Point], *, seed: int = 0, resamples: int = RESAMPLES) -> FittedLaw:
    """L(N, D) of points of several sizes, L(D) of those of one.

    Points of one run are drawn again within the run where it has several, else runs are drawn.
    Raises RunError where the losses follow no law.
    """
    table = _Table(points)
    best = table.fit(table.starts(), table.all)
    residuals = table.residuals(best, table.all)
    logs = table.losses - table.losses.mean()
    explained = 1 - float((residuals**2).sum() / max((logs**2).sum(), 1e-300))
    if explained < LEAST_EXPLAINED:
        raise RunError(
            f"these losses follow no law: the best one explains {max(0.0, explained):.0%} of how "
            "they differ. They are too close together, or differ by something else than size and "
            "tokens"
        )
    generator = np.random.default_rng(seed)
    drawn = [table.draw(generator) for _ in range(resamples)]
    fits = [table.law(table.fit([best, table.starts()[0]], places)) for places in drawn]
    freedom = max(1, len(points) - len(best))  # as many points as numbers would lie on any law
    spread = float(np.sqrt((residuals**2).sum() / freedom))
    notes = table.doubts(best)
    return FittedLaw(table.law(best), tuple(fits), table.what_is_drawn, spread, explained, notes)


class _Table:
    """The points as arrays: logarithms, sizes and tokens around their middle.

    A law is a vector (e, b, beta) or (e, b, beta, a, alpha): logarithms of the floor and of the
    other terms in the middle of the points, and exponents.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self.losses = np.log([point.loss for point in points])
        tokens = np.log([point.tokens for point in points])
        sizes = np.log([float(point.parameters) for point in points])
        self.middle_tokens, self.middle_sizes = tokens.mean(), sizes.mean()
        self.tokens, self.sizes = tokens - self.middle_tokens, sizes - self.middle_sizes
        self.has_sizes = len(set(sizes)) >= LEAST_SIZES
        self.all = np.arange(len(points))
        runs = [point.run for point in points]
        self._groups = [
            np.array([i for i in self.all if runs[i] == run]) for run in dict.fromkeys(runs)
        ]
        self._several = any(len(group) > 1 for group in self._groups)

    @property
    def what_is_drawn(self) -> str:
        if self._several:
            return (
                "the evaluations within each run; those of one run go together, so the true "
                "intervals are wider"
            )
        return f"the {len(self._groups)} runs"

    def draw(self, generator: np.random.Generator) -> ndarray:
        """Places of points drawn with replacement, with sizes and tokens enough for a fit."""
        for _ in range(1000):
            if self._several:
                parts = [generator.choice(group, len(group)) for group in self._groups]
                places = np.concatenate(parts)
            else:
                places = generator.choice(self.all, len(self.all))
            wide = len(set(self.tokens[places])) >= 3
            if wide and (not self.has_sizes or len(set(self.sizes[places])) >= LEAST_SIZES):
                return places
        return self.all

    def starts(self) -> list[ndarray]:
        """Where the search begins, likeliest first: floors, shares of the terms, exponents."""
        least, width = float(np.exp(self.losses.min())), float(np.ptp(np.exp(self.losses)))
        room = max(width, 0.05 * least)
        floors, exponents = (0.8, 0.5, 0.95), (0.4, 0.15, 0.9)
        found = []
        for share, exponent in itertools.product(floors, exponents):
            start = [math.log(share * least), math.log(room / 2), exponent]
            if self.has_sizes:
                start += [math.log(room / 2), exponent]
            found.append(np.array(start))
        return found

    def fit(self, starts: Sequence[ndarray], places: ndarray) -> ndarray:
        """The best of the minima found from the starts."""
        least = float(self.losses.min())
        terms, exponents = (-12.0, least + 3.0), (SMALLEST_EXPONENT, LARGEST_EXPONENT)
        bounds = [(least - 7.0, least), terms, exponents]
        if self.has_sizes:
            bounds += [terms, exponents]
        low, high = np.array(bounds).T
        found = []
        for start in starts:
            vector = np.clip(start, low + 1e-9, high - 1e-9)
            for width in (0.1, HUBER):  # squares lead near; Huber's loss forgets what lies far off
                outcome = least_squares(
                    lambda v: self.residuals(v, places),
                    vector,
                    jac=lambda v: self._slopes(v, places),  # pyright: ignore[reportArgumentType]
                    bounds=(low, high),
                    loss="huber",
                    f_scale=width,
                    max_nfev=200,
                )
                vector = np.clip(outcome.x, low + 1e-9, high - 1e-9)
            found.append((float(outcome.cost), outcome.x))
        return min(found, key=lambda each: each[0])[1]

    def residuals(self, vector: ndarray, places: ndarray) -> Float[ndarray, " points"]:
        """Logarithms of the losses less those of the law."""
        return self.losses[places] - np.logaddexp.reduce(self._terms(vector, places), axis=0)

    def _terms(self, vector: ndarray, places: ndarray) -> Float[ndarray, "terms points"]:
        floor = np.full(len(places), vector[0])
        terms = [floor, vector[1] - vector[2] * self.tokens[places]]
        if self.has_sizes:
            terms.append(vector[3] - vector[4] * self.sizes[places])
        return np.stack(terms)

    def _slopes(self, vector: ndarray, places: ndarray) -> Float[ndarray, "points numbers"]:
        """Derivatives of the residuals by the numbers of the vector."""
        terms = self._terms(vector, places)
        shares = np.exp(terms - np.logaddexp.reduce(terms, axis=0))  # of each term in the loss
        found = [-shares[0], -shares[1], shares[1] * self.tokens[places]]
        if self.has_sizes:
            found += [-shares[2], shares[2] * self.sizes[places]]
        return np.stack(found, axis=1)

    def law(self, vector: ndarray) -> Law:
        """The law of a vector, about N and D themselves."""
        floor, token, beta = (float(value) for value in vector[:3])
        term = _exponential(token + beta * float(self.middle_tokens))
        if not self.has_sizes:
            return Law(math.exp(floor), term, beta)
        size, alpha = float(vector[3]), float(vector[4])
        sized = _exponential(size + alpha * float(self.middle_sizes))
        return Law(math.exp(floor), term, beta, sized, alpha)

    def doubts(self, vector: ndarray) -> tuple[str, ...]:
        """What the points do not determine."""
        named = [("tokens", vector[2])] + ([("size", vector[4])] if self.has_sizes else [])
        found = [
            f"the exponent of {name} ran into the end of what was searched ({exponent:.2f}): the "
            "points do not determine it"
            for name, exponent in named
            if exponent <= 1.01 * SMALLEST_EXPONENT or exponent >= 0.99 * LARGEST_EXPONENT
        ]
        span = math.exp(float(np.ptp(self.tokens)))
        if span < 10:
            found.append(
                f"the points span a factor of {span:.1f} in tokens: a law of less than a factor of "
                "ten reaches hardly beyond it"
            )
        return tuple(found)


def _exponential(value: float) -> float:
    """The exponential, which an exponent of 3 about 1e200 tokens would take beyond all numbers."""
    return math.exp(min(value, LARGEST_EXPONENTIAL))


def _middle(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
