"""float32 weights, computed with in another precision.

The optimizer's weights (the masters) are always float32, and so is everything on disk. For
bfloat16 the forward and backward pass run on a second, bfloat16 copy of the model, refreshed once
a step; its gradients are added up in float32 on the masters.
"""

import copy

import torch

from cloche.model.build import Network


class ComputeModel:
    """The model that forward and backward passes run on, tied to its float32 masters."""

    def __init__(self, masters: Network, *, dtype: torch.dtype) -> None:
        self.masters = masters
        self.separate = dtype != torch.float32
        self.model = copy.deepcopy(masters).to(dtype) if self.separate else masters
        self._pairs = list(zip(masters.parameters(), self.model.parameters(), strict=True))

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copy up to the masters, after they changed."""
        if self.separate:
            for master, low in self._pairs:
                low.copy_(master)

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Add the copy's gradients to the masters', in float32, and clear them."""
        if not self.separate:
            return
        for master, low in self._pairs:
            if low.grad is None:
                continue
            if master.grad is None:
                master.grad = low.grad.float()
            else:
                master.grad.add_(low.grad)
            low.grad = None

    def clear_gradients(self) -> None:
        """Forget the masters' gradients, before a new step."""
        for master, _ in self._pairs:
            master.grad = None
