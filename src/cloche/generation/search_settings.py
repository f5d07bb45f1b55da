"""What every search is told alike: how long an answer may be, and which tokens are discouraged."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import SettingError, join_problems


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of any search. Checked when made; all problems are told at once."""

    max_tokens: int = 200
    """Most tokens of a continuation, the one that ends it among them."""
    min_tokens: int = 0
    """No token ends a continuation before it has this many others."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that prompt or continuation hold already are less likely.

    Source: Keskar et al. 2019, section 4.1, https://arxiv.org/abs/1909.05858
    """
    no_repeat_ngram: int | None = None
    """No run of this many tokens appears twice in prompt and continuation together."""

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise SettingError(join_problems(problems))

    def problems(self) -> list[str]:
        """What is wrong with these settings, a line each."""
        found = [
            *wrong_count("max_tokens", self.max_tokens, least=1),
            *wrong_count("min_tokens", self.min_tokens, least=0),
            *wrong_number("repetition_penalty", self.repetition_penalty, least=0.01, most=100.0),
        ]
        if self.no_repeat_ngram is not None:
            found += wrong_count("no_repeat_ngram", self.no_repeat_ngram, least=1)
        if not found and self.min_tokens > self.max_tokens:
            found.append(f"min_tokens {self.min_tokens} is more than max_tokens {self.max_tokens}")
        return found

    def discourage(
        self,
        scores: Float[Tensor, "batch vocab"],
        histories: Sequence[Sequence[int]],
        *,
        made: int,
        stop_ids: Collection[int],
    ) -> Float[Tensor, "batch vocab"]:
        """Logits or log probabilities after the repetition penalty; forbidden tokens are -inf.

        `histories` are the tokens of prompt and continuation of each row, `made` is how many of
        them are of the continuation. `scores` itself is left as it is.
        """
        if self.repetition_penalty != 1.0:
            scores = penalize_repetition(scores, histories, penalty=self.repetition_penalty)
        if self.no_repeat_ngram is not None:
            scores = forbid_ngrams(scores, histories, size=self.no_repeat_ngram)
        if made < self.min_tokens and stop_ids:
            ends = torch.tensor(sorted(stop_ids), device=scores.device)
            scores = scores.index_fill(-1, ends[ends < scores.shape[-1]], -math.inf)
        return scores


def penalize_repetition(
    scores: Float[Tensor, "batch vocab"], histories: Sequence[Sequence[int]], *, penalty: float
) -> Float[Tensor, "batch vocab"]:
    """Scores, those of a row's earlier tokens divided by `penalty`, or times it if negative."""
    penalized = scores.clone()
    for row, history in zip(penalized, histories, strict=True):
        seen = torch.tensor(sorted(set(history)), device=scores.device)
        seen = seen[seen < scores.shape[-1]]
        row[seen] = torch.where(row[seen] < 0, row[seen] * penalty, row[seen] / penalty)
    return penalized


def forbid_ngrams(
    scores: Float[Tensor, "batch vocab"], histories: Sequence[Sequence[int]], *, size: int
) -> Float[Tensor, "batch vocab"]:
    """Scores with -inf for each token that would complete `size` tokens its row holds already."""
    allowed = scores.clone()
    for row, history in zip(allowed, histories, strict=True):
        if len(history) >= size:
            # beams part and die at every step, so no row keeps a table of what it has seen
            runs = torch.tensor(history, device=scores.device).unfold(0, size, 1)
            beginning = runs[-1, 1:]
            repeats = runs[(runs[:, :-1] == beginning).all(dim=-1), -1]
            row[repeats[repeats < len(row)]] = -math.inf
    return allowed


def wrong_count(name: str, value: object, *, least: int) -> list[str]:
    """A line that says so where a value is no whole number from `least` on."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return []
    return [f"{name} must be a whole number of at least {least}, got {value!r}"]


def wrong_number(name: str, value: object, *, least: float, most: float) -> list[str]:
    """A line that says so where a value is no number from `least` to `most`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return []
    return [f"{name} must be a number from {least:g} to {most:g}, got {value!r}"]
