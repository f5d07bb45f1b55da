"""What a model learned by heart: its surprise on text it learned from, against text it never saw.

What it gets right on held-out text is knowledge of the language and of text that comes again. So
every number of the training text stands beside the same one of the held-out text.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import ClassVar

from cloche.data.batches import Tokens
from cloche.errors import DataError, RequestError, SettingError
from cloche.evaluation.excerpts import FEWEST, choose_excerpts, count_excerpts
from cloche.evaluation.likelihood import perplexity_of
from cloche.evaluation.trials import separation_of
from cloche.evaluation.writing import open_own_text
from cloche.lens.tokens import SeenToken, mean_surprisal, read_tokens
from cloche.lens.view import View, provenance_of
from cloche.run import LM
from cloche.text.tokenizer import Tokenizer

LEAST_RECITED = 8
"""Tokens in a row that are told as recited; fewer are often a common phrase."""
EXCERPTS, EXCERPT_TOKENS = 4, (256, 128, 64, 32, 16)
"""Of each part of a run: how many, and how long, as the documents and the context allow."""


@dataclass(frozen=True)
class RecitedSpan:
    """Tokens in a row each of which was the likeliest after the text before it.

    Given that text, the model writes them at temperature 0 word for word.
    """

    passage: int
    """Which of the texts it stands in, from 0."""
    start: int
    """The place of its first token in the passage."""
    tokens: int
    text: str
    """As it stands in the passage: whole characters that the tokens have a part of."""


@dataclass(frozen=True)
class Passage:
    """A text, token by token."""

    text: str
    tokens: tuple[SeenToken, ...]


@dataclass(frozen=True)
class Remembered:
    """What the model makes of texts of one kind."""

    passages: tuple[Passage, ...]
    scored: int
    """Tokens that were predicted."""
    unknown: int
    """Tokens that stand for what the vocabulary lacks."""
    mean_surprisal: float
    """Nats a token."""
    perplexity: float
    likeliest: float
    """Share of the tokens that were the likeliest in their place."""
    recited: tuple[RecitedSpan, ...]
    """Spans of at least `least_recited` tokens, the longest first."""
    recited_share: float
    """Share of the tokens that lie in them."""


@dataclass(frozen=True, eq=False)
class MemoryView(View):
    """A training text and a held-out text, as the model knows them."""

    name: ClassVar[str] = "memory"
    training: Remembered
    held_out: Remembered
    separation: float
    """Chance that a token of the training text surprises less than one held out: 0.5 where the
    model knows both alike. Not a number where a surprisal is none."""
    least_recited: int


def see_memory(
    lm: LM,
    *,
    training: str | Sequence[str],
    held_out: str | Sequence[str],
    least_recited: int = LEAST_RECITED,
) -> MemoryView:
    """How the model knows texts it learned from, and texts it did not; several of each are read
    one by one.

    What the vocabulary lacks is read as the unknown token, as in training, and counted;
    TokenizerError where there is none. RequestError where there is nothing to score.
    """
    if least_recited < 1:
        raise SettingError(f"least_recited must be at least 1, got {least_recited}")
    known = _remembered(lm, training, what="training", least=least_recited)
    unseen = _remembered(lm, held_out, what="held-out", least=least_recited)
    sides = [[token.surprisal for token in _scored(side.passages)] for side in (known, unseen)]
    costs = [[nats for nats in side if nats is not None] for side in sides]
    return MemoryView(
        provenance_of(lm),
        known,
        unseen,
        separation=_separation(*costs),
        least_recited=least_recited,
    )


def texts_of_run(run: Path, lm: LM, *, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Excerpts of what the run learned from and of its validation part, as many and as long.

    Excerpts lie inside of one document; the same seed chooses the same ones. Those that hold a
    token for the unknown are left out, as nobody knows what stood there. DataError where the run
    keeps no text, or too little.
    """
    try:
        prepared = open_own_text(lm, run)
    except DataError as exc:
        raise DataError(f"{exc}; or give two texts, one it learned from and one held out") from exc
    parts = {"training": prepared.train, "validation": prepared.validation}
    size = _excerpt_tokens(parts, run, context=lm.config.context)
    return (
        tuple(_excerpts(prepared.train, lm.tokenizer, size=size, seed=seed, part="training")),
        tuple(
            _excerpts(prepared.validation, lm.tokenizer, size=size, seed=seed, part="validation")
        ),
    )


def _excerpt_tokens(parts: Mapping[str, Tokens], run: Path, *, context: int) -> int:
    """The longest excerpts of which both parts have enough, else the shortest."""
    sizes = [size for size in EXCERPT_TOKENS if size <= context] or [context]
    for size in sizes:
        if all(count_excerpts(part, size=size) >= EXCERPTS for part in parts.values()):
            return size
    for name, part in parts.items():
        if count_excerpts(part, size=sizes[-1]) < FEWEST:
            raise DataError(
                f"the {name} part of {run} has not {FEWEST} excerpts of {sizes[-1]} tokens in its "
                "documents: give two texts, one that the model learned from and one held out"
            )
    return sizes[-1]


def _excerpts(
    tokens: Tokens, tokenizer: Tokenizer, *, size: int, seed: int, part: str
) -> tuple[str, ...]:
    chosen = choose_excerpts(
        tokens, prefix=1, continuation=size - 1, count=8 * EXCERPTS, seed=seed, part=part
    )
    unknown = tokenizer.special_ids.unk
    readable = (
        (*begin, *rest)
        for begin, rest in zip(chosen.prompts(), chosen.continuations(size - 1), strict=True)
        if unknown is None or unknown not in (*begin, *rest)
    )
    found = tuple(tokenizer.decode(ids) for ids in islice(readable, EXCERPTS))
    if not found:
        raise DataError(
            f"every excerpt of the {part} part holds what the vocabulary lacks: give two texts, "
            "one that the model learned from and one held out"
        )
    return found


def _remembered(lm: LM, given: str | Sequence[str], *, what: str, least: int) -> Remembered:
    texts = (given,) if isinstance(given, str) else given
    passages, unknown, unk = [], 0, lm.tokenizer.special_ids.unk
    for text in texts:
        ids = lm.tokenizer.encode_training(text)
        unknown += 0 if unk is None else ids.count(unk)
        if ids:
            passages.append(Passage(text, read_tokens(lm, text, ids=ids)))
    tokens = list(_scored(passages))
    mean = mean_surprisal(tokens)
    if mean is None:
        raise RequestError(
            f"there is nothing to score in the {what} text: give one of two tokens or more"
        )
    spans = [
        span
        for number, passage in enumerate(passages)
        for span in _recited(passage, number, least=least)
    ]
    return Remembered(
        tuple(passages),
        scored=len(tokens),
        unknown=unknown,
        mean_surprisal=mean,
        perplexity=mean if math.isnan(mean) else perplexity_of(mean),
        likeliest=sum(token.rank == 1 for token in tokens) / len(tokens),
        recited=tuple(sorted(spans, key=lambda span: -span.tokens)),
        recited_share=sum(span.tokens for span in spans) / len(tokens),
    )


def _scored(passages: Sequence[Passage]) -> Iterator[SeenToken]:
    """The tokens that were predicted."""
    for passage in passages:
        yield from (token for token in passage.tokens if token.surprisal is not None)


def _recited(passage: Passage, number: int, *, least: int) -> Iterator[RecitedSpan]:
    place = 0
    for right, run in groupby(passage.tokens, key=lambda token: token.rank == 1):
        tokens = list(run)
        if right and len(tokens) >= least:
            text = passage.text[tokens[0].start : tokens[-1].end]
            yield RecitedSpan(number, place, len(tokens), text)
        place += len(tokens)


def _separation(known: list[float], unseen: list[float]) -> float:
    if any(map(math.isnan, (*known, *unseen))):
        return math.nan
    return separation_of(known, unseen).value
