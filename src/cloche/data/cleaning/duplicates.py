"""Steps that take out documents seen before, the same or nearly. The first one stays."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from cloche.data.cleaning.report import Removed
from cloche.errors import SettingError

PERMUTATIONS = 128
"""Length of a signature; similarities are estimated to about 0.035 at 0.8."""
GRAM = 5
"""Characters of the pieces whose sets are compared: about a word of English, and Chinese has no
words to cut at."""
_BLOCK = 1 << 14  # characters hashed at once; a block of its permutations takes 8 MB
_WHITE = re.compile(r"\s+")


class ExactDuplicates:
    """Removes a document that differs from an earlier one at most in white space.

    Keeps 16 bytes of each document, about 120 bytes of memory; two of a billion different
    documents have the same with probability 10^-21.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, document: tuple[str, str]) -> str | Removed:
        """The text, or that it was removed and why."""
        _, text = document
        data = fold_whitespace(text).encode("utf-8", errors="surrogatepass")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in self._seen:
            return Removed("the same text came before")
        self._seen.add(digest)
        return text


class NearDuplicates:
    """Removes a document that shares most of its text with an earlier one that stayed.

    Likeness is the Jaccard similarity of the sets of 5-character pieces, white space and case
    folded, estimated by MinHash signatures; candidates come from an LSH index that finds at least
    95 of 100 documents at the threshold, and nearly all above it. Takes about 9 KB of memory for
    each document that stays. The same documents in the same order always leave the same ones.

    Source: Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
    """

    def __init__(self, similarity: float) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as exc:
            raise SettingError(
                "the cleaning step near-duplicates needs datasketch: pip install 'cloche[clean]'"
            ) from exc
        self.similarity = similarity
        self._empty: Any = MinHash(PERMUTATIONS, seed=1, hashfunc=int)
        self._index: Any = MinHashLSH(
            num_perm=PERMUTATIONS, params=bands(similarity), hashfunc=_short_digest
        )
        self._signatures: list[np.ndarray] = []
        self._names: list[str] = []

    def __call__(self, document: tuple[str, str]) -> str | Removed:
        """The text, or that it was removed and which earlier one it is like."""
        name, text = document
        sketch = self._empty.copy()
        for hashes in gram_hashes(fold_whitespace(text).lower()):
            sketch.update_batch(hashes)
        signature = sketch.hashvalues.astype(np.uint32)
        alike = [
            (-float((signature == self._signatures[number]).mean()), number)
            for number in self._index.query(sketch)
        ]
        if alike and -min(alike)[0] >= self.similarity:
            share, number = min(alike)
            return Removed(f"{-share:.2f} like {self._names[number]}")
        self._index.insert(len(self._names), sketch, check_duplication=False)
        self._signatures.append(signature)
        self._names.append(name)
        return text


def fold_whitespace(text: str) -> str:
    """The text with every run of white space as one space, and none around it."""
    return _WHITE.sub(" ", text).strip()


def bands(similarity: float) -> tuple[int, int]:
    """Bands and rows of an LSH index: the longest rows, so the fewest false candidates, that find
    a pair of this similarity in at least 95 of 100 cases."""
    fitting = [
        rows
        for rows in range(1, PERMUTATIONS // 4 + 1)
        if (1 - similarity**rows) ** (PERMUTATIONS // rows) <= 0.05
    ]
    rows = max(fitting, default=1)
    return PERMUTATIONS // rows, rows


def gram_hashes(text: str) -> Iterator[np.ndarray]:
    """32-bit hashes of all pieces of GRAM characters, in blocks without repetitions.

    A text shorter than that is one piece.
    """
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    if len(codes) < GRAM:
        codes = np.concatenate([codes, np.zeros(GRAM - len(codes), codes.dtype)])
    for first in range(0, len(codes) - GRAM + 1, _BLOCK):
        block = codes[first : first + _BLOCK + GRAM - 1].astype(np.uint64)
        hashes = np.zeros(len(block) - GRAM + 1, np.uint64)
        for place in range(GRAM):  # unsigned integers wrap around, as a hash may
            hashes = (hashes ^ block[place : place + len(hashes)]) * np.uint64(0x9E3779B97F4A7C15)
            hashes ^= hashes >> np.uint64(29)
        yield np.unique((hashes >> np.uint64(32)).astype(np.uint32))


def _short_digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()
