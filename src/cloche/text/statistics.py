"""What a text is made of, from one pass over it: enough to choose a tokenizer by."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_CODE_POINTS = 0x110000
_COUNTED_CHARACTERS = 1 << 18  # at a time
_CJK = (
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # rare Chinese characters
    (0x4E00, 0x9FFF),  # Chinese characters
    (0xAC00, 0xD7A3),  # Korean syllables
    (0xF900, 0xFAFF),  # compatibility forms
    (0x20000, 0x323AF),  # the rarest
)


@dataclass(frozen=True)
class TextStatistics:
    """Counts over a text."""

    characters: int
    utf8_bytes: int
    alphabet: frozenset[str]
    """The distinct characters."""
    cjk_share: float
    """Share of Chinese, Japanese and Korean letters among all characters, from 0 to 1."""


def read_statistics(pieces: Iterable[str]) -> TextStatistics:
    """The statistics of all pieces together, in memory that does not grow with the text."""
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    for text in _gathered(pieces):
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        found = np.bincount(codes)
        counts[: len(found)] += found
    total = int(counts.sum())
    cjk = sum(int(counts[first : last + 1].sum()) for first, last in _CJK)
    # UTF-8 takes one byte more from each of these code points on.
    utf8_bytes = total + sum(int(counts[first:].sum()) for first in (0x80, 0x800, 0x10000))
    return TextStatistics(
        characters=total,
        utf8_bytes=utf8_bytes,
        alphabet=frozenset(map(chr, np.flatnonzero(counts).tolist())),
        cjk_share=cjk / max(1, total),
    )


def _gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Short pieces put together: counting costs as much for a word as for a page."""
    held, size = [], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _COUNTED_CHARACTERS:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)
