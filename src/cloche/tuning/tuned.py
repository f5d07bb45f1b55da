"""A model of which some weights are trained, and the rest only read.

The trained weights have float32 masters, as in any training. The rest, most of a model that is
tuned by LoRA, exists once: in the precision of the passes.
"""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from cloche.errors import SettingError
from cloche.model.build import Network
from cloche.training.precision import ComputeModel


class TrainedWeights(nn.Module):
    """The float32 masters of the trained weights, by the names they have in the whole model."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self._weights = dict(weights)

    def named_parameters(
        self,
        prefix: str = "",
        recurse: bool = True,  # noqa: ARG002, FBT001, FBT002  torch's own signature
        remove_duplicate: bool = True,  # noqa: ARG002, FBT001, FBT002
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and weight, in the order of the model's modules."""
        for name, weight in self._weights.items():
            yield f"{prefix}.{name}" if prefix else name, weight


class TunedModel(ComputeModel):
    """A model whose parameters with `requires_grad` are trained, tied to their float32 masters.

    `model` comes in float32. In float32 the passes run on it. In another precision they run on a
    copy of it, so that `whole` can be saved exactly; or on the model itself, its frozen weights
    rounded where they are, if it is not `kept` (adapters are saved alone, and half the memory is
    enough).
    """

    masters: TrainedWeights  # pyright: ignore[reportIncompatibleVariableOverride]  of a part

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, kept: bool) -> None:
        self.separate = dtype != torch.float32
        self.whole: nn.Module | None = model if kept or not self.separate else None
        self.model = copy.deepcopy(model) if self.separate and kept else model  # pyright: ignore
        trained = _trained(model)
        if not trained:
            raise SettingError("no weight of the model is trained: nothing would be learned")
        if self.separate and not kept:
            trained = {name: nn.Parameter(p.detach().clone()) for name, p in trained.items()}
        self.masters = TrainedWeights(trained)
        if self.separate:
            self.model.to(dtype)
        low = _trained(self.model)
        self.pairs = [(master, low[name]) for name, master in trained.items()]
        self._copy_of = {id(master): parameter for master, parameter in self.pairs}
        self._added = False
        self._factor = 1.0

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite the masters; KeyError where one is missing."""
        with torch.no_grad():
            for name, master in self.masters.named_parameters():
                master.copy_(state[name])

    def gathered(self) -> Network | None:
        """Nothing: a tuning writes what it saves by itself."""
        raise AssertionError("a tuning saves its trained weights")

    def trained_tensors(self) -> dict[str, Tensor]:
        """A copy of the masters, by name, which further steps do not change."""
        named = self.masters.named_parameters()
        return {name: weight.detach().to("cpu", copy=True) for name, weight in named}


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
