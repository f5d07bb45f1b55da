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
from cloche.training.optimizer import Gradients
from cloche.training.statistics import tensor_norms

SMALLEST_NORM = 1e-6
"""Added where a norm is divided by, as torch.nn.utils.clip_grad_norm_ does."""


class ComputeModel:
    """The model that forward and backward passes run on, tied to its float32 masters.

    Where many processes share a training, `ReplicatedModel` and `ShardedModel` stand for it.
    """

    def __init__(self, masters: Network, *, dtype: torch.dtype) -> None:
        self.masters = masters
        self.separate = dtype != torch.float32
        self.model = copy.deepcopy(masters).to(dtype) if self.separate else masters
        self.pairs = list(zip(masters.parameters(), self.model.parameters(), strict=True))
        self._copy_of = {id(master): low for master, low in self.pairs}
        self._added = False
        """Whether gradients of this step lie on the masters already, to be added to."""
        self._factor = 1.0

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
    def collect_gradients(self, *, last: bool) -> None:
        """Add the copy's gradients to the masters', in float32, and clear them.

        Those of a step's only part stay where they are: half the room, and `gradients` finds them.
        """
        if not self.separate or (last and not self._added):
            return
        self._added = True
        for master, low in self.pairs:
            if low.grad is None:
                continue
            if master.grad is None:
                master.grad = low.grad.float()
            else:
                master.grad.add_(low.grad)
            low.grad = None

    @property
    def gradients(self) -> Gradients:
        """The gradients of the masters, scaled and clipped as they were asked to be."""
        return Gradients(self._gradient_of, self._factor)

    def named_gradients(self) -> list[tuple[str, Tensor]]:
        """The gradient of each master that has one, by its name; without the factor of
        `gradients`."""
        return [
            (name, gradient)
            for name, master in self.masters.named_parameters()
            if (gradient := self._gradient_of(master)) is not None
        ]

    def clip_gradients(self, largest: float) -> float:
        """The norm of all gradients together, which are scaled down to `largest` where longer.

        0 leaves them as they are, and so does a norm that is no number: where it came from can
        still be seen.
        """
        total = self._factor * self._gradient_norm()
        if largest and math.isfinite(total):
            self._factor *= min(1.0, largest / (total + SMALLEST_NORM))
        return total

    def scale_gradients(self, factor: float) -> None:
        """Multiply all of the masters' gradients."""
        self._factor *= factor

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite the masters."""
        self.masters.load_state_dict(state)

    def gathered(self) -> Network | None:
        """The whole masters, where this process is one to write or save them; else None."""
        return self.masters

    def clear_gradients(self) -> None:
        """Forget all gradients, before a new step."""
        self._added, self._factor = False, 1.0
        for master, low in self.pairs:
            master.grad = low.grad = None

    def _gradient_norm(self) -> float:
        gradients = [gradient for _, gradient in self.named_gradients()]
        return float(tensor_norms(gradients).norm())

    def _gradient_of(self, master: nn.Parameter) -> Tensor | None:
        return self._copy_of[id(master)].grad if master.grad is None else master.grad
