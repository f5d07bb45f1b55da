"""Which layout a model has on disk, and the contents of config.json, both ways.

A model that an existing class of Hugging Face computes exactly is written as that class, so that
transformers, vLLM and llama.cpp open it without a line of our code.
"""

from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError, join_problems
from cloche.model.config import ModelConfig
from cloche.text.tokenizer import SpecialIds
from cloche.weights.layouts.gpt2 import GPT2
from cloche.weights.layouts.layout import Layout
from cloche.weights.layouts.llama import LLAMA, MISTRAL, QWEN2
from cloche.weights.layouts.own import OWN
from cloche.weights.layouts.qwen3 import QWEN3, QWEN3_MOE
from cloche.weights.layouts.values import LARGEST_COUNT, Values

FOREIGN = (QWEN3, QWEN3_MOE, LLAMA, MISTRAL, QWEN2, GPT2)
LAYOUTS = (*FOREIGN, OWN)


def layout_of(config: ModelConfig, *, folder: Path | None = None) -> Layout:
    """The layout that a model is written in: the first that expresses it, else our own.

    Beside a tokenizer that lies in `folder`, only one whose class leaves that as it is.
    """
    return next(
        layout
        for layout in LAYOUTS
        if layout.expresses(config) and (folder is None or layout.keeps_tokenizer(folder))
    )


def obstacles_to_others(config: ModelConfig) -> list[str]:
    """What keeps a model out of the layout that its family is written in, a few words each.

    Empty where it is written so, and for families that no class of Hugging Face computes.
    """
    if layout_of(config) is not OWN:
        return []
    found = [layout.obstacles(config) for layout in FOREIGN if config.family in layout.families]
    return min(found, key=len, default=[])


def layout_in(values: dict[str, Any]) -> Layout:
    """The layout of a folder with these contents of config.json. Raises CheckpointError."""
    _refuse_quantized(values)
    model_type = values.get("model_type")
    for layout in LAYOUTS:
        if layout.model_type == model_type:
            return layout
    known = ", ".join(layout.model_type for layout in LAYOUTS)
    kind = (
        "of no type (it has no model_type)" if model_type is None else f"of type {model_type!r:.80}"
    )
    raise CheckpointError(f"config.json describes a model {kind}; cloche opens the types {known}")


def to_hf_config(config: ModelConfig, special_ids: SpecialIds) -> dict[str, Any]:
    """The contents of config.json for a model and the special tokens of its tokenizer."""
    return in_layout(layout_of(config), config, special_ids, dtype="float32")


def in_layout(
    layout: Layout, config: ModelConfig, special_ids: SpecialIds, *, dtype: str
) -> dict[str, Any]:
    """The same for a layout that has no obstacles to the model, and weights of that dtype."""
    return layout.to_values(config) | {
        "dtype": dtype,
        "torch_dtype": dtype,  # the name before transformers 4.56
        "bos_token_id": special_ids.bos,
        "eos_token_id": special_ids.eos,
        "pad_token_id": special_ids.pad,
    }


def from_hf_config(values: dict[str, Any]) -> ModelConfig:
    """The model that the contents of a config.json describe.

    Raises CheckpointError where cloche has no such model.
    """
    config = layout_in(values).from_values(Values(values))
    problems = _impossible_sizes(config) or config.problems()
    if problems:
        raise CheckpointError(f"config.json cannot be used: {join_problems(problems)}")
    return config


def _refuse_quantized(values: dict[str, Any]) -> None:
    found = values.get("quantization_config") or values.get("compression_config")
    if not found:
        return
    method = found.get("quant_method") if isinstance(found, dict) else None
    raise CheckpointError(
        f"config.json says that the weights are quantized ({method or 'by an unnamed method'}), "
        "which cloche does not read: take the model's folder with float32, float16 or bfloat16 "
        "weights, or its GGUF file"
    )


def _impossible_sizes(config: ModelConfig) -> list[str]:
    """Sizes that no model has, one sentence each; a layout may let them pass."""
    least = {
        **dict.fromkeys(("vocab_size", "context", "width", "heads", "kv_heads", "head_dim"), 1),
        **dict.fromkeys(("layers", "mlp_width", "experts", "encoder_layers"), 0),
    }
    return [
        f"{name} cannot be {value}"
        for name, lowest in least.items()
        if not lowest <= (value := getattr(config, name)) <= LARGEST_COUNT
    ]
