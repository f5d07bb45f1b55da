"""Which class of Hugging Face computes exactly a model of ours, if one does.

Some models are no such class as they stand, and yet compute the same as one: biases that are not
there are zeros, positions that are computed are a table, shared keys are keys held several times.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.build import Network
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.positions import sinusoidal_positions
from cloche.weights.hf import FOREIGN
from cloche.weights.layouts.layout import Layout

POSITIONS = "embed_positions.weight"
SHARED = ("k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias")


@dataclass(frozen=True, eq=False)
class Expressed:
    """A model as one of Hugging Face's classes has it; it computes the same."""

    layout: Layout
    config: ModelConfig
    tensors: Mapping[str, Tensor]
    """By our names."""


def express(model: Network, config: ModelConfig, *, folder: Path | None = None) -> Expressed:
    """The model as a class of Hugging Face has it.

    Beside a tokenizer that lies in `folder`, only as one that leaves that as it is. Raises
    CheckpointError with all that stands in the way where none computes the same.
    """
    if not isinstance(model, Decoder):
        raise CheckpointError(
            f"a {config.family} model cannot be exported: Hugging Face has no class that computes "
            "it. Copy its checkpoint as it is, which cloche opens anywhere, or train one of the "
            "families qwen3, llama, moe, gpt2 or gpt"
        )
    layouts = [each for each in FOREIGN if folder is None or each.keeps_tokenizer(folder)]
    for variant in _equals(config):
        for layout in layouts:
            if not layout.obstacles(variant):
                return Expressed(layout, variant, _tensors(model, variant))
    reasons = min((each.obstacles(v) for v in _equals(config) for each in layouts), key=len)
    raise CheckpointError(
        f"Hugging Face has no class that computes this {config.family} model; in the way of the "
        f"nearest stand: {'; '.join(reasons)}. Copy its checkpoint as it is, which cloche opens "
        "anywhere, or train one without that"
    )


def _equals(config: ModelConfig) -> Iterator[ModelConfig]:
    """Descriptions of models that compute the same, with other tensors."""
    yield config
    some = config.qkv_bias or config.output_bias
    if some and not (config.qkv_bias and config.output_bias):
        yield replace(config, qkv_bias=True, output_bias=True)
    if config.positions != "rotary":
        yield replace(
            config,
            positions="learned",
            kv_heads=config.heads,
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
        )


def _tensors(model: Decoder, variant: ModelConfig) -> dict[str, Tensor]:
    """The tensors of a model that computes the same, made from this one's."""
    own = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    with torch.device("meta"):
        wanted = Decoder(variant).state_dict()
    found = {}
    for name, like in wanted.items():
        tensor = own.get(name)
        if tensor is None:
            tensor = _computed_table(model.config) if name == POSITIONS else torch.zeros(like.shape)
        elif tensor.shape != like.shape:
            assert name.endswith(SHARED), f"{name} has another shape"
            tensor = _repeated(
                tensor, model.config, times=variant.kv_heads // model.config.kv_heads
            )
        found[name] = tensor
    return found


def _computed_table(config: ModelConfig) -> Tensor:
    """The vectors of all positions, where they are not learned: waves, or nothing."""
    if config.positions == "none":
        return torch.zeros(config.context, config.width)
    return sinusoidal_positions(torch.arange(config.context)[None], config.width)[0]


def _repeated(tensor: Tensor, config: ModelConfig, *, times: int) -> Tensor:
    """The rows of each key and value head, once for each query head that shares it."""
    heads = tensor.unflatten(0, (config.kv_heads, config.head_dim))
    return heads.repeat_interleave(times, dim=0).flatten(0, 1)
