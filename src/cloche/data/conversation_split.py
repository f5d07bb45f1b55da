"""Which records train a model and which are held out, and how many tokens they have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from cloche.data.order import mix, shuffled
from cloche.errors import SettingError

Order = Literal["kept", "shuffled"]

_PERMUTATION = 0x73706C6974  # a stream of random numbers of its own
_SHOWN = 3


class Split(NamedTuple):
    """Places of the records of each part, each place in exactly one."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split_records(count: int, *, split: Sequence[float], seed: int, order: Order = "kept") -> Split:
    """The places of `count` records, from 0, in three parts of the shares that `split` gives.

    The shares are those of training, validation and, if there is a third, test. In the order of
    the records, training comes first, then test, then validation; of 1,100 at 0.85, 0.05 and 0.1
    these are 935, 110 and 55. Training and test have whole numbers of records, rounded down, and
    validation the rest (training, where validation has the share 0). Shuffled, the records are in
    an order that is a function of (seed, count) instead; each part is in the order of the file.

    Source of the order: Raschka, Build a Large Language Model (From Scratch), chapter 7.

    Raises SettingError for shares that do not add up to 1 and for a part that gets no record.
    """
    shares = _shares(split)
    sizes = [int(count * share) for share in shares]
    rest = 1 if shares[1] else 0
    sizes[rest] = count - sum(sizes) + sizes[rest]
    empty = [
        name
        for name, size, share in zip(("training", "validation", "test"), sizes, shares, strict=True)
        if share and not size
    ]
    if empty:
        raise SettingError(
            f"data.split {_shown(split)} leaves no record of {count:,} for {' and '.join(empty)}: "
            "give more records, or other shares"
        )
    places = np.arange(count, dtype=np.int64)
    if order == "shuffled":
        drawn = shuffled(places, size=count, key=mix(seed, _PERMUTATION))
        places = np.argsort(drawn, kind="stable")
    train, test = sizes[0], sizes[0] + sizes[2]
    parts = places[:train], places[test:], places[train:test]
    return Split(*(tuple(sorted(part.tolist())) for part in parts))


def split_groups(
    groups: Sequence[int], *, split: Sequence[float], seed: int, order: Order = "kept"
) -> Split:
    """Places in `groups`, which says what group stands at each, so that each is in one part whole.

    The groups, in the order in which they first come, are split as `split_records` splits records:
    pairs of one ranking must not be learned and held out at once.
    """
    first = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    parts = split_records(len(first), split=split, seed=seed, order=order)
    part_of = {
        number: name
        for name, part in (("train", parts.train), ("validation", parts.validation))
        for number in part
    }
    places: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for place, group in enumerate(groups):
        places[part_of.get(first[group], "test")].append(place)
    return Split(*map(tuple, places.values()))


@dataclass(frozen=True)
class TokenCount:
    """How long one record is, laid out as tokens."""

    place: str
    tokens: int
    first_learned: int
    """Number of the first token that is learned, from 0."""


@dataclass(frozen=True)
class LengthReport:
    """How long records are, and what a limit takes from them."""

    records: int
    median: int
    percentile_95: int
    longest: int
    longest_place: str
    context: int
    truncated: tuple[str, ...]
    """Places of the records that are longer than the context and the token that follows it."""
    unanswered: tuple[str, ...]
    """Of these, those of whose answers nothing is left."""

    def lines(self) -> list[str]:
        """For the screen."""
        place = f" ({self.longest_place})" if self.longest_place else ""
        found = [
            f"Tokens: median {self.median:,}, 95 of 100 records have at most "
            f"{self.percentile_95:,}, the longest {self.longest:,}{place}."
        ]
        if self.truncated:
            found.append(
                f"Cut: {len(self.truncated):,} of {self.records:,} records, which do not fit into "
                f"a context of {self.context:,} tokens{_listed(self.truncated)}."
            )
        if self.unanswered:
            found.append(
                f"Cut before the first answer, so that nothing can be learned: "
                f"{len(self.unanswered):,} of these{_listed(self.unanswered)}."
            )
        return found


def measure_lengths(counts: Sequence[TokenCount], context: int) -> LengthReport:
    """How long the records are, and what is cut of those that a context does not hold.

    A record of one token more than the context fits, as its last one is only predicted. There must
    be at least one record.
    """
    lengths = sorted(count.tokens for count in counts)
    longest = max(counts, key=lambda count: count.tokens)
    return LengthReport(
        records=len(counts),
        median=_quantile(lengths, 0.5),
        percentile_95=_quantile(lengths, 0.95),
        longest=longest.tokens,
        longest_place=longest.place,
        context=context,
        truncated=tuple(count.place for count in counts if count.tokens > context + 1),
        unanswered=tuple(count.place for count in counts if count.first_learned > context),
    )


def length_report(lengths: Sequence[int], context: int) -> list[str]:
    """Lines for the screen, of the numbers of tokens alone; see `measure_lengths`."""
    return measure_lengths([TokenCount("", length, 0) for length in lengths], context).lines()


def _quantile(ranked: Sequence[int], share: float) -> int:
    """The smallest of the numbers, in rising order, that this share of them does not exceed."""
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def _shares(split: Sequence[float]) -> list[Fraction]:
    usable = 1 <= len(split) <= 3 and all(map(math.isfinite, split))
    shares = [Fraction(str(share)) for share in split] if usable else []
    if not shares or min(shares) < 0 or not shares[0] or abs(sum(shares) - 1) > Fraction(1, 10**6):
        raise SettingError(
            f"data.split takes the shares of training, validation and test, which add up to 1, "
            f"such as 0.85 0.05 0.1; got {_shown(split)}"
        )
    return [*shares, *[Fraction(0)] * (3 - len(shares))]


def _shown(split: Sequence[float]) -> str:
    return " ".join(f"{share:g}" for share in split) or "nothing"


def _listed(places: Sequence[str]) -> str:
    """The first places, where they are known, to end a sentence with."""
    if not places[0]:
        return ""
    more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return f": {', '.join(places[:_SHOWN])}{more}"
