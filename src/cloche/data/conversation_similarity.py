"""Texts that are nearly the same, found exactly: Jaccard similarity of the sets of their pieces.

Pieces are those of five characters, white space and case folded, as in `cleaning/duplicates.py`,
which estimates the same by MinHash for corpora of any size. For the thousands of texts of a tuning
all similarities above a threshold can be found without an estimate: two sets that share most of
their pieces share one of the few rarest of each, so only texts that do are compared.

Source of that bound: Bayardo, Ma and Srikant 2007, https://doi.org/10.1145/1242572.1242591
"""

import math
from collections.abc import Sequence

import numpy as np

from cloche.data.cleaning.duplicates import fold_whitespace, gram_hashes

SIMILARITY = 0.8
"""Share of common pieces from which two texts are nearly the same."""
MOST_CHARACTERS = 100_000_000
"""Of all texts that are compared; a set of pieces takes about 4 bytes for each."""


class SimilarTexts:
    """Finds, for a text, an earlier one that is nearly the same."""

    def __init__(self, texts: Sequence[str], *, similarity: float = SIMILARITY) -> None:
        self.similarity = similarity
        self._sets = _ranked_pieces([folded(text) for text in texts])
        self._index: dict[int, list[int]] = {}

    def add(self, number: int) -> None:
        """From now on the text of this number can be found."""
        for piece in self._prefix(number):
            self._index.setdefault(piece, []).append(number)

    def find(self, number: int) -> tuple[int, float] | None:
        """The first text that was added of those like this one, and how like it is; or None."""
        asked: set[int] = set()
        for piece in self._prefix(number):
            for other in self._index.get(piece, ()):
                if other in asked:
                    continue
                asked.add(other)
                likeness = self._likeness(number, other)
                if likeness >= self.similarity:
                    return other, likeness
        return None

    def _prefix(self, number: int) -> list[int]:
        """The rarest pieces of a text: one like it has at least one of them among its rarest."""
        pieces = self._sets[number]
        shared = math.ceil(self.similarity * len(pieces) - 1e-9)  # at least, with one that is like
        return pieces[: len(pieces) - shared + 1].tolist()

    def _likeness(self, one: int, other: int) -> float:
        first, second = self._sets[one], self._sets[other]
        shorter, longer = sorted((len(first), len(second)))
        if shorter < self.similarity * longer:
            return 0.0
        common = len(np.intersect1d(first, second, assume_unique=True))
        return common / (shorter + longer - common)


def folded(text: str) -> str:
    """The text in which white space and case make no difference."""
    return fold_whitespace(text).lower()


def _ranked_pieces(texts: Sequence[str]) -> list[np.ndarray]:
    """The pieces of each text as their ranks among all, the rarest first; each once."""
    sets = [np.unique(np.concatenate(list(gram_hashes(text)))) for text in texts]
    if not sets:
        return []
    pieces, places, counts = np.unique(
        np.concatenate(sets), return_inverse=True, return_counts=True
    )
    ranks = np.empty(len(pieces), np.int32)
    ranks[np.lexsort((pieces, counts))] = np.arange(len(pieces), dtype=np.int32)
    ends = np.cumsum([len(one) for one in sets])[:-1]
    return [np.sort(one) for one in np.split(ranks[places], ends)]
