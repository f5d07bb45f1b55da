"""What Qwen3, Qwen3-MoE, Llama and Qwen2 have in common on disk: keys and tensor names.

Our own tensor names are theirs without `model.`, so hardly anything is renamed.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cloche.model.config import ModelConfig
from cloche.weights.layouts.layout import Names, untied
from cloche.weights.layouts.rope import describe_rope, read_rope, rope_obstacles
from cloche.weights.layouts.values import Values

PREFIX = "model."
HEAD_PREFIX = "lm_head."
DROPOUT = "cloche_dropout"
"""Ours beside their keys: dropout acts on attention, both branches and the embedding."""


def block_obstacles(config: ModelConfig) -> list[str]:
    """What none of these classes computes."""
    found = []
    if config.norm != "rmsnorm":
        found.append(f"the norm {config.norm}")
    if config.positions != "rotary":
        found.append(f"{config.positions} positions")
    if config.activation != "swiglu":
        found.append(f"an MLP with {config.activation}")
    if config.head_bias:
        found.append("a bias of the output head")
    if config.full_layers and config.window is None:
        found.append("layers without a window where no layer has one")
    return found + rope_obstacles(config)


def read_blocks(values: Values) -> dict[str, Any]:
    """What config.json says in the same keys for all of them, as fields of our description."""
    require_silu(values)
    context, heads = values.count("max_position_embeddings"), values.count("num_attention_heads")
    theta, scaling = read_rope(values, context=context)
    return {
        "vocab_size": values.count("vocab_size"),
        "context": context,
        "width": values.count("hidden_size"),
        "layers": values.count("num_hidden_layers"),
        "heads": heads,
        "kv_heads": values.count("num_key_value_heads", default=heads),
        "norm_eps": values.number("rms_norm_eps", 1e-6),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "dropout": values.number(DROPOUT, 0.0),
        "tied": values.flag("tie_word_embeddings", default=False),
    }


def describe_blocks(config: ModelConfig, *, model_type: str, architecture: str) -> dict[str, Any]:
    """The keys that all these classes share."""
    described = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_width,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        **describe_rope(config),
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
    }
    return described | ({DROPOUT: config.dropout} if config.dropout else {})


def require_silu(values: Values) -> None:
    """CheckpointError where the MLP's gate is another than SiLU."""
    activation = values.text("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        values.refuse([f"the activation {activation!r} (only 'silu')"])


def describe_window(config: ModelConfig) -> dict[str, Any]:
    """The keys of Qwen2 and Qwen3 for attention that reaches back a number of tokens only."""
    if config.window is None:
        return {"use_sliding_window": False}
    full = config.full_layers
    return {
        "use_sliding_window": True,
        "sliding_window": config.window,
        "max_window_layers": full,
        "layer_types": ["full_attention"] * full + ["sliding_attention"] * (config.layers - full),
    }


def window_obstacles(config: ModelConfig) -> list[str]:
    """What their keys cannot say of a window."""
    if config.window is not None and config.full_layers >= config.layers:
        return ["a window that no layer heeds"]
    return []


def read_window(values: Values, *, layers: int) -> tuple[int | None, int]:
    """The window, and how many of the first layers heed none. Raises CheckpointError."""
    if not values.flag("use_sliding_window", default=False):
        return None, 0
    window = values.count("sliding_window", default=4096)  # the default of both classes
    full = values.number("max_window_layers", 28)  # the default of both classes
    kinds = values.raw("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers:
            values.refuse([f"layer_types that are no list of {layers}"])
        full = next((n for n, kind in enumerate(kinds) if kind != "full_attention"), layers)
        if any(kind != "sliding_attention" for kind in kinds[int(full) :]):
            values.refuse(["layers with and without a window in turns (layer_types)"])
    return (None, 0) if full >= layers else (window, int(full))


def _canonical(name: str) -> str | None:
    """The stored name: everything but the head lies under `model.`."""
    if name.endswith(".rotary_emb.inv_freq"):  # a table that old versions stored
        return None
    return name if name.startswith((PREFIX, HEAD_PREFIX)) else PREFIX + name


def _to_stored(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The tensors under their stored names."""
    return {
        name if name.startswith(HEAD_PREFIX) else PREFIX + name: tensor
        for name, tensor in untied(tensors, config).items()
    }


def _from_stored(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The tensor under the model's name."""
    return {name.removeprefix(PREFIX): tensor}


BLOCK_NAMES = Names(
    embedding=f"{PREFIX}embed_tokens.weight",
    canonical=_canonical,
    to_stored=_to_stored,
    from_stored=_from_stored,
)
