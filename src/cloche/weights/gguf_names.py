"""Which tensors of a GGUF file are which weights of ours, both ways.

One table serves reading and writing. Besides names three things differ: Llama's queries and keys
have their rows in the order of neighbouring rotary pairs, GPT-2's three projections are one tensor,
and all experts of a block lie in one.

Names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#standardized-tensor-names
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from cloche.model.config import ModelConfig

Architecture = Literal["llama", "qwen2", "qwen3", "qwen3moe", "gpt2"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

EMBEDDING = "token_embd.weight"
HEAD = "output.weight"
POSITIONS = "position_embd.weight"
ROPE_FACTORS = "rope_freqs.weight"
"""What the rotary frequencies are divided by, one number a pair."""
_EXACT_ENDINGS = ("norm.weight", ".bias", "ffn_gate_inp.weight", POSITIONS, ROPE_FACTORS)


@dataclass(frozen=True)
class Place:
    """One stored tensor, and the weights of ours in it."""

    stored: str
    names: tuple[str, ...]
    join: Callable[[Sequence[Tensor]], Tensor]
    """Our weights, in the order of `names`, as they are stored."""
    split: Callable[[Tensor], Sequence[Tensor]]
    """The way back."""


def tensor_places(config: ModelConfig, architecture: Architecture) -> list[Place]:
    """Every tensor of a model's file, in the order in which a model uses them.

    A tied head has no tensor of its own.
    """
    return [
        _same(EMBEDDING, "embed_tokens.weight"),
        *([_same(POSITIONS, "embed_positions.weight")] if architecture == "gpt2" else []),
        *(
            place
            for layer in range(config.layers)
            for place in _block(config, architecture, layer=layer)
        ),
        *_norm("output_norm", "norm", config),
        *([] if config.tied else [_same(HEAD, "lm_head.weight")]),
    ]


def is_kept_exact(stored: str) -> bool:
    """Whether a tensor is small and delicate, and so always stored in float32."""
    return stored.endswith(_EXACT_ENDINGS)


def _block(config: ModelConfig, architecture: Architecture, *, layer: int) -> Iterator[Place]:
    ours, theirs = f"layers.{layer}.", f"blk.{layer}."
    yield from _norm(f"{theirs}attn_norm", f"{ours}input_layernorm", config)
    yield from _attention(config, architecture, ours=f"{ours}self_attn.", theirs=theirs)
    yield from _norm(f"{theirs}ffn_norm", f"{ours}post_attention_layernorm", config)
    if config.experts:
        yield from _experts(config.experts, ours=f"{ours}mlp.", theirs=theirs)
        return
    parts = ("up", "down") if architecture == "gpt2" else ("gate", "up", "down")
    for part in parts:
        for kind in _kinds(biased=config.mlp_bias):
            yield _same(f"{theirs}ffn_{part}.{kind}", f"{ours}mlp.{part}_proj.{kind}")


def _attention(
    config: ModelConfig, architecture: Architecture, *, ours: str, theirs: str
) -> Iterator[Place]:
    for kind in _kinds(biased=config.qkv_bias):
        names = tuple(f"{ours}{part}_proj.{kind}" for part in "qkv")
        if architecture == "gpt2":
            yield _joined(f"{theirs}attn_qkv.{kind}", names, config)
            continue
        for part, name in zip("qkv", names, strict=True):
            stored = f"{theirs}attn_{part}.{kind}"
            turned = architecture == "llama" and part != "v"
            yield _turned(stored, name, config) if turned else _same(stored, name)
    for kind in _kinds(biased=config.output_bias):
        yield _same(f"{theirs}attn_output.{kind}", f"{ours}o_proj.{kind}")
    for part in "qk" if config.qk_norm else "":
        yield _same(f"{theirs}attn_{part}_norm.weight", f"{ours}{part}_norm.weight")


def _experts(count: int, *, ours: str, theirs: str) -> Iterator[Place]:
    yield _same(f"{theirs}ffn_gate_inp.weight", f"{ours}gate.weight")
    for part in ("gate", "up", "down"):
        names = tuple(f"{ours}experts.{expert}.{part}_proj.weight" for expert in range(count))
        yield Place(f"{theirs}ffn_{part}_exps.weight", names, _stack, torch.unbind)


def _norm(stored: str, name: str, config: ModelConfig) -> Iterator[Place]:
    for kind in _kinds(biased=config.norm == "layernorm"):
        yield _same(f"{stored}.{kind}", f"{name}.{kind}")


def _kinds(*, biased: bool) -> tuple[str, ...]:
    return ("weight", "bias") if biased else ("weight",)


def _same(stored: str, name: str) -> Place:
    return Place(stored, (name,), lambda parts: parts[0], lambda whole: (whole,))


def _turned(stored: str, name: str, config: ModelConfig) -> Place:
    """Rows of each head: ours are all first numbers of the rotary pairs, then all second ones;
    theirs go pair by pair."""
    half = config.head_dim // 2

    def join(parts: Sequence[Tensor]) -> Tensor:
        return parts[0].unflatten(0, (-1, 2, half)).transpose(1, 2).flatten(0, 2)

    def split(whole: Tensor) -> Sequence[Tensor]:
        return (whole.unflatten(0, (-1, half, 2)).transpose(1, 2).flatten(0, 2),)

    return Place(stored, (name,), join, split)


def _joined(stored: str, names: tuple[str, ...], config: ModelConfig) -> Place:
    """Queries, keys and values one below the other."""
    keys = config.kv_heads * config.head_dim
    rows = [config.heads * config.head_dim, keys, keys]

    def join(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))

    def split(whole: Tensor) -> Sequence[Tensor]:
        return whole.split(rows)

    return Place(stored, names, join, split)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts))
