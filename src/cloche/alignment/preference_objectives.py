"""What a training on preferences minimises: DPO or IPO over pairs, KTO over votes."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cloche.alignment.preference_batches import PreferenceBatch, VoteBatch, answer_lengths
from cloche.alignment.preference_logprobs import ScoredTokens, learned_tokens
from cloche.alignment.preference_losses import (
    dpo_loss,
    ipo_loss,
    kto_loss,
    mismatched_divergence,
)
from cloche.data.batches import IGNORED, Batch
from cloche.data.examples import ExampleBatch, sequence_sums
from cloche.training.objectives import Losses, Term


@dataclass(frozen=True)
class PreferredAnswers:
    """DPO or IPO: term `loss`, over pairs.

    `sft_weight` adds the surprise of the chosen answer itself, in nats a token, so many times: with
    the differences alone, both answers of a pair often become unlikely, for the good of a third
    that nobody chose (Pang et al. 2024, equation 1, https://arxiv.org/abs/2404.19733).

    The term `tokens` is nothing but their number, which the speed is told by.
    """

    loss: Literal["dpo", "ipo"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    sft_weight: float = 0.0

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of pairs, and of learned tokens."""
        return _counts(batch, share=2)

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed loss of the pairs; rewards and their differences as metrics."""
        assert isinstance(batch, PreferenceBatch), "preferences come in pairs"
        policy = answer_logprobs(model, batch).view(2, -1).T
        lengths = answer_lengths(batch).view(2, -1).T
        losses = self.of_pairs(policy, batch.reference, lengths)
        rewards = (self.beta * (policy.detach() - batch.reference)).T.cpu()
        metrics = {
            "train/reward_chosen": float(rewards[0].mean()),
            "train/reward_rejected": float(rewards[1].mean()),
            "train/reward_margin": float((rewards[0] - rewards[1]).mean()),
            "train/reward_accuracy": float((rewards[0] > rewards[1]).float().mean()),
        }
        return _losses(losses, self.counts(batch), metrics)

    def of_pairs(
        self,
        policy: Float[Tensor, "pairs 2"],
        reference: Float[Tensor, "pairs 2"],
        lengths: Int[Tensor, "pairs 2"],
    ) -> Float[Tensor, " pairs"]:
        """The loss of each pair, from the log probabilities and lengths of both its answers."""
        losses = self._of_differences(policy, reference, lengths)
        if not self.sft_weight:
            return losses
        return losses - self.sft_weight * policy[:, 0] / lengths[:, 0].clamp(min=1)

    def _of_differences(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        values = policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1]
        if self.loss == "dpo":
            return dpo_loss(*values, beta=self.beta, label_smoothing=self.label_smoothing)
        return ipo_loss(
            *values,
            beta=self.beta,
            chosen_tokens=lengths[:, 0],
            rejected_tokens=lengths[:, 1],
        )


@dataclass(frozen=True)
class VotedAnswers:
    """KTO: term `loss`, over votes.

    The divergence that votes are compared with is estimated from the part of a step they come in,
    so with several parts a step it is not that of one large batch; that is true of this loss
    alone.
    """

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of votes, and of learned tokens."""
        return _counts(batch, share=1)

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed loss of the votes; rewards and the divergence as metrics."""
        assert isinstance(batch, VoteBatch), "votes come with mismatched answers"
        with torch.no_grad():
            mismatched = answer_logprobs(model, batch.mismatched)
        divergence = mismatched_divergence(mismatched, batch.reference[:, 1])
        policy = answer_logprobs(model, batch)
        losses = self.of_votes(policy, batch.reference[:, 0], batch.good, divergence=divergence)
        rewards = self.beta * (policy.detach() - batch.reference[:, 0])
        signed = torch.where(batch.good, rewards, -rewards)
        metrics = {
            "train/reward_margin": float(signed.mean()),
            "train/divergence": float(divergence),
        }
        return _losses(losses, self.counts(batch), metrics)

    def of_votes(
        self,
        policy: Float[Tensor, " votes"],
        reference: Float[Tensor, " votes"],
        good: Bool[Tensor, " votes"],
        *,
        divergence: Float[Tensor, ""],
    ) -> Float[Tensor, " votes"]:
        """The loss of each vote, from the log probabilities of the answers."""
        return kto_loss(
            policy,
            reference,
            good,
            divergence=divergence,
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )


def answer_logprobs(model: nn.Module, batch: ExampleBatch) -> Float[Tensor, " examples"]:
    """The log probability of each example's learned tokens together, in nats, in float32."""
    return sequence_sums(score_batch(model, batch).logprobs, batch)


def score_batch(model: nn.Module, batch: ExampleBatch) -> ScoredTokens:
    """What the model thinks of each learned token of the batch."""
    hidden = model.hidden(  # pyright: ignore[reportCallIssue]  every model's contract
        batch.inputs, positions=batch.positions, documents=batch.documents
    )
    return learned_tokens(model, hidden, batch.targets)


def _counts(batch: Batch, *, share: int) -> dict[str, int]:
    assert isinstance(batch, ExampleBatch), "answers are numbered"
    tokens = int((batch.targets != IGNORED).sum())
    return {"loss": batch.count // share, "tokens": tokens}


def _losses(losses: Tensor, counts: dict[str, int], metrics: dict[str, float]) -> Losses:
    terms = {
        "loss": Term(losses.sum(), counts["loss"]),
        "tokens": Term(losses.new_zeros(()), counts["tokens"], weight=0.0),
    }
    return Losses(terms, metrics)
