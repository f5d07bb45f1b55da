"""Repetition and diversity of a text: of its tokens or of its characters, whatever is in the row.

None of these numbers means anything by itself: they depend on the length of the text and on what
its units are. They are compared with those of people's text of the same kind and length.
"""

import math
import zlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

LOOP_TIMES = 3
"""How often an ending must repeat its period to be a loop."""
LOOP_LENGTH = 16
"""Tokens or characters that the ending must have at least: "..." is no loop."""


@dataclass(frozen=True)
class PeriodicEnding:
    """The end of a row that repeats the same `period` units."""

    period: int
    length: int
    """Units of the ending; the last repetition need not be whole."""


def distinct_share(row: Sequence[Hashable], size: int) -> float:
    """Different n-grams of that size over all there are; 1.0 where the row is too short for one.

    Source: distinct-n, Li et al. 2016, https://arxiv.org/abs/1510.03055. One less this share is
    the sequential repetition of Welleck et al. 2019, https://arxiv.org/abs/1908.04319
    """
    count = len(row) - size + 1
    if count < 1:
        return 1.0
    return len({tuple(row[start : start + size]) for start in range(count)}) / count


def entropy_bits(row: Sequence[Hashable]) -> float:
    """Entropy of the row's units by their own frequencies, in bits a unit; 0.0 of an empty row."""
    total = len(row)
    shares = (number / total for number in Counter(row).values())
    return abs(math.fsum(-share * math.log2(share) for share in shares))


def compression_ratio(text: str) -> float:
    """Bytes of the text in UTF-8 over its bytes after zlib: the higher, the more it repeats.

    Source: the measure of repetition in Shaib et al. 2024, https://arxiv.org/abs/2403.00553
    """
    data = text.encode("utf-8", errors="surrogatepass")
    return len(data) / len(zlib.compress(data, 9))


def longest_periodic_ending(
    row: Sequence[Hashable], *, times: int = LOOP_TIMES
) -> PeriodicEnding | None:
    """The longest ending that repeats a period at least `times` times; None where there is none.

    Of several periods the smallest is told. Takes time linear in the row: an ending with period p
    is, read backwards, a beginning that equals what stands p further, and for every p the
    Z-function tells how far that goes.
    Source: Gusfield 1997, Algorithms on Strings, Trees and Sequences, section 1.4
    """
    best = None
    for period, agreeing in enumerate(_agreements(row[::-1])):
        length = period + agreeing
        if period and length >= times * period and (best is None or length > best.length):
            best = PeriodicEnding(period, length)
    return best


def ends_in_loop(row: Sequence[Hashable]) -> bool:
    """Whether the row ends in at least LOOP_LENGTH units that repeat a period LOOP_TIMES times."""
    ending = longest_periodic_ending(row)
    return ending is not None and ending.length >= LOOP_LENGTH


def _agreements(row: Sequence[Hashable]) -> list[int]:
    """The Z-function: for every place, how many units from there on equal the row's first ones."""
    found = [0] * len(row)
    left = right = 0  # the stretch furthest to the right that is known to equal the beginning
    for place in range(1, len(row)):
        agreeing = min(right - place, found[place - left]) if place < right else 0
        while place + agreeing < len(row) and row[agreeing] == row[place + agreeing]:
            agreeing += 1
        found[place] = agreeing
        if place + agreeing > right:
            left, right = place, place + agreeing
    return found


def code_points(text: str) -> np.ndarray:
    """(characters,) int64: the Unicode numbers of a text's characters."""
    data = text.encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(data, dtype="<u4").astype(np.int64)
