"""Texts that are nearly the same, found exactly: Jaccard similarity of the sets of their pieces.

Pieces are those of five characters, white space and case folded, as in `cleaning/duplicates.py`,
which estimates the same by MinHash for corpora of any size. For the thousands of texts of a tuning
all similarities above a threshold can be found without an estimate: two sets that share most of
their pieces share one of the few rarest of each, so only texts that do are compared.

Source of these bounds: Bayardo, Ma and Srikant 2007, https://doi.org/10.1145/1242572.1242591; Xiao,
Wang, Lin and Yu 2008, https://doi.org/10.1145/1367497.1367516
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from cloche.data.cleaning.duplicates import fold_whitespace, gram_hashes

SIMILARITY = 0.8
"""Share of common pieces from which two texts are nearly the same."""
MOST_CHARACTERS = 30_000_000
"""Of all texts that are compared, which takes some seconds and 20 bytes for each while it lasts."""


MOST_LOOKED_UP = 20_000_000
"""Entries of the index that are read, some seconds of work: texts made from a few templates have no
rare pieces, and each would be held against most others."""


class SimilarTexts:
    """Finds, for a text, an earlier one that is nearly the same, until `exhausted`."""

    def __init__(self, texts: Sequence[str], *, similarity: float = SIMILARITY) -> None:
        self.similarity = similarity
        self.left = MOST_LOOKED_UP
        self._sets = _ranked_pieces([folded(text) for text in texts])
        self._sizes = [len(pieces) for pieces in self._sets]
        self._index: dict[int, list[tuple[int, int]]] = {}  # piece: texts, and its place in each
        distinct = 1 + max((int(pieces[-1]) for pieces in self._sets), default=-1)
        self._present = np.zeros(distinct, bool)  # marks of one text's pieces

    def add(self, number: int) -> None:
        """From now on the text of this number can be found."""
        for place, piece in enumerate(self._prefix(number)):
            self._index.setdefault(piece, []).append((number, place))

    @property
    def exhausted(self) -> bool:
        """Whether so much was looked up that nothing more is."""
        return self.left <= 0

    def find(self, number: int) -> tuple[int, float] | None:
        """The first text that was added of those like this one, and how like it is; or None.

        None, too, once it is exhausted.
        """
        pieces = self._sets[number]
        self._present[pieces] = True
        like = ((other, self._likeness(number, other)) for other in self._candidates(number))
        found = next((pair for pair in like if pair[1] >= self.similarity), None)
        self._present[pieces] = False
        return found

    def _candidates(self, number: int) -> Iterator[int]:
        """Texts that may be like this one: neither sizes nor the first common piece forbid it."""
        size, similarity = self._sizes[number], self.similarity
        shortest, longest = size * similarity - 1e-9, size / similarity + 1e-9
        seen: set[int] = set()
        for place, piece in enumerate(self._prefix(number)):
            known = self._index.get(piece, ())
            self.left -= len(known)
            if self.exhausted:
                return
            for other, there in known:
                other_size = self._sizes[other]
                if other in seen or not shortest <= other_size <= longest:
                    continue
                seen.add(other)
                most = min(size - place, other_size - there)  # nothing is common before
                if most * (1 + similarity) + 1e-9 >= similarity * (size + other_size):
                    yield other

    def _prefix(self, number: int) -> list[int]:
        """The rarest pieces of a text: one like it has at least one of them among its rarest."""
        size = self._sizes[number]
        shared = math.ceil(self.similarity * size - 1e-9)  # at least, with one that is like
        return self._sets[number][: size - shared + 1].tolist()

    def _likeness(self, number: int, other: int) -> float:
        """Of the text whose pieces are marked as present, and another one."""
        common = int(np.count_nonzero(self._present[self._sets[other]]))
        return common / (self._sizes[number] + self._sizes[other] - common)


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
