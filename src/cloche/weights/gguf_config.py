"""The keys of a GGUF file that describe a model, both ways.

Only what llama.cpp computes exactly as we do is written; and of what is read, a key that is not
understood is refused unless it says nothing: a setting that were overlooked would be computed
wrongly, in silence.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#standardized-key-value-pairs
"""

from dataclasses import replace
from typing import Any

import numpy as np

from cloche.errors import CheckpointError, join_problems
from cloche.model.config import Family, ModelConfig
from cloche.model.presets import BALANCE, TRAITS
from cloche.weights.gguf_header import GGUFFile
from cloche.weights.gguf_keys import LARGEST, Keys
from cloche.weights.gguf_names import ARCHITECTURES, EMBEDDING, HEAD, Architecture
from cloche.weights.gguf_rope import rope_keys, rope_scaling

ARCHITECTURE_KEY = "general.architecture"
_FAMILIES: dict[Architecture, Family] = {
    "llama": "llama",
    "qwen2": "llama",
    "qwen3": "qwen3",
    "qwen3moe": "moe",
    "gpt2": "gpt2",
}
_MOST_EXPERTS = 2**15
"""In all blocks together; the largest models there are have fewer."""


def read_architecture(file: GGUFFile) -> Architecture:
    """The architecture that a file names, if it is one of ours and the file is a whole model."""
    named = file.values.get(ARCHITECTURE_KEY)
    for architecture in ARCHITECTURES:
        if named == architecture:
            break
    else:
        raise CheckpointError(
            f"{file.path} holds a model of the architecture {named!r}; cloche reads "
            f"{', '.join(ARCHITECTURES)}"
        )
    kind = file.values.get("general.type", "model")
    if kind != "model":
        raise CheckpointError(f"{file.path} holds no model, but a part of one ({kind})")
    if file.values.get("split.count", 1) not in (0, 1):
        raise CheckpointError(
            f"{file.path} is one of {file.values['split.count']} parts of a model: join them first "
            f"with llama-gguf-split --merge"
        )
    return architecture


def read_config(file: GGUFFile, architecture: Architecture) -> ModelConfig:
    """The model that a file's keys describe. Raises CheckpointError where cloche has none such."""
    keys = Keys(file, architecture)
    family = _FAMILIES[architecture]
    traits = TRAITS[family]
    heads, width = keys.whole("attention.head_count"), keys.whole("embedding_length")
    kv_heads = keys.whole("attention.head_count_kv", heads)
    head_dim = keys.whole("attention.key_length", width // heads or 1)
    eps = "layer_norm_epsilon" if traits.norm == "layernorm" else "layer_norm_rms_epsilon"
    config = ModelConfig(
        family=family,
        vocab_size=_vocab_size(file),
        context=keys.whole("context_length"),
        width=width,
        layers=keys.whole("block_count"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        mlp_width=keys.whole("feed_forward_length", 1 if family == "moe" else None),
        norm=traits.norm,
        norm_eps=keys.real(f"attention.{eps}"),
        positions=traits.positions,
        activation=traits.activation,
        tied=_is_tied(file),
        qk_norm=traits.qk_norm,
        qkv_bias="blk.0.attn_q.bias" in file.tensors or architecture == "gpt2",
        output_bias="blk.0.attn_output.bias" in file.tensors or architecture == "gpt2",
        mlp_bias="blk.0.ffn_up.bias" in file.tensors or architecture == "gpt2",
    )
    if family == "moe":
        config = _with_experts(config, keys)
    if config.positions == "rotary":
        config = replace(
            config,
            rope_theta=keys.real("rope.freq_base", 10_000.0),
            rope_scaling=rope_scaling(file, keys, config),
        )
    _check_counts(file, config)
    _check(config, keys)
    return config


def to_keys(config: ModelConfig, architecture: Architecture) -> dict[str, Any]:
    """The keys of a model, as llama.cpp reads them; whole numbers are u32, others f32."""
    eps = "layer_norm_epsilon" if config.norm == "layernorm" else "layer_norm_rms_epsilon"
    keys: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        f"attention.{eps}": config.norm_eps,
    }
    if config.experts:
        keys |= {
            "expert_count": config.experts,
            "expert_used_count": config.experts_used,
            "expert_feed_forward_length": config.mlp_width,
        }
    if config.positions == "rotary":
        keys |= rope_keys(config)
    return {f"{architecture}.{key}": value for key, value in keys.items()}


def _vocab_size(file: GGUFFile) -> int:
    place = file.tensors.get(EMBEDDING)
    if place is None:
        raise CheckpointError(f"{file.path} is not whole: it lacks the tensor {EMBEDDING}")
    if len(place.shape) != 2 or place.shape[0] > LARGEST:
        raise CheckpointError(
            f"{file.path} is damaged: its tensor {EMBEDDING} has the shape {place.shape}"
        )
    return place.shape[0]


def _is_tied(file: GGUFFile) -> bool:
    """Whether the head is the embedding: it has no tensor of its own, or one of equal bytes."""
    head, embedding = file.tensors.get(HEAD), file.tensors[EMBEDDING]
    if head is None:
        return True
    alike = (head.type, head.shape) == (embedding.type, embedding.shape)
    return alike and np.array_equal(file.stored(HEAD), file.stored(EMBEDDING))


def _with_experts(config: ModelConfig, keys: Keys) -> ModelConfig:
    used = keys.whole("expert_used_count")
    return replace(
        config,
        experts=keys.whole("expert_count"),
        experts_used=used,
        mlp_width=keys.whole("expert_feed_forward_length", max(1, config.mlp_width // used)),
        balance=BALANCE,
    )


def _check_counts(file: GGUFFile, config: ModelConfig) -> None:
    """CheckpointError for more blocks or experts than the file has tensors for.

    It comes before anything is built: a number alone must not cost time or memory.
    """
    if config.layers > len(file.tensors):
        raise CheckpointError(
            f"{file.path} is damaged: its keys speak of {config.layers:,} blocks, and it has "
            f"{len(file.tensors)} tensors in all"
        )
    for layer in range(config.layers if config.experts else 0):
        place = file.tensors.get(f"blk.{layer}.ffn_gate_exps.weight")
        found = place.shape[0] if place else 0
        if found != config.experts:
            raise CheckpointError(
                f"{file.path} is damaged: its keys speak of {config.experts:,} experts in each "
                f"block, and block {layer} has {found}"
            )


def _check(config: ModelConfig, keys: Keys) -> None:
    if keys.whole("attention.value_length", config.head_dim) != config.head_dim:
        raise keys.refuse("attention.value_length", "another length than that of keys")
    turned = keys.whole("rope.dimension_count", config.head_dim)
    if config.positions == "rotary" and turned != config.head_dim:
        raise keys.refuse("rope.dimension_count", turned)
    too_large = max(config.heads, config.kv_heads) * config.head_dim > LARGEST
    if too_large or config.layers * max(1, config.experts) > _MOST_EXPERTS:
        raise keys.refuse("attention.head_count", "sizes that no model has")
    keys.check_rest()
    problems = config.problems()
    if problems:
        raise CheckpointError(f"the model cannot be built: {join_problems(problems)}")
