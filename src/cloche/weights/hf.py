"""Hugging Face's words for our models, both ways: the keys of config.json and the tensor names.

The default family is a genuine Qwen3 and is written as one, so that transformers, vLLM and
llama.cpp open it without a line of our code. What no existing class can express is written under
the model type `cloche`, with the fields of `ModelConfig` as keys.
"""

from dataclasses import MISSING, asdict, fields
from typing import Any

from cloche.errors import CheckpointError, join_problems
from cloche.model.config import ModelConfig
from cloche.text.tokenizer import SpecialIds

PREFIX = "model."
HEAD = "lm_head."
TIED_HEAD = "lm_head.weight"
OWN_TYPE = "cloche"
DROPOUT = "cloche_dropout"
"""Ours beside Qwen3's keys: dropout acts on attention, both branches and the embedding."""


def to_hf_config(config: ModelConfig, special_ids: SpecialIds) -> dict[str, Any]:
    """The contents of config.json for a model and the special tokens of its tokenizer."""
    described = _to_qwen3(config) if is_qwen3(config) else _to_own(config)
    return described | {
        "dtype": "float32",
        "torch_dtype": "float32",  # the name before transformers 4.56
        "bos_token_id": special_ids.bos,
        "eos_token_id": special_ids.eos,
        "pad_token_id": special_ids.pad,
    }


def from_hf_config(values: dict[str, Any]) -> ModelConfig:
    """The model that the contents of a config.json describe.

    Raises CheckpointError where cloche has no such model.
    """
    model_type = values.get("model_type")
    if model_type == "qwen3":
        config = _from_qwen3(values)
    elif model_type == OWN_TYPE:
        config = _from_own(values)
    else:
        raise CheckpointError(
            f"config.json describes a model of type {model_type!r}; "
            f"cloche opens the types 'qwen3' and '{OWN_TYPE}'"
        )
    problems = config.problems()
    if problems:
        raise CheckpointError(f"config.json cannot be used: {join_problems(problems)}")
    return config


def is_qwen3(config: ModelConfig) -> bool:
    """Whether Qwen3's own class computes exactly this model."""
    return (
        config.family == "qwen3"
        and (config.norm, config.positions, config.activation) == ("rmsnorm", "rotary", "swiglu")
        and config.qk_norm
        and config.qkv_bias == config.output_bias
        and not config.mlp_bias
        and not config.head_bias
    )


def to_hf_name(name: str) -> str:
    """The name in the file of a parameter: everything but the head lies under `model.`."""
    return name if name.startswith(HEAD) else PREFIX + name


def from_hf_name(name: str) -> str:
    """The name in the model of a tensor in the file."""
    return name.removeprefix(PREFIX)


def _to_qwen3(config: ModelConfig) -> dict[str, Any]:
    described = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
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
        "rope_theta": config.rope_theta,  # read by transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},  # by 5
        "attention_bias": config.qkv_bias,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
    }
    return described | ({DROPOUT: config.dropout} if config.dropout else {})


def _from_qwen3(values: dict[str, Any]) -> ModelConfig:
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    _refuse_unknown_mechanisms(values, rope)
    biased = bool(values.get("attention_bias", False))
    heads = _required(values, "num_attention_heads")
    return ModelConfig(
        family="qwen3",
        vocab_size=_required(values, "vocab_size"),
        context=_required(values, "max_position_embeddings"),
        width=_required(values, "hidden_size"),
        layers=_required(values, "num_hidden_layers"),
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or 128,  # the default of Qwen3's class
        mlp_width=_required(values, "intermediate_size"),
        norm_eps=float(values.get("rms_norm_eps", 1e-6)),
        rope_theta=float(rope.get("rope_theta") or values.get("rope_theta") or 10_000.0),
        dropout=float(values.get(DROPOUT, 0.0)),
        tied=bool(values.get("tie_word_embeddings", False)),
        qkv_bias=biased,
        output_bias=biased,
    )


def _refuse_unknown_mechanisms(values: dict[str, Any], rope: dict[str, Any]) -> None:
    """CheckpointError for what would be computed wrongly if it were overlooked."""
    found = []
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        found.append(f"rotary positions of kind {kind!r} (only 'default')")
    if values.get("hidden_act", "silu") != "silu":
        found.append(f"the activation {values['hidden_act']!r} (only 'silu')")
    if values.get("use_sliding_window"):
        found.append("sliding-window attention")
    if found:
        raise CheckpointError(
            f"config.json asks for {' and '.join(found)}; cloche has no such part"
        )


def _to_own(config: ModelConfig) -> dict[str, Any]:
    own = {name: value for name, value in asdict(config).items() if value not in (None, ())}
    return {"architectures": ["ClocheForCausalLM"], "model_type": OWN_TYPE} | own


def _from_own(values: dict[str, Any]) -> ModelConfig:
    given = {}
    for field in fields(ModelConfig):
        if field.default is MISSING:
            given[field.name] = _required(values, field.name)
        elif field.name in values:
            value = values[field.name]
            given[field.name] = tuple(value) if isinstance(value, list) else value
    return ModelConfig(**given)


def _required(values: dict[str, Any], key: str) -> Any:
    if values.get(key) is None:
        raise CheckpointError(f"config.json lacks {key}; it is not whole")
    return values[key]
