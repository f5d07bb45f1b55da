"""A forward for GPUs: the step of one token in each row is a compiled graph, replayed.

Between two tokens a GPU waits longer for Python to start its kernels than the kernels take. A CUDA
graph starts them all at once; torch.compile records it where shapes and addresses never change. So
every step reads a token in every row: rows that have none read one into a place behind the
capacity, which nobody looks at.

Source: https://docs.pytorch.org/docs/stable/generated/torch.compile.html (mode reduce-overhead)
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int, Num
from torch import Tensor, nn

from cloche.generation.forward import ModelForward, Place
from cloche.model.cache import KeyValueCache, StaticView
from cloche.model.decoder import Decoder

Compile = Callable[[nn.Module], Callable[..., Tensor]]


def compile_graph(step: nn.Module) -> Callable[..., Tensor]:
    """The step as one graph, replayed without Python."""
    return torch.compile(step, mode="reduce-overhead", fullgraph=True)


class StaticForward(ModelForward):
    """A forward whose steps have one shape; prompts and guesses take the model's usual way."""

    def __init__(
        self, model: Decoder, *, rows: int, capacity: int, compile_step: Compile = compile_graph
    ) -> None:
        super().__init__(model, rows=rows, capacity=capacity + 1)
        self.capacity = capacity
        self._step = compile_step(_Step(model, self._cache))

    def hidden(self, places: Sequence[Place]) -> Num[Tensor, "batch dim"]:
        """A vector for each place, after the final norm; its keys and values are kept."""
        numbers = [place.row for place in places]
        if len(set(numbers)) < len(numbers):
            return super().hidden(places)
        ids = torch.zeros(self.rows, 1, dtype=torch.int64)
        positions = torch.full((self.rows, 1), self.capacity)
        for place in places:
            self._cache.crop(place.row, place.position)
            self._cache.count_appended(place.row, 1)
            ids[place.row], positions[place.row] = place.token_id, place.position
        found = self._step(ids.to(self._device), positions.to(self._device))
        # a replayed graph writes over what it gave before
        return found[numbers, 0].clone()


class _Step(nn.Module):
    """A token in each row. Keys and values are buffers, so that their addresses are known."""

    def __init__(self, model: Decoder, cache: KeyValueCache) -> None:
        super().__init__()
        self.model = model
        self.keys: Tensor
        self.values: Tensor
        self.register_buffer("keys", cache.keys, persistent=False)
        self.register_buffer("values", cache.values, persistent=False)

    def forward(
        self, ids: Int[Tensor, "rows 1"], positions: Int[Tensor, "rows 1"]
    ) -> Num[Tensor, "rows 1 dim"]:
        """The vectors of all rows."""
        # a row that reads nothing stands behind the last position that there is a vector for
        known = positions.clamp(max=self.model.config.context - 1)
        view = StaticView(self.keys, self.values, positions)
        return self.model.hidden(ids, positions=known, cache=view)


def serves_static(model: nn.Module) -> bool:
    """Whether a model's step can be one graph: a decoder without experts and windows, on CUDA."""
    return (
        isinstance(model, Decoder)
        and not model.config.experts
        and model.config.window is None
        and next(model.parameters()).device.type == "cuda"
    )
