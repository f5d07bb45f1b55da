"""Excerpts of a text: beginnings to continue, and how the text itself goes on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloche.data.batches import Tokens
from cloche.data.order import mix, shuffled
from cloche.errors import DataError

FEWEST = 2
"""Excerpts that a standard error needs."""


@dataclass(frozen=True)
class Excerpts:
    """Stretches of a text that do not overlap, each inside one document."""

    tokens: Tokens
    starts: np.ndarray
    """Places of their first tokens, int64."""
    ends: np.ndarray
    """Where the document of each ends, without its end-of-text token."""
    prefix: int
    """Tokens that are given of each."""
    continuation: int
    """Tokens behind the prefix that every excerpt has at least."""

    def __len__(self) -> int:
        return len(self.starts)

    def prompts(self) -> Iterator[tuple[int, ...]]:
        """The first tokens of each."""
        for start in self.starts.tolist():
            yield self._ids(start, start + self.prefix)

    def continuations(self, length: int) -> Iterator[tuple[int, ...]]:
        """What follows each prompt: `length` tokens, or fewer where the document ends."""
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            first = start + self.prefix
            yield self._ids(first, min(first + length, end))

    def first(self, count: int) -> "Excerpts":
        """The first `count` of them."""
        return Excerpts(
            self.tokens, self.starts[:count], self.ends[:count], self.prefix, self.continuation
        )

    def _ids(self, start: int, end: int) -> tuple[int, ...]:
        return tuple(np.asarray(self.tokens.tokens[start:end]).tolist())


def choose_excerpts(
    tokens: Tokens, *, prefix: int, continuation: int, count: int, seed: int, part: str
) -> Excerpts:
    """At most `count` excerpts of `prefix` and `continuation` tokens, spread over the text.

    As many as fit into each document side by side may be chosen, all equally likely; where in its
    document the row of them begins is chance, too. The same seed chooses the same ones. `part` is
    what errors call the text. DataError where it holds fewer than two.
    """
    size = prefix + continuation
    begins, ends = _documents(tokens)
    lengths = ends - begins
    fitting = lengths // size
    before = np.cumsum(fitting) - fitting
    total = int(fitting.sum())
    if total < FEWEST:
        raise DataError(
            f"the {part} part is too short for {FEWEST} excerpts of {prefix} and {continuation} "
            f"tokens, which lie side by side in its documents: its longest one has "
            f"{int(lengths.max(initial=0)):,} tokens. Use a smaller --writing-prefix and "
            "--writing-continuation, or a run with more text"
        )
    wanted = np.arange(min(count, total), dtype=np.int64)
    chosen = shuffled(wanted, size=total, key=mix(seed, size))
    documents = np.searchsorted(before, chosen, side="right") - 1
    spare = lengths[documents] - fitting[documents] * size
    shifts = [
        mix(seed, document) % (room + 1)
        for document, room in zip(documents.tolist(), spare.tolist(), strict=True)
    ]
    starts = begins[documents] + np.asarray(shifts, np.int64)
    starts += (chosen - before[documents]) * size
    return Excerpts(tokens, starts, ends[documents], prefix, continuation)


def count_excerpts(tokens: Tokens, *, size: int) -> int:
    """How many excerpts of so many tokens lie side by side in the documents of a text."""
    begins, ends = _documents(tokens)
    return int(((ends - begins) // size).sum())


def _documents(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Where the documents begin and end, without their end-of-text tokens."""
    stops = np.unique(np.append(tokens.ends, len(tokens.tokens))).astype(np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), stops[:-1]])
    ends = stops - 1 if tokens.separated else stops
    return begins, np.maximum(begins, ends)
