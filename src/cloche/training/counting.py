"""Counts the n-grams of a text, order by order, into sorted tables, in bounded memory.

An n-gram's key is (place of its first n-1 tokens in the table below) x vocabulary + last token,
so any order over any vocabulary fits in 64 bits. A pass over the tokens needs the places of the
order below at each token; they lie in a file. Documents do not see one another: with separated
documents an end-of-text token ends its document and is the first token of the next, as in
`data/batches.windows_at`.

For Kneser-Ney smoothing, all orders but the highest count in how many different places an n-gram
occurs: after how many different tokens, the beginning of a document being one of them.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloche.data.batches import Tokens
from cloche.model.config import Smoothing
from cloche.training.sorted_runs import SortedRuns, run_starts

CHUNK_TOKENS = 1 << 22
LARGEST_THRESHOLD = 1 << 16
"""Counts are told apart up to here when the rarest are to go."""
NONE_KEPT = (1 << 63) - 1
"""The threshold where there is room for no n-gram at all."""
TOLD_SECONDS = 10.0
MISSING = -1


@dataclass(frozen=True)
class CountingOptions:
    """What to count and how much to keep."""

    order: int
    vocab_size: int
    smoothing: Smoothing
    max_ngrams: int
    """Most entries of order 2 and above, all orders together."""
    chunk_tokens: int = CHUNK_TOKENS
    """Tokens in memory at once; changes nothing in the result."""


@dataclass(frozen=True)
class OrderCounts:
    """The n-grams of one order."""

    keys: np.ndarray
    """Place of the context in the table below x vocabulary + token, ascending; int64."""
    counts: np.ndarray
    """Occurrences, or (Kneser-Ney, below the highest order) different places; int64."""
    totals: np.ndarray
    """For each n-gram of the order below, the counts of all that follows it, pruned or not."""
    counts_of_counts: tuple[int, ...]
    """How many n-grams have the counts 1, 2, 3 and 4, pruned ones of the highest order too."""
    distinct: int
    """How many there are in the text after the contexts that were kept."""
    rarest: int
    """Least occurrences of an n-gram that was kept; 1 where none was pruned."""

    @property
    def pruned(self) -> int:
        """How many of the distinct ones are not in the table."""
        return self.distinct - len(self.keys)


@dataclass(frozen=True)
class Watch:
    """Who is told how far the counting is, and who may stop it by raising an exception."""

    tell: Callable[[str], None] = lambda _text: None
    check: Callable[[], None] = lambda: None


@dataclass
class _Order:
    """An order being counted."""

    keys: np.ndarray
    occurrences: np.ndarray
    totals: np.ndarray
    """Occurrences of all that follows each context."""
    suffixes: np.ndarray
    """Place, in the order below, of each n-gram without its first token; MISSING if pruned."""
    histogram: np.ndarray
    distinct: int
    rarest: int
    starting: np.ndarray
    """Whether the n-gram begins a document."""
    places: np.ndarray
    """Different tokens before each n-gram."""
    place_totals: np.ndarray
    """The same for each context: over all n-grams that follow it."""


def count_ngrams(
    tokens: Tokens, options: CountingOptions, *, folder: Path, watch: Watch | None = None
) -> Iterator[OrderCounts]:
    """The tables of orders 1, 2, ... up to the highest, each as soon as it is complete.

    `folder` is for temporary files: about 16 bytes a token at once. Order 1 has an entry for
    every token of the vocabulary, also for those that never occur.
    """
    return _Counter(tokens, options, folder=folder, watch=watch or Watch()).run()


class _Counter:
    def __init__(
        self, tokens: Tokens, options: CountingOptions, *, folder: Path, watch: Watch
    ) -> None:
        self.tokens, self.options, self.folder, self.watch = tokens, options, folder, watch
        self.size = len(tokens.tokens)
        several = len(tokens.ends) > 1
        ends = tokens.ends if several else tokens.ends[:0]
        # where a next document begins: at the end-of-text token, or after the end
        self.firsts = ends - 1 if tokens.separated else ends
        self.kept = 0

    def run(self) -> Iterator[OrderCounts]:
        below = self._single_tokens()
        for order in range(2, self.options.order + 1):
            runs = SortedRuns(
                self.folder, name=f"keys-{order}", range_entries=self.options.chunk_tokens
            )
            for keys in self._keys(order, below):
                runs.add(keys)
            counted = self._merge(order, runs, below)
            runs.remove()
            yield self._finished(below, highest=False)
            below = counted
        yield self._finished(below, highest=True)

    def _single_tokens(self) -> _Order:
        vocab_size = self.options.vocab_size
        occurrences = np.zeros(vocab_size, np.int64)
        starting = np.zeros(vocab_size, bool)
        for _begin, tokens, depths in self._chunks(1):
            occurrences += np.bincount(tokens, minlength=vocab_size)
            starting[tokens[depths == 0]] = True
        return _Order(
            keys=np.arange(vocab_size),
            occurrences=occurrences,
            totals=np.array([self.size]),
            suffixes=np.zeros(vocab_size, np.int32),
            histogram=_histogram(occurrences),
            distinct=vocab_size,
            rarest=1,
            starting=starting,
            places=np.zeros(vocab_size, np.int64),
            place_totals=np.zeros(1, np.int64),
        )

    def _chunks(self, order: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(begin, tokens, tokens before each in its document) of each portion of the text."""
        told = time.monotonic()
        for begin in range(0, self.size, self.options.chunk_tokens):
            self.watch.check()
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                self.watch.tell(f"Order {order}: {begin / self.size:.0%} of the text counted.")
            end = min(begin + self.options.chunk_tokens, self.size)
            tokens = np.asarray(self.tokens.tokens[begin:end]).astype(np.int64)
            yield begin, tokens, self._depths(begin, end)

    def _depths(self, begin: int, end: int) -> np.ndarray:
        """How many tokens of its own document lie before each token, as its context."""
        places = np.arange(begin, end)
        if not len(self.firsts):
            return places
        # an end-of-text token belongs, as what is predicted, to the document that it ends
        side = "left" if self.tokens.separated else "right"
        begins = np.concatenate([[0], self.firsts])
        return places - begins[np.searchsorted(self.firsts, places, side=side)]

    def _keys(self, order: int, below: _Order) -> Iterator[np.ndarray]:
        """The keys of all n-grams of an order, in portions of the text.

        On the way the place of each (n-1)-gram in the table below is put on disk for the order
        above, and those that begin a document are noted.
        """
        last = MISSING  # the place at the token before this portion
        for begin, tokens, depths in self._chunks(order):
            if order == 2:
                places = tokens
            else:
                contexts = self._contexts(order - 2, begin, len(tokens))
                valid = (contexts >= 0) & (depths >= order - 2)
                places = self._look_up(below, contexts, tokens, valid=valid)
                if order < self.options.order:
                    with open(self._places_file(order - 1), "ab") as file:
                        places.astype(np.int32).tofile(file)
            below.starting[places[(places >= 0) & (depths == order - 2)]] = True
            contexts = np.concatenate([[last], places[:-1]])
            last = places[-1]
            valid = (contexts >= 0) & (depths >= order - 1)
            yield contexts[valid] * self.options.vocab_size + tokens[valid]
        self._places_file(order - 2).unlink(missing_ok=True)

    def _contexts(self, order: int, begin: int, count: int) -> np.ndarray:
        """Places of the n-grams of an order that end one before each token from `begin` on."""
        first, wanted = max(0, begin - 1), count if begin else count - 1
        if order == 1:
            found = np.asarray(self.tokens.tokens[first : first + wanted]).astype(np.int64)
        else:
            path = self._places_file(order)
            found = np.fromfile(path, np.int32, count=wanted, offset=4 * first).astype(np.int64)
        return found if begin else np.concatenate([[MISSING], found])

    def _look_up(
        self, table: _Order, contexts: np.ndarray, tokens: np.ndarray, *, valid: np.ndarray
    ) -> np.ndarray:
        """Places of the n-grams (context, token) in their table; MISSING where not valid."""
        found = np.full(len(tokens), MISSING, np.int64)
        wanted = contexts[valid] * self.options.vocab_size + tokens[valid]
        found[valid] = _places_of(table.keys, wanted)
        return found

    def _merge(self, order: int, runs: SortedRuns, below: _Order) -> _Order:
        """The order's table from its runs; what it says about the order below is added there."""
        threshold = self._threshold(order, runs, below)
        totals = np.zeros(len(below.keys), np.int64)
        histogram = np.zeros(LARGEST_THRESHOLD + 1, np.int64)
        nothing = np.zeros(0, np.int64)
        kept = [(nothing, nothing, nothing.astype(np.int32))]
        for block in runs.merged():
            self.watch.check()
            contexts, tokens = np.divmod(block.keys, self.options.vocab_size)
            firsts = run_starts(contexts)
            totals[contexts[firsts]] += np.add.reduceat(block.counts, firsts)
            histogram += _histogram(block.counts)
            suffixes = self._note_places(order, below, contexts, tokens)
            stays = block.counts >= threshold
            kept.append((block.keys[stays], block.counts[stays], suffixes[stays].astype(np.int32)))
        keys, counts, suffixes = (np.concatenate(column) for column in zip(*kept, strict=True))
        self.kept += len(keys)
        return _Order(
            keys=keys,
            occurrences=counts,
            totals=totals,
            suffixes=suffixes,
            histogram=histogram,
            distinct=int(histogram.sum()),
            rarest=threshold,
            starting=np.zeros(len(keys), bool),
            places=np.zeros(len(keys), np.int64),
            place_totals=np.zeros(len(below.keys), np.int64),
        )

    def _threshold(self, order: int, runs: SortedRuns, below: _Order) -> int:
        """Least occurrences to be kept: as in the order below where all fit in half of the room
        that is left, and the highest order in all of it.

        It never falls from order to order, so of a kept n-gram every part is kept, too.
        """
        room = self.options.max_ngrams - self.kept
        share = room if order == self.options.order else room // 2
        if runs.entries <= share:
            return below.rarest
        histogram = np.zeros(LARGEST_THRESHOLD + 1, np.int64)
        for block in runs.merged():
            histogram += _histogram(block.counts)
        at_least = np.cumsum(histogram[::-1])[::-1]  # how many occur so often or more
        fitting = np.flatnonzero(at_least <= share)
        if not len(fitting):
            return NONE_KEPT
        return max(below.rarest, int(fitting[0]))

    def _note_places(
        self, order: int, below: _Order, contexts: np.ndarray, tokens: np.ndarray
    ) -> np.ndarray:
        """Each n-gram's place in the table below without its first token, which is one more
        place where that shorter n-gram occurs; MISSING where it was pruned."""
        before = below.suffixes[contexts].astype(np.int64)  # the context without its first token
        known = before >= 0
        suffixes = tokens if order == 2 else self._look_up(below, before, tokens, valid=known)
        np.add.at(below.place_totals, before[known], 1)
        np.add.at(below.places, suffixes[suffixes >= 0], 1)
        return suffixes

    def _finished(self, counted: _Order, *, highest: bool) -> OrderCounts:
        counts, totals, histogram = counted.occurrences, counted.totals, counted.histogram
        if self.options.smoothing == "kneser-ney" and not highest:
            counts, totals = self._places(counted)
            histogram = _histogram(counts)
        return OrderCounts(
            keys=counted.keys,
            counts=counts,
            totals=totals,
            counts_of_counts=tuple(histogram[1:5].tolist()),
            distinct=counted.distinct,
            rarest=counted.rarest,
        )

    def _places(self, counted: _Order) -> tuple[np.ndarray, np.ndarray]:
        """Different places of each n-gram, and their sums over what follows each context."""
        contexts = counted.keys // self.options.vocab_size
        counts = counted.places + counted.starting
        totals = counted.place_totals.copy()
        np.add.at(totals, contexts[counted.starting], 1)
        # where all that an n-gram occurs after was pruned, it still occurs in some place
        uncounted = (counts == 0) & (counted.occurrences > 0)
        np.add.at(totals, contexts[uncounted], 1)
        return counts + uncounted, totals

    def _places_file(self, order: int) -> Path:
        return self.folder / f"places-{order}.bin"


def _places_of(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted key is in an ascending array; MISSING where it is not."""
    if not len(keys):
        return np.full(len(wanted), MISSING, np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, MISSING)


def _histogram(counts: np.ndarray) -> np.ndarray:
    """How many have the counts 0, 1, 2, ... and, last, so many or more."""
    limited = np.minimum(counts, LARGEST_THRESHOLD)
    return np.bincount(limited, minlength=LARGEST_THRESHOLD + 1)
