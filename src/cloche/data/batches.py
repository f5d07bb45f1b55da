"""What a training step eats: batches, in an order that is a pure function of seed and index."""

from dataclasses import dataclass
from torch import Tensor

IGNORED = -100  # target where no loss falls; PyTorch's own default for cross-entropy


@dataclass(frozen=True)
class Batch:
    """Sequences to learn from; tasks that need more derive their own class."""

    inputs: Tensor
    """(batch, time) int64 ids."""
    targets: Tensor
    """(batch, time) int64 ids of the next tokens, IGNORED where no loss falls."""
    positions: Tensor | None = None
    """(batch, time) int64 position of each token in its document; 0, 1, 2, ... when None."""
    documents: Tensor | None = None
    """(batch, time) int64 document of each token in packed rows; one document a row when None."""
