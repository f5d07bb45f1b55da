"""What a model writes freely, beside what people wrote: copies, repetition, diversity, loops.

The model goes on from held-out beginnings, drawing each token by chance, and is compared with how
the text itself goes on there, over equally many tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloche.data.batches import Tokens
from cloche.evaluation.excerpts import Excerpts
from cloche.evaluation.memorisation import (
    CopiedSpans,
    copied_characters,
    copied_tokens,
    summarise_copies,
)
from cloche.evaluation.repetition import (
    compression_ratio,
    distinct_share,
    ends_in_loop,
    entropy_bits,
)
from cloche.evaluation.trials import TrialEstimate, mean_of
from cloche.evaluation.writers import continue_prompts
from cloche.run import LM
from cloche.text.tokenizer import Tokenizer

SHORTEST = 16
"""Tokens that a continuation needs to be compared."""


@dataclass(frozen=True)
class Compared:
    """A number of the model's texts and of people's, and the mean difference of the pairs."""

    model: TrialEstimate
    held_out: TrialEstimate
    difference: TrialEstimate


@dataclass(frozen=True)
class CopiedByUnit:
    """Copied spans, found token by token and character by character."""

    tokens: CopiedSpans
    characters: CopiedSpans


@dataclass(frozen=True)
class FreeWriting:
    """What a model's free continuations are like, and those that people wrote."""

    samples: int
    too_short: int
    """Continuations left out: the model or the document ended within SHORTEST tokens."""
    mean_tokens: float
    model_copies: CopiedByUnit
    held_out_copies: CopiedByUnit
    tokens: dict[str, Compared]
    """By name: distinct_1 to distinct_3, repeated_4, entropy_bits, loops."""
    characters: dict[str, Compared]
    """The same, and compression_ratio."""
    example: str
    """The first continuation that the model wrote."""


@dataclass(frozen=True)
class WrittenPair:
    """Equally many tokens of the model and of people behind the same beginning."""

    model: tuple[int, ...]
    held_out: tuple[int, ...]


def write_freely(
    lm: LM, excerpts: Excerpts, *, tokens: int, temperature: float, seed: int
) -> list[WrittenPair]:
    """Up to so many tokens behind each excerpt's prefix, by the model and by the text itself.

    Both are cut to the length of the shorter one: either may come to the end of its document.
    """
    answers = continue_prompts(
        lm,
        excerpts.prompts(),
        tokens=tokens,
        temperature=temperature,
        seed=seed,
        stop_ids=lm.stop_ids,
    )
    pairs = []
    for answer, truth in zip(answers, excerpts.continuations(tokens), strict=True):
        ids = answer.token_ids
        ids = ids[:-1] if ids and ids[-1] in lm.stop_ids else ids
        length = min(len(ids), len(truth))
        pairs.append(WrittenPair(ids[:length], truth[:length]))
    return pairs


def measure_free_writing(
    pairs: Sequence[WrittenPair], training: Tokens, *, tokenizer: Tokenizer, least: int
) -> FreeWriting | None:
    """What the pairs are like; None where fewer than two are long enough.

    A span counts as covering from `least` tokens on, or from as many characters as those are on
    average.
    """
    kept = [pair for pair in pairs if len(pair.model) >= SHORTEST]
    if len(kept) < 2:
        return None
    rows = [pair.model for pair in kept] + [pair.held_out for pair in kept]
    texts = [tokenizer.decode(row) for row in rows]
    per_token = sum(map(len, texts)) / sum(map(len, rows))
    by_token = copied_tokens(rows, training, tokenizer=tokenizer)
    by_character = copied_characters(texts, training, tokenizer=tokenizer)
    count = len(kept)

    def copies(part: slice) -> CopiedByUnit:
        ids, written = rows[part], texts[part]
        return CopiedByUnit(
            tokens=summarise_copies(
                by_token[part],
                least=least,
                show=lambda row, begin, end: tokenizer.decode(ids[row][begin:end]),
            ),
            characters=summarise_copies(
                by_character[part],
                least=max(1, round(least * per_token)),
                show=lambda row, begin, end: written[row][begin:end],
            ),
        )

    return FreeWriting(
        samples=count,
        too_short=len(pairs) - count,
        mean_tokens=sum(len(pair.model) for pair in kept) / count,
        model_copies=copies(slice(count)),
        held_out_copies=copies(slice(count, None)),
        tokens=compare_rows(rows[:count], rows[count:], OF_ROWS),
        characters=compare_rows(*_equally_long(texts[:count], texts[count:]), OF_TEXTS),
        example=texts[0],
    )


def compare_rows(
    model: Sequence[Sequence[object]],
    held_out: Sequence[Sequence[object]],
    measures: Mapping[str, Callable[..., float]],
) -> dict[str, Compared]:
    """Every measure by name, over rows that belong together one by one."""
    found = {}
    for name, measure in measures.items():
        one, other = [measure(row) for row in model], [measure(row) for row in held_out]
        differences = [first - second for first, second in zip(one, other, strict=True)]
        found[name] = Compared(mean_of(one), mean_of(other), mean_of(differences))
    return found


OF_ROWS: Mapping[str, Callable[..., float]] = {
    "distinct_1": lambda row: distinct_share(row, 1),
    "distinct_2": lambda row: distinct_share(row, 2),
    "distinct_3": lambda row: distinct_share(row, 3),
    "repeated_4": lambda row: 1.0 - distinct_share(row, 4),
    "entropy_bits": entropy_bits,
    "loops": lambda row: float(ends_in_loop(row)),
}
"""What is told of a row of tokens or characters."""
OF_TEXTS = {**OF_ROWS, "compression_ratio": compression_ratio}
"""What is told of a text."""


def _equally_long(
    texts: Sequence[str], others: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Both, each pair cut to the characters of its shorter text."""
    lengths = [min(len(one), len(other)) for one, other in zip(texts, others, strict=True)]
    return (
        [text[:length] for text, length in zip(texts, lengths, strict=True)],
        [text[:length] for text, length in zip(others, lengths, strict=True)],
    )
