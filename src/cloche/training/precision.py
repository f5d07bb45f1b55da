"""float32 weights, computed with in another precision.

The optimizer's weights (the masters) are always float32, and so is everything on disk. For
bfloat16 and float16 the forward and backward pass run on a second copy of the model in that
precision, refreshed once a step; its gradients are added up in float32 on the masters.
"""

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from cloche.data.batches import Batch
from cloche.model.build import Network
from cloche.training.objectives import Losses, Objective


class ComputeModel:
    """The model that forward and backward passes run on, tied to its float32 masters.

    Where many processes share a training, `ReplicatedModel` and `ShardedModel` stand for it.
    """

    def __init__(self, masters: Network, *, dtype: torch.dtype) -> None:
        self.masters = masters
        self.separate = dtype != torch.float32
        self.model = copy.deepcopy(masters).to(dtype) if self.separate else masters
        self.pairs = list(zip(masters.parameters(), self.model.parameters(), strict=True))

    def losses(self, objective: Objective, batch: Batch, *, last: bool) -> Losses:  # noqa: ARG002
        """The forward pass of one part of a step; `last` says that no other part follows."""
        return objective(self.model, batch)

    def evaluate(self, work: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        """What `work` gives for the model, between training steps."""
        return work(self.model)

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copy up to the masters, after they changed."""
        if self.separate:
            for master, low in self.pairs:
                low.copy_(master)

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Add the copy's gradients to the masters', in float32, and clear them."""
        if not self.separate:
            return
        for master, low in self.pairs:
            if low.grad is None:
                continue
            if master.grad is None:
                master.grad = low.grad.float()
            else:
                master.grad.add_(low.grad)
            low.grad = None

    def clip_gradients(self, largest: float) -> float:
        """The norm of all gradients together, which are scaled down to `largest` where longer.

        0 leaves them as they are, and so does a norm that is no number: where it came from can
        still be seen.
        """
        masters = [master for master in self.masters.parameters() if master.grad is not None]
        gradients = [master.grad for master in masters if master.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        total = float(norm)
        if largest and math.isfinite(total):
            torch.nn.utils.clip_grads_with_norm_(masters, largest, norm, foreach=True)
        return total

    @torch.no_grad()
    def scale_gradients(self, factor: float) -> None:
        """Multiply all of the masters' gradients."""
        for master in self.masters.parameters():
            if master.grad is not None:
                master.grad.mul_(factor)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite the masters."""
        self.masters.load_state_dict(state)

    def gathered(self) -> Network | None:
        """The whole masters, where this process is one to write or save them; else None."""
        return self.masters

    def clear_gradients(self) -> None:
        """Forget the masters' gradients, before a new step."""
        for master, _ in self.pairs:
            master.grad = None
