"""AdamW, by PyTorch's fused kernel: one pass over the numbers.

Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from cloche.training.optimizer import Optimizer


class AdamW(Optimizer):
    """Each number moves by its gradient's mean over the root of its mean square.

    Groups have `params`, `lr` and `weight_decay`, which is decoupled from the gradient.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], *, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups)
        self.betas = betas
        self.eps = eps

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            states = [self._state(parameter) for parameter in moved]
            adamw(
                moved,
                [parameter.grad for parameter in moved],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=self.eps,
                maximize=False,
            )

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
