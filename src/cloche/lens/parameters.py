"""Every tensor of a model: its shape, how its numbers are kept, and how many of them are none."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cloche.lens.view import View, provenance_of
from cloche.model.config import ModelConfig
from cloche.model.lora_quantized import QuantizedLoraLinear
from cloche.model.ngram import NGram, OrderTable
from cloche.model.quantized import QuantizedEmbedding, QuantizedLinear
from cloche.run import LM
from cloche.weights.adapters import Adapter, is_adapter, load_adapter
from cloche.weights.loading import base_folder

Part = Literal["embedding", "positions", "attention", "MLP", "norms", "head", "adapter", "counts"]
"""What tensors are for; a mixture's router belongs to the MLP, an n-gram model's tables are counts.
"""
_PLACES: tuple[tuple[str, Part], ...] = (
    (r"lora_\w+$", "adapter"),
    (r"^embed_tokens\b", "embedding"),
    (r"\bembed_positions\b", "positions"),
    (r"^lm_head\b", "head"),
    (r"^orders\b", "counts"),
    (r"norm\.(weight|bias)$", "norms"),
    (r"\b(self|cross)_attn\b", "attention"),
    (r"\bmlp\b", "MLP"),
)
"""Patterns in a tensor's name, the first that is found."""
CHECKED = 2**22
"""Numbers looked at together for those that are none."""


@dataclass(frozen=True)
class Weights:
    """One tensor of the model, by its name there."""

    name: str
    """Such as `layers.0.self_attn.q_proj.weight`: the same however the numbers are kept."""
    part: Part
    layer: int | None
    """Counted from 0; None for what is in no block."""
    shape: tuple[int, ...]
    parameters: int
    """Learned numbers that are counted here: none where they are another tensor's. Of an n-gram
    model, the n-grams."""
    kept_as: str
    """float32, bfloat16, int8, int4, ..."""
    kept_bytes: int
    """In the memory of the opened model, scales of rounded weights included."""
    checkpoint_bytes: int
    """In a checkpoint of cloche, which holds float32."""
    nan: int
    """How many of them are not a number."""
    infinite: int
    shared_with: str | None = None
    """The tensor whose numbers these are, such as the embedding of a tied head."""


@dataclass(frozen=True)
class AdapterWeights:
    """An adapter that lies in a folder of its own beside the model."""

    name: str
    rank: int
    layers: int
    """That have one."""
    parameters: int
    """Learned in the thin matrices, and in tensors that were trained whole."""
    checkpoint_bytes: int
    merged: bool
    """Whether the model's weights, as they are shown, have it in them."""


@dataclass(frozen=True, eq=False)
class ParametersView(View):
    """All tensors of a model, and their sums."""

    name: ClassVar[str] = "parameters"
    family: str
    tensors: tuple[Weights, ...]
    """In the model's order."""
    parameters: int
    """In all; a tied head is the embedding and counted once."""
    active: int
    """That take part in each token: all, but for the experts that it passes by."""
    by_part: Mapping[Part, int]
    """Learned numbers of each part that there is."""
    kept_bytes: int
    checkpoint_bytes: int
    nan: int
    infinite: int
    tied: bool
    """Whether the head is the embedding."""
    experts: int
    """In each block; 0 for a single MLP."""
    experts_used: int
    """By each token."""
    adapters: tuple[AdapterWeights, ...]
    """Those in folders; one that sits in the model as layers of its own is among the tensors."""


def see_parameters(lm: LM) -> ParametersView:
    """The tensors of a model of any family, of rounded ones and of those with adapters."""
    tensors = tuple(_tensors(lm.model, lm.config))
    by_part: dict[Part, int] = {}
    for each in tensors:
        if each.parameters or each.shared_with is None:
            by_part[each.part] = by_part.get(each.part, 0) + each.parameters
    total = sum(each.parameters for each in tensors)
    return ParametersView(
        provenance_of(lm),
        lm.config.family,
        tensors,
        total,
        total - _idle(tensors, lm.config),
        by_part,
        kept_bytes=sum(each.kept_bytes for each in tensors),
        checkpoint_bytes=sum(each.checkpoint_bytes for each in tensors),
        nan=sum(each.nan for each in tensors if each.shared_with is None),
        infinite=sum(each.infinite for each in tensors if each.shared_with is None),
        tied=any(each.part == "head" and each.shared_with for each in tensors),
        experts=lm.config.experts,
        experts_used=lm.config.experts_used,
        adapters=tuple(_adapters(lm)),
    )


@dataclass(frozen=True, eq=False)
class _Kept:
    """A tensor as the model has it: its own numbers, or those that it is rounded to."""

    name: str
    shape: tuple[int, ...]
    stored: tuple[Tensor, ...]
    kept_as: str
    rounded: QuantizedLinear | QuantizedLoraLinear | None = None

    def broken(self) -> tuple[int, int]:
        """How many weights are not a number, and how many are infinite."""
        if self.rounded is None:
            return count_broken(self.stored[0])
        if not any(sum(count_broken(each)) for each in self.stored[1:]):
            return 0, 0  # whole numbers times finite scales
        if isinstance(self.rounded, QuantizedLinear):
            return count_broken(self.rounded.matrix())
        return count_broken(self.rounded.base_matrix(torch.float32))


def count_broken(tensor: Tensor) -> tuple[int, int]:
    """How many of its numbers are not a number, and how many are infinite."""
    if not tensor.is_floating_point():
        return 0, 0
    nan = infinite = 0
    for some in tensor.detach().reshape(-1).split(CHECKED):
        if not some.isfinite().all():
            nan += int(some.isnan().sum())
            infinite += int(some.isinf().sum())
    return nan, infinite


def _tensors(model: nn.Module, config: ModelConfig) -> Iterator[Weights]:
    owners: dict[int, str] = {}
    for kept in _kept(model):
        place = kept.stored[0].data_ptr() if kept.stored[0].numel() else id(kept)
        # moved to another device, the two halves of a rounded and tied table are two tensors
        tied = config.tied and kept.name == "lm_head.weight"
        owner = owners.setdefault(place, kept.name)
        held_twice = owner != kept.name
        shared_with = "embed_tokens.weight" if tied else owner if held_twice else None
        nan, infinite = kept.broken()
        layer = re.search(r"\blayers\.(\d+)\.", kept.name)
        yield Weights(
            kept.name,
            part_of(kept.name),
            int(layer[1]) if layer else None,
            kept.shape,
            _counted(model, kept) if shared_with is None else 0,
            kept.kept_as,
            0 if held_twice else sum(each.nbytes for each in kept.stored),
            0 if shared_with else _checkpoint_bytes(kept),
            nan,
            infinite,
            shared_with,
        )


def _kept(model: nn.Module) -> Iterator[_Kept]:
    tables = {module.table for module in model.modules() if isinstance(module, QuantizedEmbedding)}
    for path, module in model.named_modules():
        if isinstance(module, QuantizedLinear | QuantizedLoraLinear):
            own = path.removesuffix(".table") if module in tables else path
            parts = (module.numbers, module.scales, module.minima)
            stored = tuple(each for each in parts if each is not None)
            shape = (module.out_features, module.in_features)
            yield _Kept(f"{own}.weight", shape, stored, module.bits, module)
        named = [*module.named_parameters(recurse=False)]
        if isinstance(module, OrderTable):
            named += module.named_buffers(recurse=False)
        for name, tensor in named:
            kept_as = str(tensor.dtype).removeprefix("torch.")
            full_name = f"{path}.{name}" if path else name
            yield _Kept(full_name, tuple(tensor.shape), (tensor.detach(),), kept_as)


def part_of(name: str) -> Part:
    """What the tensor of that name is for."""
    for pattern, part in _PLACES:
        if re.search(pattern, name):
            return part
    raise ValueError(f"no part of a model is known that has {name}")


def _counted(model: nn.Module, kept: _Kept) -> int:
    """Learned numbers; of an n-gram model the n-grams, of which each has one share."""
    if isinstance(model, NGram) and kept.name.endswith((".keys", ".backoffs")):
        return 0
    return math.prod(kept.shape)


def _checkpoint_bytes(kept: _Kept) -> int:
    whole = kept.rounded is None and not kept.stored[0].is_floating_point()
    return math.prod(kept.shape) * (kept.stored[0].element_size() if whole else 4)


def _idle(tensors: tuple[Weights, ...], config: ModelConfig) -> int:
    """Numbers of experts that a token passes by; all experts are of one size."""
    inside = sum(each.parameters for each in tensors if ".experts." in each.name)
    if not config.experts:
        return 0
    return inside * (config.experts - config.experts_used) // config.experts


def _adapters(lm: LM) -> Iterator[AdapterWeights]:
    """Those that the model was opened with by name, and those that it is merged from."""
    active = None if lm.adapters is None else lm.adapters.active
    for name, folder in lm.adapter_folders.items():
        yield _sizes_of(name, load_adapter(folder), merged=name == active)
    folder = lm.folder
    while is_adapter(folder):
        adapter = load_adapter(folder)
        yield _sizes_of(folder.resolve().name, adapter, merged=True)
        folder = base_folder(adapter)


def _sizes_of(name: str, adapter: Adapter, *, merged: bool) -> AdapterWeights:
    numbers = sum(tensor.numel() for tensor in adapter.tensors.values())
    return AdapterWeights(
        name,
        adapter.config.rank,
        len(adapter.weights.layers),
        numbers,
        sum(tensor.numel() * 4 for tensor in adapter.tensors.values()),
        merged,
    )
