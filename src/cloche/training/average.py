"""A moving average of the weights: what a run evaluates, writes and saves in their place.

The average of the last steps lies nearer to the bottom of the valley whose walls the weights
jump between. Source: Polyak and Juditsky 1992; exponential, as used here: Tarvainen and Valpola
2017, https://arxiv.org/abs/1703.01780
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cloche.training.shards import like, local


class WeightAverage:
    """The average of a model's parameters over the steps, in float32.

    Each step keeps `share` of the average; early steps keep less, so that it is not held back by
    the weights that training began with.
    """

    def __init__(self, masters: nn.Module, *, share: float) -> None:
        self.masters = masters
        self.share = share
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in masters.named_parameters()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        kept = min(self.share, (1 + step) / (10 + step))
        for name, parameter in self.masters.named_parameters():
            self.tensors[name].lerp_(parameter, 1.0 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the average as its weights, and `tensors` are its own."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def load(self, masters: Mapping[str, Tensor]) -> None:
        """Take the model's weights as the average, and give the model these in their place."""
        for name, parameter in self.masters.named_parameters():
            self.tensors[name].copy_(parameter)
            local(parameter).copy_(local(like(masters[name], parameter)))

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.masters.named_parameters():
            held = parameter.detach().clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name].copy_(held)
