"""How sure a mean over a text is: the text in blocks, whose means vary.

The tokens of a text hang together: a surprising word makes what follows surprising, a page of verse
differs from a page of prose. Dividing their spread by the root of their number would promise far
too much. So the text is cut into at most MOST_BLOCKS stretches of equal length, long enough that
one says little about the next, and the spread of the stretches' own means gives the standard error
(batch means). Among many ways it needs one pass, a few numbers of memory and no random draw, and
since the cuts lie at bytes of the text, two models with different tokenizers have the same blocks
and can be compared block by block.

A block's figures enter as a ratio (nats in it, tokens in it), so blocks need not hold equally many
tokens. Sources: batch means, Alexopoulos and Seila 1996, https://doi.org/10.1145/256562.256618;
ratios, Cochran, Sampling Techniques (1977), section 6.4.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

MOST_BLOCKS = 64
"""Reaching it, neighbours are joined: a long text has from half as many blocks to as many."""
FEWEST_BLOCKS = 8
"""With fewer, their spread is not known well enough to be told."""
FIRST_BLOCK_BYTES = 256
"""Of text in UTF-8, some 60 tokens; a text shorter than 8 of these has no standard error."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure of a text and how far it can be trusted, were the text another of its kind."""

    value: float
    stderr: float | None
    """Standard error; None where the text is too short to have blocks."""
    blocks: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval, by Student's t for so many blocks."""
        if self.stderr is None:
            return None
        half = float(stdtrit(self.blocks - 1, 0.5 + CONFIDENCE / 2)) * self.stderr
        return self.value - half, self.value + half

    def scaled(self, factor: float) -> "Estimate":
        """The same figure in another unit."""
        stderr = None if self.stderr is None else self.stderr * factor
        return Estimate(self.value * factor, stderr, self.blocks)


class BlockSums:
    """Sums of a text's tokens by block, as they come; memory does not grow with the text."""

    def __init__(self, columns: int) -> None:
        self.block_bytes = FIRST_BLOCK_BYTES
        """Of text in a block; the last one may have less."""
        self._end = 0.0  # of what was added, in bytes
        self._sums = np.zeros((1, columns))

    def add(self, widths: np.ndarray, values: np.ndarray) -> None:
        """Take in the next tokens: their lengths in bytes, (tokens,), and (tokens, columns).

        A token on a boundary counts on both sides, as much as it has bytes there.
        """
        if not len(widths):
            return
        ends = self._end + np.concatenate([[0.0], np.cumsum(widths, dtype=np.float64)])
        running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        last = max(0, math.ceil(ends[-1] / self.block_bytes) - 1)
        first = min(last, int(ends[0] // self.block_bytes))  # tokens of no bytes open no block
        edges = np.arange(first + 1, last + 1) * self.block_bytes
        inside = np.stack([np.interp(edges, ends, column) for column in running.T], axis=1)
        parts = np.diff(np.concatenate([running[:1], inside, running[-1:]]), axis=0)
        if last >= len(self._sums):
            more = np.zeros((last + 1 - len(self._sums), self._sums.shape[1]))
            self._sums = np.concatenate([self._sums, more])
        self._sums[first : last + 1] += parts
        self._end = float(ends[-1])
        while len(self._sums) > MOST_BLOCKS:
            self._join_neighbours()

    def sums(self) -> np.ndarray:
        """(blocks, columns), in the text's order."""
        return self._sums.copy()

    def _join_neighbours(self) -> None:
        if len(self._sums) % 2:
            self._sums = np.concatenate([self._sums, np.zeros((1, self._sums.shape[1]))])
        self._sums = self._sums[0::2] + self._sums[1::2]
        self.block_bytes *= 2


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Estimate:
    """The sum of the first over the sum of the second, each (blocks,)."""
    value = float(numerators.sum() / denominators.sum())
    return Estimate(value, standard_error(influences(numerators, denominators)), len(numerators))


def difference(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> Estimate:
    """Ratio `one` less ratio `other` over the same blocks; each is (numerators, denominators).

    What makes a stretch of text hard for both models cancels: the standard error is that of the
    differences, which is mostly far smaller than that of either ratio.
    """
    value = float(one[0].sum() / one[1].sum() - other[0].sum() / other[1].sum())
    moved = influences(*one) - influences(*other)
    return Estimate(value, standard_error(moved), len(moved))


def influences(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """How far each block moves the ratio of the sums; they add up to zero."""
    whole = denominators.sum()
    return (numerators - numerators.sum() / whole * denominators) / whole


def standard_error(moved: np.ndarray) -> float | None:
    """Of a sum of such influences; None where there are too few."""
    count = len(moved)
    if count < FEWEST_BLOCKS:
        return None
    return float(math.sqrt(count / (count - 1) * np.square(moved).sum()))
