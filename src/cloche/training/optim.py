"""The optimizers of a training: AdamW, and Muon for the matrices of the blocks; one builder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from cloche.training.adamw import AdamW
from cloche.training.muon import MOMENTUM, Muon
from cloche.training.optimizer import OWN_GRADIENTS, Gradients, Optimizer
from cloche.training.options import TrainOptions
from cloche.training.shards import like


@dataclass
class Optimizers:
    """The optimizers of one model, moved together; their state as named tensors."""

    parts: dict[str, Optimizer]
    names: dict[nn.Parameter, str]
    """Name of each parameter in the model."""

    def set_learning_rate(self, share: float) -> None:
        """Set every group to this share of its peak."""
        for optimizer in self.parts.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share

    def step(self, gradients: Gradients = OWN_GRADIENTS) -> None:
        """Update all parameters from their gradients, which may be used up."""
        for optimizer in self.parts.values():
            optimizer.step(gradients)

    def parameter_of(self, flat: str) -> nn.Parameter:
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
    parts: dict[str, Optimizer]
    if options.optimizer != "adamw" and blocks:
        inside = set(blocks)
        rest = [p for p in named.values() if p not in inside]
        muon = Muon(
            blocks,
            lr=learning_rate,
            momentum=MOMENTUM if options.momentum is None else options.momentum,
            weight_decay=options.weight_decay,
        )
        rate = options.rest_rate * learning_rate
        parts = {"muon": muon, "adamw": _adamw(rest, lr=rate, weight_decay=0.0)}
    else:
        parts = {
            "adamw": _adamw(named.values(), lr=learning_rate, weight_decay=options.weight_decay)
        }
    return Optimizers(parts, {parameter: name for name, parameter in named.items()})


def _adamw(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> AdamW:
    found = list(parameters)
    groups = [
        {"params": [p for p in found if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in found if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
    ]
    # a table of logits, or a small text: second moments settle within a few hundred steps
    filled = [group for group in groups if group["params"]]
    return AdamW(filled, betas=(0.9, 0.95), eps=1e-10)
