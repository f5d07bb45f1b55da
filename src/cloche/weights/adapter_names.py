"""The names of an adapter's tensors in PEFT's files, both ways.

PEFT writes the stored name of the layer after `base_model.model.`. Where a base is of the layout
of GPT-2, whose file has queries, keys and values in one transposed matrix, our adapters of the
three cannot be one of PEFT's: they are written by our names, for cloche alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.config import ModelConfig
from cloche.model.lora import PARTS, LoraWeights
from cloche.weights.hf import layout_of
from cloche.weights.layouts.blocks import BLOCK_NAMES, HEAD_PREFIX, PREFIX
from cloche.weights.layouts.gpt2 import GPT2_NAMES
from cloche.weights.layouts.layout import Names
from cloche.weights.reading import MOST_NAMED, listed

PEFT_PREFIX = "base_model.model."
GPT2_STORED = re.compile(r"(transformer\.)?(h\.\d+\.|wte\.|wpe\.|ln_f\.)")
LOW_RANK = re.compile(
    r"(?P<layer>.+)\.(?P<part>lora_A|lora_B)(\.default)?\.weight"
    r"|(?P<long>.+)\.(?P<magnitude>lora_magnitude_vector)(\.default)?(\.weight)?"
)
WRAPPED = re.compile(r"\.(base_layer|modules_to_save(\.default)?)\.(?=weight$|bias$)")
MAGNITUDE = PARTS[2]


def is_peft_loadable(config: ModelConfig) -> bool:
    """Whether PEFT finds the layers of this model by the names that Hugging Face has for them."""
    return layout_of(config).names is BLOCK_NAMES


def stored_layer(name: str, config: ModelConfig) -> str:
    """The name of one of our layers in the base's own class."""
    if not is_peft_loadable(config) or f"{name}.".startswith(HEAD_PREFIX):
        return name
    return PREFIX + name


def stored_tensors(weights: LoraWeights, config: ModelConfig) -> dict[str, Tensor]:
    """The tensors as PEFT's file has them."""
    found = {}
    for name, tensor in weights.tensors.items():
        layer, _, part = name.rpartition(".")
        ending = part if part == MAGNITUDE else f"{part}.weight"
        found[f"{PEFT_PREFIX}{stored_layer(layer, config)}.{ending}"] = tensor
    for name, tensor in weights.replaced.items():
        layer, _, kind = name.rpartition(".")
        found[f"{PEFT_PREFIX}{stored_layer(layer, config)}.{kind}"] = tensor
    return found


def own_tensors(
    stored: Mapping[str, Tensor], *, source: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The adapters' tensors, and those that replace the base's, by our names, in float32.

    Raises CheckpointError with all that is no part of an adapter of linear layers.
    """
    low_rank: dict[str, Tensor] = {}
    replaced: dict[str, Tensor] = {}
    problems: list[str] = []
    for name, tensor in stored.items():
        bare = name.removeprefix(PEFT_PREFIX)
        match = LOW_RANK.fullmatch(bare)
        if not tensor.is_floating_point():
            problems.append(f"{name} is stored as {tensor.dtype}")
            continue
        if match is None and "lora_" in bare:
            problems.append(f"{name} is no part of an adapter of linear layers")
            continue
        if match is None:
            made, place = _replacements(WRAPPED.sub(".", bare), tensor), replaced
        else:
            layer, part = match["layer"] or match["long"], match["part"] or match["magnitude"]
            made, place = _parts(layer, part, tensor), low_rank
        if made is None:
            problems.append(f"{name} is of no module of a model that cloche knows")
            continue
        twice = made.keys() & place.keys()
        problems += [f"{each} is there twice, the other as {name}" for each in sorted(twice)]
        place |= {each: value.float().contiguous() for each, value in made.items()}
    if problems:
        raise CheckpointError(f"{source} cannot be used: {listed_problems(problems)}")
    if not low_rank:
        raise CheckpointError(
            f"{source} holds no adapter of a linear layer; its first tensors are "
            f"{listed(list(stored)[:5]) or 'none at all'}"
        )
    return low_rank, replaced


def listed_problems(problems: list[str]) -> str:
    """The problems in one line; of very many, the first and how many more there are."""
    shown = problems[:MOST_NAMED]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more like these")
    return "; ".join(shown)


def _parts(layer: str, part: str, tensor: Tensor) -> dict[str, Tensor] | None:
    """A layer's tensor under our name; of GPT-2's joined layer, under those of its three.

    They read the same squeezed vector, and each has its own of the rows that come out.
    """
    layers = _own_layers(layer)
    if layers is None:
        return None
    shared = part == PARTS[0] or len(layers) == 1
    if not shared and tensor.shape[0] % len(layers):
        return None
    pieces = [tensor] * len(layers) if shared else list(tensor.chunk(len(layers)))
    return {f"{each}.{part}": piece for each, piece in zip(layers, pieces, strict=True)}


def _own_layers(stored: str) -> list[str] | None:
    """Our names of the layer or layers that a layer of the base's class is; None for none."""
    names = _names_of(stored)
    if names is None:
        return [stored.removeprefix(PREFIX)]
    made = _from_stored(f"{stored}.weight", torch.empty(3, 3, device="meta"), names)
    return None if made is None else [name.removesuffix(".weight") for name in made]


def _replacements(stored: str, tensor: Tensor) -> dict[str, Tensor] | None:
    names = _names_of(stored)
    if names is None:
        return {stored.removeprefix(PREFIX): tensor}
    return _from_stored(stored, tensor, names)


def _from_stored(stored: str, tensor: Tensor, names: Names) -> dict[str, Tensor] | None:
    canonical = names.canonical(stored)
    if canonical is None:
        return None
    try:
        return names.from_stored(canonical, tensor)
    except (KeyError, RuntimeError, ValueError):  # no such module there, or no matrix
        return None


def _names_of(stored: str) -> Names | None:
    """GPT-2's, by which a stored tensor is taken apart; None for names like our own."""
    return GPT2_NAMES if GPT2_STORED.match(stored) else None
