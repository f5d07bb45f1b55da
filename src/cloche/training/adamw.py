"""AdamW, by PyTorch's fused kernel: one pass over the numbers.

Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from cloche.training.optimizer import OWN_GRADIENTS, Gradients, Optimizer
from cloche.training.shards import local

PIECE_NUMBERS = 1 << 20
"""Numbers that are updated at a time: with moments and gradient in float32 they take 16 MB, which
a processor's cache holds between one operation and the next (docs/log.md)."""


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
    def step(self, gradients: Gradients = OWN_GRADIENTS) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for pieces in _together(self._pieces(group["params"], gradients)):
                adamw(
                    [piece.weight for piece in pieces],
                    [_lengthened(piece, gradients.factor) for piece in pieces],
                    [piece.mean for piece in pieces],
                    [piece.square for piece in pieces],
                    [],
                    [piece.steps for piece in pieces],
                    fused=True,
                    amsgrad=False,
                    beta1=self.betas[0],
                    beta2=self.betas[1],
                    lr=group["lr"],
                    weight_decay=group["weight_decay"],
                    eps=self.eps,
                    maximize=False,
                )

    def _pieces(
        self, parameters: Sequence[nn.Parameter], gradients: Gradients
    ) -> Iterator["_Piece"]:
        """The parameters that have a gradient, the large ones in pieces."""
        for parameter in parameters:
            gradient = gradients.of(parameter)
            if gradient is None:
                continue
            state = self._state(parameter)
            weight, mean, square = map(
                local, (parameter.detach(), state["exp_avg"], state["exp_avg_sq"])
            )
            parts = [_cut(tensor) for tensor in (weight, local(gradient), mean, square)]
            # each piece's update counts one step; the parameter has taken one in all
            counts = [state["step"], *(state["step"].clone() for _ in parts[0][1:])]
            yield from map(_Piece, *parts, counts)

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


@dataclass(frozen=True)
class _Piece:
    """Some numbers of one parameter, as flat views of where they lie."""

    weight: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor


def _cut(tensor: Tensor) -> Sequence[Tensor]:
    if tensor.numel() <= PIECE_NUMBERS:
        return [tensor]
    return tensor.view(-1).split(PIECE_NUMBERS)


def _together(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces in lists, each as long as it is worth it to look at them together."""
    found: list[_Piece] = []
    numbers = 0
    for piece in pieces:
        if found and numbers + piece.weight.numel() > PIECE_NUMBERS:
            yield found
            found, numbers = [], 0
        found.append(piece)
        numbers += piece.weight.numel()
    if found:
        yield found


def _lengthened(piece: _Piece, factor: float) -> Tensor:
    """The gradient in the weight's dtype, times the factor."""
    gradient = piece.gradient.to(piece.weight.dtype)
    if factor == 1.0:
        return gradient
    return gradient.mul_(factor)
