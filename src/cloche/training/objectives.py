"""What a step minimises. An objective returns sums and counts; the loop alone divides.

Dividing once, by the count over all micro-batches and ranks, is what makes accumulation equal to
a large batch; a mean of means is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from cloche.data.batches import IGNORED, Batch
from cloche.evaluation.cross_entropy import PLAIN, Scoring, summed_cross_entropy
from cloche.model.record import RouterRecord
from cloche.training.options import TrainOptions


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

    `scoring` adds label smoothing, in either published form, and the z-loss.

    With a `balance` above 0, for a model with experts, the term `balance` spreads tokens evenly
    over them: see `balance_loss`. It multiplies two means over a micro-batch, as its reference
    does, so with several micro-batches a step it is the mean of theirs and not that of one large
    batch; that is true of this term alone.
    """

    scoring: Scoring = PLAIN
    balance: float = 0.0
    """Weight of the balancing term; `ModelConfig.balance`."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of targets that bear a loss."""
        targets = int((batch.targets != IGNORED).sum())
        return {"loss": targets, "balance": targets} if self.balance else {"loss": targets}

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed cross-entropy of the batch, and the balance of its experts."""
        router = RouterRecord() if self.balance else None
        watching = {} if router is None else {"record": router}
        hidden = model.hidden(  # pyright: ignore[reportCallIssue]  every model's contract
            batch.inputs, positions=batch.positions, documents=batch.documents, **watching
        )
        total = summed_cross_entropy(model, hidden, batch.targets, scoring=self.scoring)
        counts = self.counts(batch)
        terms = {"loss": Term(total, counts["loss"])}
        if router is None:
            return Losses(terms)
        assert router.router_logits, "a balance needs a model with experts"
        unevenness = balance_loss(
            router.router_logits,
            experts_used=router.experts_used,
            counted=batch.targets != IGNORED,
        )
        terms["balance"] = Term(unevenness * counts["balance"], counts["balance"], self.balance)
        return Losses(terms, {"train/balance": float(unevenness.detach())})


def scoring_of(options: TrainOptions) -> Scoring:
    """How tokens are scored, as the options of a training say it."""
    return Scoring(options.label_smoothing, options.label_smoothing_over, options.z_loss)


def balance_loss(
    router_logits: Sequence[Tensor],
    *,
    experts_used: int,
    counted: Bool[Tensor, "batch time"] | None = None,
) -> Tensor:
    """How unevenly tokens go to experts, from all layers' router logits (batch, time, experts).

    The number of experts times the sum, over experts, of the share of tokens an expert gets times
    the mean probability it is given: `experts_used` when all are even, more when not. Only the
    probabilities have a gradient. `counted` leaves tokens out where it is False, such as padding.

    Source: Fedus et al. 2021, equations 4 to 6, https://arxiv.org/abs/2101.03961
    """
    rows = torch.cat([layer.flatten(0, -2) for layer in router_logits]).float()
    if counted is not None:
        rows = rows[counted.flatten().repeat(len(router_logits))]
    tokens, experts = rows.shape
    probabilities = rows.softmax(dim=-1)
    chosen = probabilities.topk(experts_used, dim=-1).indices
    shares = chosen.flatten().bincount(minlength=experts) / max(tokens, 1)
    return experts * (shares * probabilities.sum(dim=0) / max(tokens, 1)).sum()
