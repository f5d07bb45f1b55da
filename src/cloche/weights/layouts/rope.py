"""Rotary positions in config.json, both ways.

transformers 4 has `rope_theta` and `rope_scaling`, transformers 5 has both in `rope_parameters`:
written are all, read is whichever is there, `rope_scaling` first as transformers does.
"""

import math
from typing import Any

from cloche.model.config import ModelConfig
from cloche.model.rope import RopeScaling
from cloche.weights.layouts.values import Values

DEFAULT_THETA = 10_000.0
STRETCHED_FROM = "cloche_stretched_from"
"""Ours: the original context of linear scaling, for which Hugging Face has no key."""


def describe_rope(config: ModelConfig) -> dict[str, Any]:
    """The keys of config.json for a model's rotary positions."""
    theta, scaling = config.rope_theta, config.rope_scaling
    if scaling is None:
        return {
            "rope_theta": theta,
            "rope_scaling": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        }
    parts: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        parts["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        parts["low_freq_factor"] = scaling.low_frequency_factor
        parts["high_freq_factor"] = scaling.high_frequency_factor
    if scaling.kind == "yarn":
        parts |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        if scaling.attention_factor is not None:
            parts["attention_factor"] = scaling.attention_factor
    own = {STRETCHED_FROM: scaling.original_context} if scaling.kind == "linear" else {}
    return {
        "rope_theta": theta,
        "rope_scaling": parts,
        "rope_parameters": parts | {"rope_theta": theta},
        **own,
    }


def rope_obstacles(config: ModelConfig) -> list[str]:
    """What of a model's rotary scaling would be lost in config.json."""
    scaling = config.rope_scaling
    if scaling is None:
        return []
    kept = _only_meaningful(scaling)
    return [] if kept == scaling else ["rotary scaling with settings of another kind"]


def read_rope(values: Values, *, context: int) -> tuple[float, RopeScaling | None]:
    """Base and stretching of the rotary positions. Raises CheckpointError for unknown kinds."""
    rope = values.section("rope_scaling") or values.section("rope_parameters")
    top = values.number("rope_theta", DEFAULT_THETA)
    if values.number("partial_rotary_factor", 1.0) != 1.0:
        values.refuse(["rotary positions in a part of each head (partial_rotary_factor)"])
    if rope is None:
        return top, None
    theta = rope.number("rope_theta", top)
    if rope.number("partial_rotary_factor", 1.0) != 1.0:
        values.refuse(["rotary positions in a part of each head (partial_rotary_factor)"])
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind in ("default", "dynamic"):
        # dynamic scaling only sets in beyond max_position_embeddings, where our context ends
        return theta, None
    if kind == "linear":
        factor = rope.number("factor")
        original = values.count(STRETCHED_FROM, default=max(1, round(context / max(factor, 1.0))))
        return theta, RopeScaling("linear", factor, original)
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3",
            rope.number("factor"),
            rope.count("original_max_position_embeddings", default=context),
            low_frequency_factor=rope.number("low_freq_factor"),
            high_frequency_factor=rope.number("high_freq_factor"),
        )
    if kind == "yarn":
        return theta, _read_yarn(values, rope, context=context)
    values.refuse([f"rotary positions of kind {kind!r} (known: default, linear, llama3, yarn)"])
    raise AssertionError("refused above")


def _read_yarn(values: Values, rope: Values, *, context: int) -> RopeScaling:
    if not rope.flag("truncate", default=True):
        values.refuse(["YaRN without rounding its range of frequencies (truncate: false)"])
    original = values.count(
        "original_max_position_embeddings",
        default=rope.count("original_max_position_embeddings", default=context),
    )
    factor = rope.number("factor", context / original)
    attention = rope.number("attention_factor") if rope.given("attention_factor") else None
    first, second = rope.number("mscale", 0.0), rope.number("mscale_all_dim", 0.0)
    if attention is None and first and second:  # as DeepSeek's models have it
        attention = _sharpening(factor, first) / _sharpening(factor, second)
    return RopeScaling(
        "yarn",
        factor,
        original,
        beta_fast=rope.number("beta_fast", 0.0) or 32.0,
        beta_slow=rope.number("beta_slow", 0.0) or 1.0,
        attention_factor=attention,
    )


def _sharpening(factor: float, scale: float) -> float:
    """How much cosines and sines grow: Peng et al. 2023, https://arxiv.org/abs/2309.00071"""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _only_meaningful(scaling: RopeScaling) -> RopeScaling:
    """The same with the settings that its kind does not heed at their defaults."""
    plain = RopeScaling(scaling.kind, scaling.factor, scaling.original_context)
    if scaling.kind == "llama3":
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        return RopeScaling(
            "llama3",
            plain.factor,
            plain.original_context,
            low_frequency_factor=low,
            high_frequency_factor=high,
        )
    if scaling.kind == "yarn":
        return RopeScaling(
            "yarn",
            plain.factor,
            plain.original_context,
            beta_fast=scaling.beta_fast,
            beta_slow=scaling.beta_slow,
            attention_factor=scaling.attention_factor,
        )
    return plain
