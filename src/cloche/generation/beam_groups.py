"""Beams that compete with one another: which go on, which have ended, and when to stop looking."""

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.generation.continuation import Continuation, Ending

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True)
class Ranking:
    """How continuations of different lengths are compared, and when a better one is given up."""

    length_penalty: float
    """Exponent of the length by which the total is divided."""
    early_stopping: EarlyStopping
    """True: when enough have ended. False: when the best beam, were it to end now, would come after
    all that have ended. "never": when no beam can come before any of them."""

    def score(self, total: float, length: int) -> float:
        """What a continuation of so many tokens is compared by."""
        return total / length**self.length_penalty

    def best_hope(self, total: float, length: int, *, most: int) -> float:
        """The score that a beam is thought to reach, which has this total after `length` tokens."""
        grows = self.early_stopping == "never" and self.length_penalty > 0.0
        return self.score(total, most if grows else length)


@dataclass(frozen=True)
class Beam:
    """The beginning of a continuation."""

    ids: tuple[int, ...] = ()
    total: float = 0.0
    """What beams are compared by: the log probability after all penalties."""
    log_probability: float = 0.0
    """Of its tokens under the model itself."""


class BeamGroup:
    """Beams for one prompt, the best `size` of which go on at each step."""

    def __init__(self, size: int, *, ranking: Ranking, ending: Ending) -> None:
        self.size = size
        self.live: list[Beam] = [Beam()]
        """Those that go on, the best first; none once the search is over."""
        self.ended: list[Continuation] = []
        """The best that have ended, at most `size`, the best first."""
        self.taken: list[int] = []
        """Tokens of the newest step, of the beams that go on or would but for their length."""
        self._ranking, self._ending = ranking, ending
        self._length = 0

    def advance(
        self,
        scores: Float[Tensor, "live vocab"],
        log_probabilities: Float[Tensor, "live vocab"],
    ) -> list[int]:
        """For each beam that is live now, the number of the one it was before this token.

        `scores` are the log probabilities of the next token after all penalties, -inf for what is
        forbidden; `log_probabilities` those of the model.
        """
        self._length += 1
        origins: list[int] = []
        live: list[Beam] = []
        self.taken = []
        for rank, (origin, beam) in enumerate(self._likeliest(scores, log_probabilities)):
            reason = self._ending.reason(beam.ids)
            if reason != "stop" and len(self.taken) < self.size:
                self.taken.append(beam.ids[-1])
            if reason is None and len(live) < self.size:
                live.append(beam)
                origins.append(origin)
            # to count, an ending must be among the likeliest, as what goes on must
            elif reason is not None and rank < self.size:
                score = self._ranking.score(beam.total, self._length)
                self._end(Continuation(beam.ids, beam.log_probability, score, reason))
        self.live = live
        if self._is_settled():
            self.live = []
        return origins[: len(self.live)]

    def _likeliest(
        self, scores: Float[Tensor, "live vocab"], log_probabilities: Float[Tensor, "live vocab"]
    ) -> list[tuple[int, Beam]]:
        """The next beams with the number of the beam each comes from, the likeliest first.

        So many that, however many end, enough can go on: each beam ends with each stop id at most.
        """
        before = torch.tensor([beam.total for beam in self.live], device=scores.device)
        totals = (before[:, None] + scores).flatten()
        count = self.size * max(2, 1 + len(self._ending.stop_ids))
        found = totals.topk(min(count, len(totals)))
        gains = log_probabilities.flatten()[found.indices].tolist()
        next_beams = []
        for total, place, gain in zip(
            found.values.tolist(), found.indices.tolist(), gains, strict=True
        ):
            if total == -math.inf:
                break
            origin, token_id = divmod(place, scores.shape[1])
            old = self.live[origin]
            beam = Beam((*old.ids, token_id), total, old.log_probability + gain)
            next_beams.append((origin, beam))
        return next_beams

    def _end(self, ended: Continuation) -> None:
        insort(self.ended, ended, key=lambda one: -one.score)  # behind those that tie with it
        del self.ended[self.size :]

    def _is_settled(self) -> bool:
        """Whether no beam goes on, or none is expected to come before those that have ended."""
        if not self.live:
            return True
        if len(self.ended) < self.size:
            return False
        if self._ranking.early_stopping is True:
            return True
        hope = self._ranking.best_hope(self.live[0].total, self._length, most=self._ending.most)
        return hope <= self.ended[-1].score


def less_alike(
    scores: Float[Tensor, "live vocab"], taken: Sequence[int], *, penalty: float
) -> Float[Tensor, "live vocab"]:
    """Scores less `penalty` for each time that other groups have `taken` a token at this step.

    Source: the Hamming diversity of Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424
    """
    if not taken or penalty == 0.0:
        return scores
    counts = torch.bincount(
        torch.tensor(taken, device=scores.device), minlength=scores.shape[1]
    ).to(scores.dtype)
    return scores - penalty * counts
