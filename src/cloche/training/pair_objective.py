"""What a training on pairs minimises: the cross-entropy of each target token, given its source."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from cloche.data.batches import IGNORED, Batch
from cloche.data.pair_batches import PairBatch
from cloche.training.objectives import Losses, Term


@dataclass(frozen=True)
class TargetTokens:
    """Cross-entropy of each token of the targets, the one that ends them among them, in nats.

    Label smoothing as in `NextToken`; Vaswani et al. 2017, section 5.4, use 0.1.
    """

    label_smoothing: float = 0.0

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of targets that bear a loss."""
        return {"loss": int((batch.targets != IGNORED).sum())}

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed cross-entropy of the batch."""
        total = summed_loss(model, batch, label_smoothing=self.label_smoothing)
        return Losses({"loss": Term(total, self.counts(batch)["loss"])})


def summed_loss(model: nn.Module, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of a batch of pairs, summed over the target tokens."""
    assert isinstance(batch, PairBatch), "a model with an encoder learns from pairs"
    logits = model(batch.inputs, sources=batch.sources, source_lengths=batch.source_lengths)
    return F.cross_entropy(
        logits.flatten(0, 1).float(),  # float32: a bfloat16 softmax loses the small ones
        batch.targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
