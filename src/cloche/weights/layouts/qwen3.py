"""Qwen3 and its mixture of experts: the default family, and moe.

Source: https://huggingface.co/docs/transformers/model_doc/qwen3 and .../qwen3_moe
"""

from typing import Any

from cloche.model.config import ModelConfig
from cloche.weights.layouts.blocks import (
    BLOCK_NAMES,
    block_obstacles,
    describe_blocks,
    describe_window,
    read_blocks,
    read_window,
    window_obstacles,
)
from cloche.weights.layouts.layout import Layout
from cloche.weights.layouts.values import Values


def _obstacles(config: ModelConfig) -> list[str]:
    found = block_obstacles(config)
    if not config.qk_norm:
        found.append("queries and keys that are not normalised")
    if config.qkv_bias != config.output_bias:
        found.append("biases in a part of attention only")
    if config.mlp_bias:
        found.append("biases in the MLP")
    return found


def _dense_obstacles(config: ModelConfig) -> list[str]:
    experts = ["experts"] if config.experts else []
    return _obstacles(config) + window_obstacles(config) + experts


def _moe_obstacles(config: ModelConfig) -> list[str]:
    found = _obstacles(config)
    if not config.experts:
        found.append("a single MLP in each block")
    if config.window is not None and config.full_layers:
        found.append("a window that only some layers heed")
    return found


def _to_values(config: ModelConfig) -> dict[str, Any]:
    described = describe_blocks(config, model_type="qwen3", architecture="Qwen3ForCausalLM")
    return described | {"attention_bias": config.qkv_bias, **describe_window(config)}


def _from_values(values: Values) -> ModelConfig:
    return ModelConfig(
        family="qwen3",
        mlp_width=values.count("intermediate_size"),
        # 128 is the default of Qwen3's class
        **_shared(values, head_dim=values.count("head_dim", default=128)),
    )


def _moe_to_values(config: ModelConfig) -> dict[str, Any]:
    described = describe_blocks(config, model_type="qwen3_moe", architecture="Qwen3MoeForCausalLM")
    window = {"use_sliding_window": config.window is not None, "sliding_window": config.window}
    return described | {
        "attention_bias": config.qkv_bias,
        **window,
        "num_experts": config.experts,
        "num_experts_per_tok": config.experts_used,
        "moe_intermediate_size": config.mlp_width,
        "norm_topk_prob": config.normalised_experts,
        "router_aux_loss_coef": config.balance,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _moe_from_values(values: Values) -> ModelConfig:
    dense = values.raw("mlp_only_layers")
    if values.count("decoder_sparse_step", default=1) != 1 or dense:
        values.refuse(
            ["layers with experts and layers without (decoder_sparse_step or mlp_only_layers)"]
        )
    width, heads = values.count("hidden_size"), values.count("num_attention_heads")
    shared = _shared(values, head_dim=values.count("head_dim", default=max(1, width // heads)))
    if values.flag("use_sliding_window", default=False):
        shared |= {"window": values.count("sliding_window", default=4096), "full_layers": 0}
    return ModelConfig(
        family="moe",
        mlp_width=values.count("moe_intermediate_size"),
        experts=values.count("num_experts", "num_local_experts"),
        experts_used=values.count("num_experts_per_tok"),
        normalised_experts=values.flag("norm_topk_prob", default=False),
        balance=values.number("router_aux_loss_coef", 0.001),
        **shared,
    )


def _shared(values: Values, *, head_dim: int) -> dict[str, Any]:
    """What both classes have, as fields of our description."""
    fields = read_blocks(values)
    window, full_layers = read_window(values, layers=fields["layers"])
    biased = values.flag("attention_bias", default=False)
    return fields | {
        "head_dim": head_dim,
        "window": window,
        "full_layers": full_layers,
        "qk_norm": True,
        "qkv_bias": biased,
        "output_bias": biased,
    }


QWEN3 = Layout(
    model_type="qwen3",
    families=("qwen3",),
    obstacles=_dense_obstacles,
    to_values=_to_values,
    from_values=_from_values,
    names=BLOCK_NAMES,
)
QWEN3_MOE = Layout(
    model_type="qwen3_moe",
    families=("moe",),
    obstacles=_moe_obstacles,
    to_values=_moe_to_values,
    from_values=_moe_from_values,
    names=BLOCK_NAMES,
)
