"""What no existing class expresses: the model type `cloche`, `ModelConfig`'s fields as keys."""

from dataclasses import MISSING, asdict, fields, replace
from typing import Any

from cloche.config import with_values
from cloche.errors import CheckpointError, SettingError
from cloche.model.config import Family, ModelConfig
from cloche.model.rope import RopeScaling
from cloche.weights.layouts.blocks import BLOCK_NAMES
from cloche.weights.layouts.layout import Layout
from cloche.weights.layouts.values import Values

OWN_TYPE = "cloche"
FAMILIES: tuple[Family, ...] = (
    *("qwen3", "moe", "llama", "gpt", "gpt2", "seq2seq", "bigram", "ngram"),
)
EMPTY = ModelConfig(
    family="gpt",
    vocab_size=1,
    context=1,
    width=1,
    layers=1,
    heads=1,
    kv_heads=1,
    head_dim=1,
    mlp_width=1,
)
"""Filled by the keys of a file, all of which must be there that have no default."""
ROPE = "rope_scaling"
BESIDE = {"architectures", "model_type", "dtype", "torch_dtype", "transformers_version"}
OTHERS, OURS = "_token_id", "cloche_"
"""Other keys end or begin so; none of them describes a part of the model."""


def _to_values(config: ModelConfig) -> dict[str, Any]:
    own = {name: value for name, value in asdict(config).items() if value not in (None, ())}
    return {"architectures": ["ClocheForCausalLM"], "model_type": OWN_TYPE} | own


def _from_values(values: Values) -> ModelConfig:
    _refuse_unknown_keys(values)
    lacking = [
        field.name
        for field in fields(ModelConfig)
        if field.default is MISSING and not values.given(field.name)
    ]
    if lacking:
        raise CheckpointError(f"{values.name} lacks {', '.join(lacking)}; it is not whole")
    given = {
        field.name: values.raw(field.name)
        for field in fields(ModelConfig)
        if values.given(field.name)
    }
    scaling = given.pop(ROPE, None)
    try:
        config = with_values(EMPTY, given, source=values.name)
        if scaling is None:
            return config
        if not isinstance(scaling, dict):
            raise CheckpointError(f"{values.name}: {ROPE} must be an object, not {scaling!r:.80}")
        unstretched = RopeScaling("linear", 1.0, 1)
        stretched = with_values(unstretched, scaling, source=f"{values.name}, {ROPE}")
    except SettingError as exc:
        raise CheckpointError(str(exc)) from exc
    return replace(config, rope_scaling=stretched)


def _refuse_unknown_keys(values: Values) -> None:
    """CheckpointError for parts that this version does not know, and would leave out."""
    known = {field.name for field in fields(ModelConfig)} | BESIDE
    unknown = [
        key
        for key in values.keys()  # noqa: SIM118  no dict
        if key not in known and not key.endswith(OTHERS) and not key.startswith(OURS)
    ]
    if unknown:
        raise CheckpointError(
            f"{values.name} has keys that this version of cloche does not know: "
            f"{', '.join(unknown)}. Take the version that wrote it, or a newer one"
        )


OWN = Layout(
    model_type=OWN_TYPE,
    families=FAMILIES,
    obstacles=lambda config: [],  # noqa: ARG005  none for any model of ours
    to_values=_to_values,
    from_values=_from_values,
    names=BLOCK_NAMES,
)
