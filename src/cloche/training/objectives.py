"""What a step minimises. An objective returns sums and counts; the loop alone divides.

Dividing once, by the count over all micro-batches and ranks, is what makes accumulation equal to
a large batch; a mean of means is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from cloche.data.batches import IGNORED, Batch


@dataclass(frozen=True)
class Term:
    """One part of the loss: `weight * sum / count`, the count taken over the whole step."""

    sum: Tensor
    """Scalar with gradient: the sum over what is counted, in nats for a likelihood."""
    count: int
    """How many tokens, pairs, ... the sum is over; known from the batch alone."""
    weight: float = 1.0


@dataclass(frozen=True)
class Losses:
    """The terms of one micro-batch, and figures that are reported but not minimised."""

    terms: Mapping[str, Term]
    metrics: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """A loss: what a training minimises."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """The count of each term for this batch, without the model; equals the terms' counts.

        The loop adds these up over the step before the first forward pass, so that each
        micro-batch's gradient is divided by the whole step's count.
        """
        ...

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The terms of the loss for this batch."""
        ...


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of each next token, in nats; term `loss`.

    With label smoothing e, a target keeps 1 - e and all K classes share e evenly.
    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567
    """

    label_smoothing: float = 0.0

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of targets that bear a loss."""
        return {"loss": int((batch.targets != IGNORED).sum())}

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed cross-entropy of the batch."""
        logits = model(batch.inputs, positions=batch.positions, documents=batch.documents)
        total = F.cross_entropy(
            logits.flatten(0, 1).float(),  # float32: a bfloat16 softmax loses the small ones
            batch.targets.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return Losses({"loss": Term(total, self.counts(batch)["loss"])})
