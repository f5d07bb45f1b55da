"""How a model writes: what it recites, whether it repeats itself, whether what it says is true.

The run's own training text is held against its validation part throughout. Each number says only
something beside the same number of text that the model has not seen, or that people wrote.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloche.data.corpora import STORIES_SEED
from cloche.data.prepare import PreparedText, open_prepared
from cloche.data.stories.teller import Language
from cloche.data.training_tokens import find_training_tokens
from cloche.errors import DataError, SettingError, join_problems
from cloche.evaluation.excerpts import Excerpts, choose_excerpts, count_excerpts
from cloche.evaluation.free_writing import (
    SHORTEST,
    FreeWriting,
    measure_free_writing,
    write_freely,
)
from cloche.evaluation.memorisation import Membership, Recitation, measure_membership, recite
from cloche.evaluation.stories_truth import StoriesTruth, language_learned, measure_truth
from cloche.run import LM

EXCERPT_SIZES = (100, 64, 32, 16)
"""Tokens of an excerpt, of which half are given: the first size of which there are enough."""
MOST_PROMPTS = 100_000
SAMPLE_TOKENS = 256
TRAINING, HELD_OUT = "training", "validation"


@dataclass(frozen=True)
class WritingSettings:
    """What is measured, and how much of it. Checked when made; all problems are told at once."""

    prompts: int = 100
    """Most excerpts of each part to have continued, and told apart."""
    prefix: int | None = None
    """Tokens given of an excerpt; chosen by the lengths of the documents when None."""
    continuation: int | None = None
    """Tokens to continue it by; as above."""
    samples: int = 50
    """Most free continuations."""
    sample_tokens: int | None = None
    """Most tokens of each; up to 256 of the context when None."""
    temperature: float = 1.0
    """Of the free continuations; 1 is the model as it is."""
    seed: int = 0
    stories: Literal["auto", "none", "en", "zh"] = "auto"
    """Which stories of known truth to end; auto: those of the training text, if it is made of
    them."""
    story_count: int = 100

    def __post_init__(self) -> None:
        counts = {"prompts": self.prompts, "samples": self.samples, "stories": self.story_count}
        problems = [
            f"the number of {name} must be from 2 to {MOST_PROMPTS:,}, got {count:,}"
            for name, count in counts.items()
            if not 2 <= count <= MOST_PROMPTS
        ]
        sizes = {"prefix": self.prefix, "continuation": self.continuation}
        problems += [
            f"the {name} must have at least 1 token, got {size}"
            for name, size in sizes.items()
            if size is not None and size < 1
        ]
        if self.sample_tokens is not None and self.sample_tokens < SHORTEST:
            problems.append(
                f"a sample must have at least {SHORTEST} tokens, got {self.sample_tokens}"
            )
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            problems.append(f"temperature must be 0 or more, got {self.temperature}")
        if problems:
            raise SettingError(join_problems(problems))


@dataclass(frozen=True)
class Sizes:
    """Tokens of the excerpts and of the samples."""

    prefix: int
    continuation: int
    sample: int


@dataclass(frozen=True)
class WritingReport:
    """All that is told of how a model writes."""

    sizes: Sizes
    training_recitation: Recitation
    held_out_recitation: Recitation
    membership: Membership
    free: FreeWriting | None
    """None where the model, or the text, ends before there is anything to compare."""
    stories: StoriesTruth | None
    """None where they were not asked for; or, for auto, the model did not learn from them or none
    fits into its context, which is told."""


def judge_writing(
    lm: LM, run: Path, settings: WritingSettings, *, tell: Callable[[str], None] = lambda _: None
) -> WritingReport:
    """How the model of a run writes; the same every time for the same settings.

    `run` is the run's folder or a checkpoint in it; `tell` hears what is being done. DataError
    where the run has no text of its own or too little of it, SettingError where sizes do not fit
    the model.
    """
    prepared = open_own_text(lm, run)
    sizes = choose_sizes(prepared, settings, context=lm.config.context)
    stories = _stories(lm, prepared, settings, tell=tell)
    training, held_out = (
        choose_excerpts(
            tokens,
            prefix=sizes.prefix,
            continuation=sizes.continuation,
            count=settings.prompts,
            seed=settings.seed,
            part=part,
        )
        for part, tokens in ((TRAINING, prepared.train), (HELD_OUT, prepared.validation))
    )
    tell(f"Continuing {len(training)} + {len(held_out)} excerpts of {sizes.prefix} tokens ...")
    recitations = recite(lm, training), recite(lm, held_out)
    membership = measure_membership(lm, training=training, held_out=held_out)
    return WritingReport(
        sizes=sizes,
        training_recitation=recitations[0],
        held_out_recitation=recitations[1],
        membership=membership,
        free=_free(lm, prepared, held_out, settings, sizes=sizes, tell=tell),
        stories=stories,
    )


def open_own_text(lm: LM, run: Path) -> PreparedText:
    """The text that the run learned from, in its two parts.

    DataError where there is none, one part is empty, or another tokenizer made it.
    """
    folder = find_training_tokens(run)
    if folder is None:
        raise DataError(
            f"{run} has no text of its own, so there is nothing to compare its writing with: "
            "name a run that cloche train made, with its folder of tokens"
        )
    prepared = open_prepared(folder)
    if prepared.tokenizer.fingerprint != lm.tokenizer.fingerprint:
        raise DataError(
            f"the tokens in {folder} were made with tokenizer "
            f"{prepared.tokenizer.fingerprint[:12]}, and the model's is "
            f"{lm.tokenizer.fingerprint[:12]}"
        )
    for part, tokens in ((TRAINING, prepared.train), (HELD_OUT, prepared.validation)):
        if not len(tokens):
            raise DataError(
                f"the {part} part of {run} is empty, and what the model writes is judged by both "
                "parts: train with a --data.split that leaves text to each"
            )
    return prepared


def choose_sizes(prepared: PreparedText, settings: WritingSettings, *, context: int) -> Sizes:
    """The sizes asked for, or the largest of which both parts have enough. SettingError where
    they are more than the model's context."""
    size = _excerpt_size(prepared, settings.prompts, context=context)
    prefix = settings.prefix
    if prefix is None:
        prefix = max(1, min(size // 2, context - (settings.continuation or 1)))
    continuation = settings.continuation
    if continuation is None:
        continuation = max(1, min(size - size // 2, context - prefix))
    sample = settings.sample_tokens
    if sample is None:
        sample = max(continuation, min(SAMPLE_TOKENS, context - prefix))
    problems = [
        f"a prefix of {prefix} and {what} of {count} tokens are {prefix + count}, but the model's "
        f"context is {context}: use fewer"
        for what, count in (("a continuation", continuation), ("a sample", sample))
        if prefix + count > context
    ]
    if problems:
        raise SettingError(join_problems(problems))
    return Sizes(prefix, continuation, sample)


def _excerpt_size(prepared: PreparedText, prompts: int, *, context: int) -> int:
    sizes = [size for size in EXCERPT_SIZES if size <= context] or [max(2, context)]
    for enough in (prompts, 10, 2):
        for size in sizes:
            parts = (prepared.train, prepared.validation)
            if all(count_excerpts(part, size=size) >= enough for part in parts):
                return size
    return sizes[-1]


def _free(
    lm: LM,
    prepared: PreparedText,
    held_out: Excerpts,
    settings: WritingSettings,
    *,
    sizes: Sizes,
    tell: Callable[[str], None],
) -> FreeWriting | None:
    beginnings = held_out.first(settings.samples)
    tell(f"Writing {len(beginnings)} samples of up to {sizes.sample} tokens ...")
    pairs = write_freely(
        lm,
        beginnings,
        tokens=sizes.sample,
        temperature=settings.temperature,
        seed=settings.seed,
    )
    tell(f"Looking for them in {len(prepared.train):,} tokens of training text ...")
    return measure_free_writing(
        pairs, prepared.train, tokenizer=lm.tokenizer, least=sizes.continuation
    )


def _stories(
    lm: LM, prepared: PreparedText, settings: WritingSettings, *, tell: Callable[[str], None]
) -> StoriesTruth | None:
    language: Language | None
    match settings.stories:
        case "none":
            return None
        case "auto":
            language = language_learned(lm, prepared.train, seed=STORIES_SEED)
        case "en" | "zh":
            language = settings.stories
    if language is None:
        return None
    tell(f"Ending {settings.story_count} stories whose truth is known ...")
    try:
        return measure_truth(lm, language=language, count=settings.story_count, seed=settings.seed)
    except DataError as exc:
        if settings.stories != "auto":
            raise
        tell(f"The stories are left out: {exc}")
        return None
