"""Muon, the optimizer of the blocks' matrices.

It replaces a matrix's gradient by the nearest matrix with all singular values equal, so that every
direction learns at one speed. Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from cloche.training.optimizer import OWN_GRADIENTS, Gradients, Optimizer
from cloche.training.shards import is_sharded, like, local, whole

TOGETHER_NUMBERS = 1 << 25
"""Numbers of the matrices that are updated together: each takes some 20 bytes meanwhile."""
# Coefficients of the quintic a x + b x^3 + c x^5, applied a few times: chosen by its author for the
# steepest slope at zero, so that small singular values grow fastest.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 4
"""Of the iteration. Its author takes 5; 4 gave the same losses here in less time (docs/log.md)."""
MOMENTUM = 0.95


def orthogonalized(
    matrices: Tensor, *, dtype: torch.dtype = torch.bfloat16, steps: int = NEWTON_SCHULZ_STEPS
) -> Tensor:
    """Each matrix (..., rows, columns) with its singular values brought near 1.

    Newton-Schulz iteration: matrix products only, so bfloat16 serves where it is fast. The
    singular values end between about 0.3 and 1.2, most above 0.7, which is all the optimizer needs.
    """
    wide = matrices.size(-2) <= matrices.size(-1)
    x = (matrices if wide else matrices.mT).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = x @ x.mT  # the smaller of the two products
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(Optimizer):
    """Momentum, orthogonalized; equal shapes are computed together.

    The step of a (rows, columns) matrix is scaled by sqrt(max(1, rows / columns)), so that one
    learning rate serves every shape. Weight decay is decoupled, as in AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = MOMENTUM,
        weight_decay: float = 0.1,
        newton_schulz_dtype: torch.dtype = torch.bfloat16,
        newton_schulz_steps: int = NEWTON_SCHULZ_STEPS,
    ) -> None:
        super().__init__([{"params": list(parameters), "lr": lr, "weight_decay": weight_decay}])
        self.momentum = momentum
        self.newton_schulz_dtype = newton_schulz_dtype
        self.newton_schulz_steps = newton_schulz_steps

    @torch.no_grad()
    def step(self, gradients: Gradients = OWN_GRADIENTS) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if gradients.of(parameter) is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                together = max(1, TOGETHER_NUMBERS // shape.numel())
                for begin in range(0, len(parameters), together):
                    some = parameters[begin : begin + together]
                    self._update(some, gradients, lr=group["lr"], decay=group["weight_decay"])

    def _update(
        self, parameters: list[nn.Parameter], gradients: Gradients, *, lr: float, decay: float
    ) -> None:
        if is_sharded(parameters[0]):
            updates = self._gathered_updates(parameters, gradients)
        else:
            updates = self._updates(parameters, gradients)
        rows, columns = parameters[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            own = local(parameter)
            own.mul_(1.0 - lr * decay).add_(local(update), alpha=-lr * scale)

    def _updates(self, parameters: list[nn.Parameter], gradients: Gradients) -> Iterable[Tensor]:
        """The orthogonalized momentum of matrices of one shape."""
        momenta = [self._momentum(parameter) for parameter in parameters]
        together = torch.stack([_present(gradients.of(parameter)) for parameter in parameters])
        together = together.to(momenta[0].dtype).mul_(gradients.factor)
        for momentum, gradient in zip(momenta, together, strict=True):
            momentum.lerp_(gradient, 1.0 - self.momentum)
        looked_ahead = together.lerp_(torch.stack(momenta), self.momentum)  # Nesterov
        return self._orthogonalized(looked_ahead)

    def _gathered_updates(
        self, parameters: list[nn.Parameter], gradients: Gradients
    ) -> Iterator[Tensor]:
        """The same where they lie in shards: each is made whole, and each process keeps its shard.

        One matrix after the other, so that no more than one has to find room.
        """
        for parameter in parameters:
            gradient = _present(gradients.of(parameter)).mul_(gradients.factor)
            momentum = self._momentum(parameter)
            local(momentum).lerp_(local(gradient), 1.0 - self.momentum)
            looked_ahead = whole(gradient.lerp(momentum, self.momentum))
            update = self._orthogonalized(looked_ahead[None])[0]
            yield like(update, parameter)

    def _orthogonalized(self, matrices: Tensor) -> Tensor:
        return orthogonalized(
            matrices, dtype=self.newton_schulz_dtype, steps=self.newton_schulz_steps
        )

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


def _present(gradient: Tensor | None) -> Tensor:
    assert gradient is not None, "chosen by its gradient"
    return gradient
