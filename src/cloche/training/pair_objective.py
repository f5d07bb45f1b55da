"""What a training on pairs minimises: the cross-entropy of each target token, given its source."""

from dataclasses import dataclass

from torch import Tensor, nn

from cloche.data.batches import IGNORED, Batch
from cloche.data.pair_batches import PairBatch
from cloche.evaluation.cross_entropy import PLAIN, Scoring, summed_cross_entropy
from cloche.model.seq2seq import EncoderDecoder
from cloche.training.objectives import Losses, Term


@dataclass(frozen=True)
class TargetTokens:
    """Cross-entropy of each token of the targets, the one that ends them among them, in nats.

    Label smoothing as in `NextToken`; Vaswani et al. 2017, section 5.4, use 0.1.
    """

    scoring: Scoring = PLAIN

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of targets that bear a loss."""
        return {"loss": int((batch.targets != IGNORED).sum())}

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed cross-entropy of the batch."""
        total = summed_loss(model, batch, scoring=self.scoring)
        return Losses({"loss": Term(total, self.counts(batch)["loss"])})


def summed_loss(model: nn.Module, batch: Batch, *, scoring: Scoring = PLAIN) -> Tensor:
    """The cross-entropy of a batch of pairs, summed over the target tokens."""
    assert isinstance(batch, PairBatch), "a model with an encoder learns from pairs"
    assert isinstance(model, EncoderDecoder), "and such a model has one"
    memory = model.encode(batch.sources, lengths=batch.source_lengths)
    hidden = model.hidden(batch.inputs, memory=memory)
    return summed_cross_entropy(model, hidden, batch.targets, scoring=scoring)
