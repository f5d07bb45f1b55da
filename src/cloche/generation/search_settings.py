"""What every search is told alike: how long an answer may be, and which tokens are discouraged."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import SettingError, join_problems
from cloche.generation.penalties import penalise_repetition
from cloche.generation.ranges import number_problems, whole_number_problems

LOWEST_PENALTY, HIGHEST_PENALTY = 0.01, 100.0


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
            *whole_number_problems("max_tokens", self.max_tokens, lowest=1),
            *whole_number_problems("min_tokens", self.min_tokens, lowest=0),
            *whole_number_problems(
                "no_repeat_ngram", self.no_repeat_ngram, lowest=1, optional=True
            ),
            *number_problems(
                "repetition_penalty",
                self.repetition_penalty,
                lowest=LOWEST_PENALTY,
                highest=HIGHEST_PENALTY,
            ),
        ]
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
            scores = penalise_repetitions(scores, histories, penalty=self.repetition_penalty)
        if self.no_repeat_ngram is not None:
            scores = forbid_ngrams(scores, histories, size=self.no_repeat_ngram)
        if made < self.min_tokens and stop_ids:
            ends = torch.tensor(sorted(stop_ids), device=scores.device)
            scores = scores.index_fill(-1, ends[ends < scores.shape[-1]], -math.inf)
        return scores


def penalise_repetitions(
    scores: Float[Tensor, "batch vocab"], histories: Sequence[Sequence[int]], *, penalty: float
) -> Float[Tensor, "batch vocab"]:
    """Scores, those of a row's earlier tokens divided by `penalty`, or times it if negative."""
    rows = []
    for row, history in zip(scores, histories, strict=True):
        seen = torch.tensor(history, device=scores.device).unique()
        # a model may read tokens that its tokenizer does not write
        rows.append(penalise_repetition(row, seen[seen < len(row)], penalty))
    return torch.stack(rows)


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
