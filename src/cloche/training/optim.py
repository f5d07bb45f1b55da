"""The optimizers: AdamW, and Muon for the matrices of the blocks; one builder for all trainings.

Muon replaces a matrix's gradient by the nearest matrix with all singular values equal, so that
every direction learns at one speed. Source: Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloche.training.options import TrainOptions
from cloche.training.shards import is_sharded, like, local, whole

# Coefficients of the quintic a x + b x^3 + c x^5, applied five times: chosen by its author for the
# steepest slope at zero, so that small singular values grow fastest.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalized(matrices: Tensor, *, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Each matrix (..., rows, columns) with its singular values brought near 1.

    Newton-Schulz iteration: matrix products only, so bfloat16 serves where it is fast. The
    singular values end between about 0.7 and 1.2, which is all the optimizer needs.
    """
    wide = matrices.size(-2) <= matrices.size(-1)
    x = (matrices if wide else matrices.mT).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT  # the smaller of the two products
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized; equal shapes are computed together.

    The step of a (rows, columns) matrix is scaled by sqrt(max(1, rows / columns)), so that one
    learning rate serves every shape. Weight decay is decoupled, as in AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        newton_schulz_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self.momentum = momentum
        self.newton_schulz_dtype = newton_schulz_dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient; what `closure` gives, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, lr=group["lr"], weight_decay=group["weight_decay"])
        return loss

    def _update(self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        if is_sharded(parameters[0]):
            updates = self._gathered_updates(parameters)
        else:
            updates = self._updates(parameters)
        rows, columns = parameters[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            own = local(parameter)
            own.mul_(1.0 - lr * weight_decay).add_(local(update), alpha=-lr * scale)

    def _updates(self, parameters: list[nn.Parameter]) -> Iterable[Tensor]:
        """The orthogonalized momentum of matrices of one shape."""
        gradients = torch.stack([p.grad for p in parameters if p.grad is not None])
        momenta = [self._momentum(parameter) for parameter in parameters]
        for momentum, gradient in zip(momenta, gradients, strict=True):
            momentum.lerp_(gradient, 1.0 - self.momentum)
        looked_ahead = gradients.lerp_(torch.stack(momenta), self.momentum)  # Nesterov
        return orthogonalized(looked_ahead, dtype=self.newton_schulz_dtype)

    def _gathered_updates(self, parameters: list[nn.Parameter]) -> Iterator[Tensor]:
        """The same where they lie in shards: each is made whole, and each process keeps its shard.

        One matrix after the other, so that no more than one has to find room.
        """
        for parameter in parameters:
            assert parameter.grad is not None, "chosen by its gradient"
            momentum = self._momentum(parameter)
            local(momentum).lerp_(local(parameter.grad), 1.0 - self.momentum)
            looked_ahead = whole(parameter.grad.lerp(momentum, self.momentum))
            update = orthogonalized(looked_ahead[None], dtype=self.newton_schulz_dtype)[0]
            yield like(update, parameter)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


@dataclass
class Optimizers:
    """The optimizers of one model, moved together; their state as named tensors."""

    parts: dict[str, torch.optim.Optimizer]
    names: dict[Tensor, str]
    """Name of each parameter in the model."""

    def set_learning_rate(self, share: float) -> None:
        """Set every group to this share of its peak."""
        for optimizer in self.parts.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share

    def step(self) -> None:
        """Update all parameters from their gradients."""
        for optimizer in self.parts.values():
            optimizer.step()

    def parameter_of(self, flat: str) -> Tensor:
        """The parameter of a name of `state_tensors`; ValueError where there is none."""
        for parameter, name in self.names.items():
            if flat.split("/")[1:2] == [name]:
                return parameter
        raise ValueError(f"optimizer state {flat} has no place in this model")

    def state_tensors(self) -> dict[str, Tensor]:
        """The state as flat names: `adamw/lm_head.weight/exp_avg`."""
        return {
            f"{part}/{self.names[parameter]}/{key}": value
            for part, optimizer in self.parts.items()
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state_tensors` gave; ValueError where names do not fit this model."""
        parameters = {name: parameter for parameter, name in self.names.items()}
        for flat, value in tensors.items():
            part, name, key = flat.split("/")
            if part not in self.parts or name not in parameters:
                raise ValueError(f"optimizer state {flat} has no place in this model")
            parameter = parameters[name]
            moved = value.to(parameter.device, copy=True)
            self.parts[part].state[parameter][key] = like(moved, parameter)


def build_optimizers(
    model: nn.Module, options: TrainOptions, *, learning_rate: float
) -> Optimizers:
    """Optimizers for every parameter of the model, each parameter in exactly one.

    With muon, matrices of the blocks go to Muon; embeddings, head, norms and biases to AdamW at
    a rate of their own. With adamw, one AdamW; norms and biases never decay.
    """
    named = dict(model.named_parameters())
    blocks = [p for name, p in named.items() if "layers." in name and p.ndim == 2]
    parts: dict[str, torch.optim.Optimizer]
    if options.optimizer != "adamw" and blocks:
        inside = set(blocks)
        rest = [p for p in named.values() if p not in inside]
        muon = Muon(blocks, lr=learning_rate, weight_decay=options.weight_decay)
        # measured with muon at 0.02: the rest at 0.003 (docs/log.md)
        parts = {"muon": muon, "adamw": _adamw(rest, lr=0.15 * learning_rate, weight_decay=0.0)}
    else:
        parts = {
            "adamw": _adamw(named.values(), lr=learning_rate, weight_decay=options.weight_decay)
        }
    for optimizer in parts.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return Optimizers(parts, {parameter: name for name, parameter in named.items()})


def _adamw(
    parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
) -> torch.optim.AdamW:
    found = list(parameters)
    groups = [
        {"params": [p for p in found if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in found if p.ndim < 2], "weight_decay": 0.0},
    ]
    # a table of logits, or a small text: second moments settle within a few hundred steps
    filled = [group for group in groups if group["params"]]
    return torch.optim.AdamW(filled, lr=lr, betas=(0.9, 0.95), eps=1e-10, fused=True)
