"""Batches of pairs and of votes: what one is to be compared with always lies in the same batch.

Examples are packed into rows as anywhere; a token sees its own answer's conversation only, so how
they lie changes no number. The reference's log probabilities come with the examples: they were
computed once, before the training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cloche.data.batches import IGNORED
from cloche.data.examples import Example, ExampleBatch, lay_out
from cloche.data.order import mix, shuffled

_PARTNERS = 11  # keeps the draw of partners apart from other draws of one seed


@dataclass(frozen=True, eq=False)
class EncodedPair:
    """Two answers to one prompt, as tokens."""

    chosen: Example
    rejected: Example
    place: str = ""
    """Of the record: file and number."""

    @property
    def examples(self) -> tuple[Example, Example]:
        """Both answers, the chosen one first."""
        return self.chosen, self.rejected


@dataclass(frozen=True, eq=False)
class EncodedVote:
    """An answer that was found good or bad, and the same prompt with an answer to another one."""

    answer: Example
    mismatched: Example
    good: bool
    place: str = ""

    @property
    def examples(self) -> tuple[Example, Example]:
        """The answer, and the one that was given to another prompt."""
        return self.answer, self.mismatched


@dataclass(frozen=True, kw_only=True)
class PreferenceBatch(ExampleBatch):
    """`count` / 2 pairs: examples 0 .. n - 1 are the chosen ones, n .. 2n - 1 those rejected."""

    reference: Tensor
    """(pairs, 2) float32: log probabilities of both answers before the training, in nats."""


@dataclass(frozen=True, kw_only=True)
class VoteBatch(ExampleBatch):
    """`count` answers with a vote each; and, in rows of their own, as many mismatched ones."""

    good: Tensor
    """(votes,) bool."""
    reference: Tensor
    """(votes, 2) float32: log probabilities of answer and mismatched answer before the training."""
    mismatched_inputs: Tensor
    mismatched_targets: Tensor
    mismatched_positions: Tensor
    mismatched_documents: Tensor

    @property
    def mismatched(self) -> ExampleBatch:
        """The mismatched answers as a batch."""
        return ExampleBatch(
            self.mismatched_inputs,
            self.mismatched_targets,
            self.mismatched_positions,
            self.mismatched_documents,
            count=self.count,
        )


def lay_out_pairs(
    pairs: Sequence[EncodedPair], reference: Float[Tensor, "pairs 2"], *, row_tokens: int
) -> PreferenceBatch:
    """The pairs as one batch. `row_tokens` as in `lay_out`."""
    examples = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    return PreferenceBatch(**_values(lay_out(examples, row_tokens=row_tokens)), reference=reference)


def lay_out_votes(
    votes: Sequence[EncodedVote], reference: Float[Tensor, "votes 2"], *, row_tokens: int
) -> VoteBatch:
    """The votes as one batch. `row_tokens` as in `lay_out`."""
    others = _values(lay_out([vote.mismatched for vote in votes], row_tokens=row_tokens))
    del others["count"]
    return VoteBatch(
        **_values(lay_out([vote.answer for vote in votes], row_tokens=row_tokens)),
        good=torch.tensor([vote.good for vote in votes]),
        reference=reference,
        **{f"mismatched_{name}": value for name, value in others.items()},
    )


def answer_lengths(batch: ExampleBatch) -> Tensor:
    """(examples,) int64: how many learned tokens each has."""
    assert batch.documents is not None, "examples are numbered"
    owners = batch.documents[batch.targets != IGNORED]
    return torch.bincount(owners, minlength=batch.count)


def mismatched_with(prompts: Sequence[object], *, seed: int) -> list[int]:
    """For each prompt the number of another one, whose answer does not belong to it.

    A pure function of the seed: all numbers are shuffled into a circle, and each takes the next
    one on it that has another prompt; itself where all prompts are the same.
    """
    count = len(prompts)
    circle = shuffled(np.arange(count), size=count, key=mix(seed, _PARTNERS)).tolist()
    found = list(range(count))
    following: int | None = None  # the nearest number ahead on the circle with another prompt
    for place in range(2 * count - 1, -1, -1):
        number, ahead = circle[place % count], circle[(place + 1) % count]
        if prompts[ahead] != prompts[number]:
            following = ahead
        if following is not None:
            found[number] = following
    return found


def _values(batch: ExampleBatch) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}
