"""Llama, Mistral and Qwen2: the family llama, which differs between them in biases and windows.

Source: https://huggingface.co/docs/transformers/model_doc/llama, .../mistral and .../qwen2
"""

from pathlib import Path
from typing import Any

from cloche.model.config import ModelConfig
from cloche.text.files import TOKENIZER_FILE
from cloche.weights.folder import read_json_if_any
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

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 splits text before it merges bytes."""


def _obstacles(config: ModelConfig) -> list[str]:
    found = block_obstacles(config)
    if config.qk_norm:
        found.append("normalised queries and keys")
    if config.experts:
        found.append("experts")
    return found


def _llama_obstacles(config: ModelConfig) -> list[str]:
    found = _obstacles(config)
    if config.qkv_bias != config.output_bias:
        found.append("biases in a part of attention only")
    if config.window is not None:
        found.append("a window")
    return found


def _mistral_obstacles(config: ModelConfig) -> list[str]:
    found = _obstacles(config)
    if config.window is None or config.full_layers:
        found.append("layers without a window")
    if config.qkv_bias or config.output_bias or config.mlp_bias:
        found.append("biases")
    return found


def _qwen2_obstacles(config: ModelConfig) -> list[str]:
    found = _obstacles(config) + window_obstacles(config)
    if not config.qkv_bias or config.output_bias or config.mlp_bias:
        found.append("biases elsewhere than in queries, keys and values")
    if config.head_dim * config.heads != config.width:
        found.append("heads that do not share the width without rest")
    return found


def _llama_to_values(config: ModelConfig) -> dict[str, Any]:
    described = describe_blocks(config, model_type="llama", architecture="LlamaForCausalLM")
    return described | {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}


def _mistral_to_values(config: ModelConfig) -> dict[str, Any]:
    described = describe_blocks(config, model_type="mistral", architecture="MistralForCausalLM")
    return described | {"sliding_window": config.window}


def _qwen2_to_values(config: ModelConfig) -> dict[str, Any]:
    described = describe_blocks(config, model_type="qwen2", architecture="Qwen2ForCausalLM")
    return described | describe_window(config)


def _llama_from_values(values: Values) -> ModelConfig:
    biased = values.flag("attention_bias", default=False)
    return ModelConfig(
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=values.flag("mlp_bias", default=False),
        **_shared(values),
    )


def _mistral_from_values(values: Values) -> ModelConfig:
    window = values.count("sliding_window") if values.given("sliding_window") else None
    return ModelConfig(window=window, **_shared(values))


def _qwen2_from_values(values: Values) -> ModelConfig:
    window, full = read_window(values, layers=values.count("num_hidden_layers"))
    return ModelConfig(qkv_bias=True, window=window, full_layers=full, **_shared(values))


def _shared(values: Values) -> dict[str, Any]:
    """What all three classes have, as fields of our description."""
    fields = read_blocks(values)
    usual = max(1, fields["width"] // fields["heads"])
    return fields | {
        "family": "llama",
        "head_dim": values.count("head_dim", default=usual),
        "mlp_width": values.count("intermediate_size"),
        "qk_norm": False,
    }


LLAMA = Layout(
    model_type="llama",
    families=("llama",),
    obstacles=_llama_obstacles,
    to_values=_llama_to_values,
    from_values=_llama_from_values,
    names=BLOCK_NAMES,
)
MISTRAL = Layout(
    model_type="mistral",
    families=("llama",),
    obstacles=_mistral_obstacles,
    to_values=_mistral_to_values,
    from_values=_mistral_from_values,
    names=BLOCK_NAMES,
)


def _is_qwen2s(folder: Path) -> bool:
    """Whether the tokenizer is of Qwen2's kind.

    transformers 5 has one class for the tokenizers of all folders of type qwen2: it takes the
    vocabulary from tokenizer.json, and normalizes and splits text as Qwen2 does whatever that says.
    """
    saved = read_json_if_any(folder / TOKENIZER_FILE)
    splitting = saved.get("pre_tokenizer")
    parts = splitting.get("pretokenizers") if isinstance(splitting, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return False
    patterns = [part.get("pattern") for part in parts if part.get("type") == "Split"]
    kinds = [part.get("type") for part in parts]
    return (
        saved.get("normalizer") == {"type": "NFC"}
        and kinds == ["Split", "ByteLevel"]
        and patterns == [{"Regex": QWEN2_PATTERN}]
    )


QWEN2 = Layout(
    model_type="qwen2",
    families=("llama",),
    obstacles=_qwen2_obstacles,
    to_values=_qwen2_to_values,
    from_values=_qwen2_from_values,
    names=BLOCK_NAMES,
    keeps_tokenizer=_is_qwen2s,
)
