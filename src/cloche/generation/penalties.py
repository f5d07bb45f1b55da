"""Tokens made likelier or less likely: bias, and penalties for what already stands in the text.

Plain functions over one row of logits do the arithmetic; the rules below remember what an answer
has written, so that a step costs a few operations on tensors however long the answer is.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def add_bias(
    logits: Float[Tensor, " vocab"], ids: Int64[Tensor, " biased"], bias: Float[Tensor, " biased"]
) -> Float[Tensor, " vocab"]:
    """Logits with `bias` added to those of `ids`."""
    return logits.index_add(0, ids, bias.to(logits.dtype))


def penalise_repetition(
    logits: Float[Tensor, " vocab"], ids: Int64[Tensor, " seen"], penalty: float
) -> Float[Tensor, " vocab"]:
    """Logits with those of `ids` divided by `penalty` where positive, multiplied where negative.

    Above 1, what was seen becomes less likely; below 1, likelier.

    Source: CTRL, Keskar et al. 2019, https://arxiv.org/abs/1909.05858
    """
    seen = logits[ids]
    return logits.index_copy(0, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def penalise_presence_and_frequency(
    logits: Float[Tensor, " vocab"],
    ids: Int64[Tensor, " seen"],
    counts: Float[Tensor, " seen"],
    *,
    presence: float,
    frequency: float,
) -> Float[Tensor, " vocab"]:
    """Logits of `ids` less `presence` once, and less `frequency` for each time they were written.

    Source: https://platform.openai.com/docs/api-reference/chat/create
    """
    return logits.index_add(0, ids, (-presence - frequency * counts).to(logits.dtype))


class TokenCounts:
    """How often each token has come, as tensors: an id, and beside it its count."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._slots: dict[int, int] = {}
        counts: list[int] = []
        for token_id in ids:
            slot = self._slots.setdefault(token_id, len(counts))
            if slot == len(counts):
                counts.append(0)
            counts[slot] += 1
        self._ids = torch.tensor(list(self._slots), dtype=torch.int64)
        self._counts = torch.tensor(counts, dtype=torch.float32)

    @property
    def ids(self) -> Int64[Tensor, " seen"]:
        """Each id that has come, once."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> Float[Tensor, " seen"]:
        """How often each of `ids` has come."""
        return self._counts[: len(self._slots)]

    def add(self, token_id: int) -> None:
        """Count one more token."""
        slot = self._slots.setdefault(token_id, len(self._slots))
        if slot == len(self._ids):
            # doubled, so that a long answer copies each count a few times only
            room = torch.zeros(max(16, slot))
            self._ids = torch.cat([self._ids, room.to(torch.int64)])
            self._counts = torch.cat([self._counts, room])
        self._ids[slot] = token_id
        self._counts[slot] += 1


class Bias:
    """The rule that adds a fixed bias to some tokens."""

    def __init__(self, bias: Sequence[tuple[int, float]]) -> None:
        self._ids = torch.tensor([token_id for token_id, _ in bias], dtype=torch.int64)
        self._bias = torch.tensor([value for _, value in bias], dtype=torch.float32)

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits with the bias added."""
        return add_bias(logits, self._ids.to(logits.device), self._bias.to(logits.device))

    def accept(self, token_id: int) -> None:
        """A bias is the same at every step."""


class RepetitionPenalty:
    """The rule that penalises whatever stands in the prompt or the answer."""

    def __init__(self, penalty: float, *, prompt: Sequence[int]) -> None:
        self._penalty = penalty
        self._seen = TokenCounts(prompt)

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits with every token seen so far penalised."""
        ids = self._seen.ids
        # a model may read tokens that its tokenizer does not write
        return penalise_repetition(logits, ids[ids < len(logits)].to(logits.device), self._penalty)

    def accept(self, token_id: int) -> None:
        """Remember one more token."""
        self._seen.add(token_id)


class PresenceAndFrequencyPenalty:
    """The rule that penalises what the answer itself has written, the prompt left out."""

    def __init__(self, *, presence: float, frequency: float) -> None:
        self._presence, self._frequency = presence, frequency
        self._written = TokenCounts()

    def apply(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """Logits with what was written penalised."""
        return penalise_presence_and_frequency(
            logits,
            self._written.ids.to(logits.device),
            self._written.counts.to(logits.device),
            presence=self._presence,
            frequency=self._frequency,
        )

    def accept(self, token_id: int) -> None:
        """Count one more token."""
        self._written.add(token_id)
