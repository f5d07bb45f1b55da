"""Memorisation: how much of the text it learned from a model recites, and how well it knows it.

Every number is measured in the same way on held-out text, which the model has never seen: what it
gets right there is knowledge of the language and of text that comes again, not memory.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from cloche.data.batches import Tokens
from cloche.evaluation.copying import BREAK, copied_lengths, covered_share
from cloche.evaluation.excerpts import Excerpts
from cloche.evaluation.likelihood import nats_of_windows
from cloche.evaluation.repetition import code_points
from cloche.evaluation.trials import TrialEstimate, mean_of, separation_of, share_of
from cloche.evaluation.writers import continue_prompts
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer
from cloche.text.tokenizer import Tokenizer

_BLOCK = 1 << 16  # tokens of the text that are looked through at once


@dataclass(frozen=True)
class Recitation:
    """How far the likeliest continuations of a text's own beginnings are the text itself."""

    exact: TrialEstimate
    """Share of the prompts that were continued exactly as far as was asked for."""
    matching_tokens: TrialEstimate
    """How many tokens of a continuation are the text's own before the first that is not."""
    shares_by_length: dict[int, float]
    """Share of the prompts continued exactly for at least so many tokens."""


@dataclass(frozen=True)
class Membership:
    """How well excerpts the model learned from are told from held-out ones by their likelihood."""

    training_nats_per_token: TrialEstimate
    held_out_nats_per_token: TrialEstimate
    separation: TrialEstimate
    """Chance that of one excerpt of each kind the one learned from is the likelier: the area under
    the ROC curve of the simplest membership inference, 0.5 where nothing can be told."""
    exposure_bits: TrialEstimate
    """Mean of log2(held-out excerpts + 1) - log2(rank of a training excerpt among them)."""
    exposure_by_chance: float
    """What the exposure of text that the model has never seen would be, on average."""


@dataclass(frozen=True)
class CopiedSpans:
    """How much of some texts stands in the text that the model learned from."""

    longest: int
    """The longest span of all, in tokens or characters."""
    longest_text: str
    mean_longest: TrialEstimate
    """Over the texts, each one's longest span."""
    covered: TrialEstimate
    """Share of a text that lies in copied spans of at least `least`."""
    least: int


def recite(lm: LM, excerpts: Excerpts) -> Recitation:
    """What the model makes of the excerpts' prefixes, always taking the likeliest token.

    Source: Carlini et al. 2022, https://arxiv.org/abs/2202.07646
    """
    asked = excerpts.continuation
    written = continue_prompts(lm, excerpts.prompts(), tokens=asked)
    right = excerpts.continuations(asked)
    matching = [
        _agreeing(answer.token_ids, truth) for answer, truth in zip(written, right, strict=True)
    ]
    return recitation(matching, asked)


def recitation(matching: Sequence[int], asked: int) -> Recitation:
    """The same from how many tokens of each continuation were right, of so many asked for."""
    lengths = sorted({1 << power for power in range(asked.bit_length())} | {asked})
    return Recitation(
        exact=share_of(sum(length >= asked for length in matching), len(matching)),
        matching_tokens=mean_of(list(matching)),
        shares_by_length={
            least: sum(length >= least for length in matching) / len(matching) for least in lengths
        },
    )


def measure_membership(lm: LM, *, training: Excerpts, held_out: Excerpts) -> Membership:
    """How the excerpts of both kinds differ in what they cost the model.

    Sources: a threshold on the loss, Yeom et al. 2018, https://arxiv.org/abs/1709.01604; exposure
    by rank, Carlini et al. 2019, https://arxiv.org/abs/1802.08232, here of excerpts of the text
    itself among held-out ones, in place of canaries among random ones.
    """
    return membership(_nats_per_token(lm, training), _nats_per_token(lm, held_out))


def membership(training: Sequence[float], held_out: Sequence[float]) -> Membership:
    """The same from the nats a token of each excerpt."""
    ranked = np.sort(np.asarray(held_out))
    ranks = 1 + np.searchsorted(ranked, np.asarray(training), side="left")
    most = math.log2(len(ranked) + 1)
    by_chance = most - math.lgamma(len(ranked) + 2) / math.log(2) / (len(ranked) + 1)
    return Membership(
        training_nats_per_token=mean_of(training),
        held_out_nats_per_token=mean_of(held_out),
        separation=separation_of(training, held_out),
        exposure_bits=mean_of([most - math.log2(rank) for rank in ranks.tolist()]),
        exposure_by_chance=by_chance,
    )


def copied_tokens(
    rows: Sequence[Sequence[int]], text: Tokens, *, tokenizer: Tokenizer
) -> list[list[int]]:
    """Of each row of token ids, for each place: tokens of the longest span there from the text.

    No span reaches over a special token, such as the end of a document.
    """
    special = _special_ids(tokenizer)
    return copied_lengths(rows, lambda: _token_pieces(text, special))


def copied_characters(
    rows: Sequence[str], text: Tokens, *, tokenizer: Tokenizer
) -> list[list[int]]:
    """The same in characters, whatever tokens they are in: also part of a word or token."""
    points = [code_points(row).tolist() for row in rows]
    return copied_lengths(points, lambda: _character_pieces(text, tokenizer))


def summarise_copies(
    lengths: Sequence[Sequence[int]], *, least: int, show: Callable[[int, int, int], str]
) -> CopiedSpans:
    """All that is told of what `copied_lengths` found.

    `show` gives the text of row number i from one place to another.
    """
    longest = [max(row, default=0) for row in lengths]
    row = int(np.argmax(longest))
    end = 1 + int(np.argmax(lengths[row])) if longest[row] else 0
    return CopiedSpans(
        longest=longest[row],
        longest_text=show(row, end - longest[row], end),
        mean_longest=mean_of(longest),
        covered=mean_of([covered_share(row, least=least) for row in lengths]),
        least=least,
    )


def _agreeing(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _nats_per_token(lm: LM, excerpts: Excerpts) -> list[float]:
    """What each excerpt costs the model, its first token given."""
    targets = excerpts.prefix + excerpts.continuation - 1
    found = []
    for start in excerpts.starts:
        nats, count = nats_of_windows(
            lm.model, excerpts.tokens, starts=np.array([start]), context=targets, rows=1
        )
        found.append(nats / count)
    return found


def _special_ids(tokenizer: Tokenizer) -> np.ndarray:
    """The special tokens, but not the one for what is unknown: it stands for text."""
    unknown = tokenizer.special_ids.unk
    return np.array([n for n in tokenizer.special_tokens.values() if n != unknown], np.int64)


def _token_pieces(text: Tokens, special: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(text.tokens), _BLOCK):
        ids = np.asarray(text.tokens[start : start + _BLOCK]).astype(np.int64)
        ids[np.isin(ids, special)] = BREAK
        yield ids


def _character_pieces(text: Tokens, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """The text's characters; a new streaming decoder behind each special token."""
    stream = tokenizer.stream()
    whole = isinstance(tokenizer, CharacterTokenizer)  # no token waits for the next: all at once
    for ids in _token_pieces(text, _special_ids(tokenizer)):
        shown: list[np.ndarray] = []
        for run in np.split(ids, np.flatnonzero(ids == BREAK)):
            given = run.tolist()
            if given and given[0] == BREAK:
                shown += [code_points(stream.close()), np.array([BREAK])]
                stream, given = tokenizer.stream(), given[1:]
            characters = tokenizer.decode(given) if whole else "".join(map(stream.push, given))
            shown.append(code_points(characters))
        yield np.concatenate(shown)
    yield code_points(stream.close())
