"""A vocabulary to read: what each id stands for, and how often a text uses it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cloche.text.tokenizer import Tokenizer
from cloche.text.visible import TokenReader, readable

Order = Literal["id", "count"]


@dataclass(frozen=True)
class Entry:
    """One token of a vocabulary."""

    id: int
    text: str
    """As it is; bytes that are no whole character as hex."""
    data: bytes
    special: bool
    count: int | None
    """How often it occurs in the text it was counted over; None where there was none."""


@dataclass(frozen=True)
class Vocabulary:
    """All tokens of a tokenizer."""

    entries: tuple[Entry, ...]
    size: int
    """Number of ids, those of no token included."""

    @property
    def holes(self) -> int:
        """How many ids no token has."""
        return self.size - len(self.entries)

    @property
    def unused(self) -> int:
        """How many entries the counted text never uses."""
        return sum(entry.count == 0 for entry in self.entries)

    def find(self, text: str) -> list[Entry]:
        """The entries in whose bytes `text` occurs; all of them for an empty one."""
        wanted = text.encode("utf-8")
        return [entry for entry in self.entries if wanted in entry.data]


def read_vocabulary(tokenizer: Tokenizer, counts: NDArray[np.int64] | None = None) -> Vocabulary:
    """The vocabulary by id, with `counts`, the number of occurrences of each id, if given."""
    reader = TokenReader(tokenizer)
    entries = []
    for token_id in range(tokenizer.vocab_size):
        if data := reader.data(token_id):
            count = None if counts is None else int(counts[token_id])
            special = reader.is_special(token_id)
            entries.append(Entry(token_id, readable(data), data, special, count))
    return Vocabulary(tuple(entries), tokenizer.vocab_size)


def most_used_first(entries: list[Entry]) -> list[Entry]:
    """The entries by their counts, the most frequent first; equal ones by id."""
    return sorted(entries, key=lambda entry: (-(entry.count or 0), entry.id))
