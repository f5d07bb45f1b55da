"""What a reward model learns from: which of several answers to one prompt is the better one.

The probability that an answer is preferred is the logistic function of the difference of two
scores. Source: Bradley and Terry 1952, https://doi.org/10.2307/2334029
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cloche.data.batches import Batch
from cloche.data.examples import ROW_TOKENS, Example, ExampleBatch, lay_out
from cloche.errors import DataError
from cloche.training.objectives import Losses, Term
from cloche.tuning.classify_scoring import scores_of, tokens_in


@dataclass(frozen=True, eq=False)
class RankedGroup:
    """Answers to one prompt, and which of them were preferred to which."""

    examples: tuple[Example, ...]
    """Prompt and answer, each."""
    pairs: tuple[tuple[int, int], ...]
    """(better, worse) numbers of examples."""
    place: str = ""
    """Of the record: file and number."""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise DataError(f"{self.place}: no answer is preferred to another")


@dataclass(frozen=True, kw_only=True)
class RankedBatch(ExampleBatch):
    """Examples of several groups, and the pairs of them that are compared."""

    better: Tensor
    """(pairs,) int64 number of the preferred example."""
    worse: Tensor
    """(pairs,) int64."""
    weights: Tensor
    """(pairs,) float32: 1 / the number of pairs of the group."""
    groups: int
    """How many there are; the weights add up to it."""


def lay_out_groups(groups: Sequence[RankedGroup], *, row_tokens: int = ROW_TOKENS) -> RankedBatch:
    """The groups as one batch. `row_tokens` as in `lay_out`."""
    laid = lay_out(
        [example for group in groups for example in group.examples], row_tokens=row_tokens
    )
    better, worse, weights, begin = [], [], [], 0
    for group in groups:
        better += [begin + first for first, _ in group.pairs]
        worse += [begin + second for _, second in group.pairs]
        weights += [1.0 / len(group.pairs)] * len(group.pairs)
        begin += len(group.examples)
    return RankedBatch(
        **{field.name: getattr(laid, field.name) for field in fields(laid)},
        better=torch.tensor(better),
        worse=torch.tensor(worse),
        weights=torch.tensor(weights, dtype=torch.float32),
        groups=len(groups),
    )


def preference_losses(
    scores: Float[Tensor, " examples"],
    better: Int[Tensor, " pairs"],
    worse: Int[Tensor, " pairs"],
) -> Float[Tensor, " pairs"]:
    """-log of the probability that the preferred answer of each pair is preferred, in nats."""
    return -F.logsigmoid(scores[better] - scores[worse])


@dataclass(frozen=True)
class RankedAnswers:
    """The Bradley-Terry loss over groups: term `loss`; and what keeps scores near zero.

    All pairs of a group lie in one batch and weigh 1 / their number, so that a ranking of four
    answers, with its six pairs, counts as much as a single pair. Source: InstructGPT, section 3.4,
    https://arxiv.org/abs/2203.02155

    Differences say nothing of where zero lies. With a `center` above 0 the squared sum of both
    scores of each pair, times `center`, is minimised as well: term `center`. Source: Eisenstein et
    al. 2023, https://arxiv.org/abs/2312.09244
    """

    center: float = 0.0

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of groups; and of tokens, which the speed is told by."""
        assert isinstance(batch, RankedBatch), "answers come in groups"
        counts = {"loss": batch.groups, "tokens": tokens_in(batch)}
        return {**counts, "center": batch.groups} if self.center else counts

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed loss of the groups; accuracy and mean margin of their pairs as metrics."""
        assert isinstance(batch, RankedBatch), "answers come in groups"
        scores = scores_of(model, batch)[:, 0]
        counts = self.counts(batch)
        losses = preference_losses(scores, batch.better, batch.worse)
        terms = {
            "loss": Term((losses * batch.weights).sum(), counts["loss"]),
            "tokens": Term(scores.new_zeros(()), counts["tokens"], weight=0.0),
        }
        better, worse = scores[batch.better], scores[batch.worse]
        if self.center:
            squares = ((better + worse).square() * batch.weights).sum()
            terms["center"] = Term(squares, counts["center"], weight=self.center)
        margins = (better - worse).detach()
        metrics = {
            "train/pair_accuracy": float((margins > 0).float().mean()),
            "train/margin": float(margins.mean()),
        }
        return Losses(terms, metrics)
