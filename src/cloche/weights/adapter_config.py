"""The contents of PEFT's adapter_config.json, both ways.

Source: https://huggingface.co/docs/peft/package_reference/lora
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.config import ModelConfig
from cloche.model.lora import PARTS, LoraWeights
from cloche.model.lora_config import LoraConfig
from cloche.weights.adapter_names import listed_problems, stored_layer
from cloche.weights.layouts.values import Values

KIND = "LORA"
HEAD_LAYER = "lm_head"
UNHEEDED = frozenset(
    (
        *("auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config"),
        *("exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights"),
        *("layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core"),
        *("modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "revision"),
        *("runtime_config", "target_modules", "task_type", "use_dora", "use_rslora"),
    )
)
"""Keys that are read below, or that say nothing that the tensors' own names do not say."""
HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to draw the first weights that leave the base's matrices as they are."""


def to_peft_config(
    weights: LoraWeights, model: ModelConfig, *, linear: Sequence[str], base: str
) -> dict[str, Any]:
    """The contents of adapter_config.json; `linear` names all linear layers of the base."""
    config = weights.config
    replaced = {name.rpartition(".")[0] for name in weights.replaced}
    alpha = config.alpha
    # a copy of the embedding stands for embedding and head, where these are one
    tying = {"ensure_weight_tying": True} if model.tied and HEAD_LAYER in replaced else {}
    return tying | {
        "peft_type": KIND,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "target_modules": _targets(weights.layers, model, linear),
        "modules_to_save": sorted(stored_layer(name, model) for name in replaced) or None,
    }


def from_peft_config(values: Values, tensors: Mapping[str, Tensor]) -> LoraConfig:
    """What an adapter is made of, as its config.json says and its tensors bear out.

    Raises CheckpointError with everything that cloche does not compute.
    """
    kind = values.text("peft_type", "")
    if kind != KIND:
        named = f"of the kind {kind!r:.60}" if kind else "of no kind (it has no peft_type)"
        raise CheckpointError(
            f"{values.name} describes an adapter {named}; cloche knows the kind {KIND} alone"
        )
    problems = _unknown_settings(values)
    if problems:
        raise CheckpointError(f"{values.name}: {listed_problems(problems)}")
    layers = [name.removesuffix(f".{PARTS[0]}") for name in tensors if name.endswith(PARTS[0])]
    config = LoraConfig(
        rank=values.count("r"),
        alpha=values.number("lora_alpha", 8),
        dropout=values.number("lora_dropout", 0.0),
        rslora=values.flag("use_rslora", default=False),
        dora=values.flag("use_dora", default=False),
        targets=tuple(layers),
    )
    problems = config.problems() + _contradictions(config, tensors)
    if problems:
        raise CheckpointError(f"{values.name} cannot be used: {listed_problems(problems)}")
    return config


def _targets(layers: Sequence[str], model: ModelConfig, linear: Sequence[str]) -> list[str]:
    """The layers' last names where these mean no other layer, else their whole names."""
    short = {name.rpartition(".")[2] for name in layers}
    meant = {name for name in linear if name.rpartition(".")[2] in short}
    if meant == set(layers):
        return sorted(short)
    return [stored_layer(name, model) for name in layers]


def _unknown_settings(values: Values) -> list[str]:
    found = [
        f"{key} is {values.raw(key)!r:.80}, which cloche does not compute"
        for key in sorted(set(values.keys()) - UNHEEDED)
        if values.raw(key)
    ]
    start = values.raw("init_lora_weights")
    if start not in HARMLESS_STARTS:
        found.append(
            f"init_lora_weights is {start!r:.80}, which changes the base's own matrices: have PEFT "
            "save it as a plain adapter (path_initial_model_for_weight_conversion)"
        )
    return found


def _contradictions(config: LoraConfig, tensors: Mapping[str, Tensor]) -> list[str]:
    """Tensors that are not what the settings say, or that lack their other half."""
    found = []
    ranks = {PARTS[0]: 0, PARTS[1]: 1}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part in ranks:
            other = PARTS[1] if part == PARTS[0] else PARTS[0]
            if tensor.ndim != 2 or tensor.shape[ranks[part]] != config.rank:
                found.append(f"{name} is {list(tensor.shape)}, and r is {config.rank}")
            if f"{layer}.{other}" not in tensors:
                found.append(f"{name} is there, {layer}.{other} is not")
        elif not config.dora:
            found.append(f"{name} is there, and use_dora is false")
        if config.dora and part == PARTS[0] and f"{layer}.{PARTS[2]}" not in tensors:
            found.append(f"use_dora is true, and {layer}.{PARTS[2]} is missing")
    return found
