"""The shapes of the families: whatever the user left out, filled in. Loads no torch."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from cloche.errors import SettingError, join_problems
from cloche.model.config import (
    GPT_FAMILIES,
    Activation,
    Family,
    ModelConfig,
    ModelOptions,
    Norm,
    Positions,
    Size,
    nearest_multiple,
)
from cloche.model.rope import RopeScaling, ntk_theta

Value = TypeVar("Value")


@dataclass(frozen=True)
class Traits:
    """What the blocks of a family are made of, unless the user says otherwise."""

    norm: Norm
    positions: Positions
    activation: Activation
    qk_norm: bool
    biased: bool
    """Bias of the attention's output projection and of the MLP."""
    qkv_bias: bool = False
    tied: bool | None = None
    """Whether the head is the embedding; as planned where the family does not care."""


QWEN3 = Traits("rmsnorm", "rotary", "swiglu", qk_norm=True, biased=False)
GPT = Traits("layernorm", "learned", "gelu_tanh", qk_norm=False, biased=True)
TRAITS: dict[Family, Traits] = {
    "qwen3": QWEN3,
    "moe": QWEN3,
    "llama": replace(QWEN3, qk_norm=False),
    "gpt": GPT,
    "gpt2": replace(GPT, qkv_bias=True, tied=True),
    "seq2seq": Traits(
        "layernorm", "sinusoidal", "relu", qk_norm=False, biased=True, qkv_bias=True, tied=True
    ),
}
GPT2_CONTEXT = 1024
GPT2_SIZES: dict[Size, tuple[int, int, int]] = {  # layers, heads, width
    "small": (12, 12, 768),
    "medium": (24, 16, 1024),
    "large": (36, 20, 1280),
    "xl": (48, 25, 1600),
}
"""Radford et al. 2019, table 2; small has 124M parameters, the paper's 117M was a miscount."""
EXPERTS, EXPERTS_USED = 8, 2
BALANCE = 0.001
"""Qwen3-MoE's weight of the balancing loss."""
NGRAM_ORDER = 5
NGRAM_CONTEXT = 128
"""Tokens read at once; a counted model uses the last few, and is as good with few as with many."""
MAX_NGRAMS = 20_000_000
NORM_EPS: dict[Norm, float] = {"rmsnorm": 1e-6, "layernorm": 1e-5}


def complete(
    options: ModelOptions,
    *,
    vocab_size: int,
    layers: int,
    width: int,
    context: int,
    dropout: float = 0.0,
    tied: bool = False,
) -> ModelConfig:
    """The whole description of a model: the user's options, the rest from the family.

    `layers`, `width`, `context`, `dropout` and `tied` are what was planned; each counts only
    where the user said nothing. Raises SettingError with everything that does not fit together.
    """
    _raise_any(option_problems(options))
    if options.family == "ngram":
        return _ngram(options, vocab_size)
    if options.size is not None:
        options, context = _published_size(options, options.size)
    context = _given(options.context, context)
    if options.family == "bigram":
        return _bigram(vocab_size, context)
    traits = TRAITS[options.family]
    width = _given(options.width, width)
    layers = _given(options.layers, layers)
    heads, head_dim = _heads(
        options.family, width, asked=options.heads, shared_by=_given(options.kv_heads, 1)
    )
    norm: Norm = _given(options.norm, traits.norm)
    activation: Activation = _given(options.activation, traits.activation)
    config = ModelConfig(
        family=options.family,
        vocab_size=vocab_size,
        context=context,
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=_given(options.kv_heads, heads),
        head_dim=head_dim,
        mlp_width=_given(options.mlp_width, _mlp_width(width, activation)),
        norm=norm,
        norm_eps=NORM_EPS[norm],
        positions=_given(options.positions, traits.positions),
        activation=activation,
        dropout=_given(options.dropout, dropout),
        tied=_given(options.tied, tied if traits.tied is None else traits.tied),
        qk_norm=traits.qk_norm,
        qkv_bias=_given(options.qkv_bias, traits.qkv_bias),
        output_bias=traits.biased,
        mlp_bias=traits.biased,
        head_bias=_given(options.head_bias, False),
        window=options.window,
    )
    config = _with_family_parts(_with_rope(config, options), options)
    _raise_any(_uneven_heads(config, options) + config.problems())
    return config


def option_problems(options: ModelOptions) -> list[str]:
    """What cannot be used, whatever the text: the options' own problems, and the family's."""
    found = options.problems()
    traits = TRAITS.get(options.family)
    if traits is None:
        return found
    positions = _given(options.positions, traits.positions)
    if positions != "rotary" and (options.rope_scaling or options.rope_theta):
        found.append(
            "model.rope-theta and model.rope-scaling turn rotary positions; with model.positions "
            f"{positions} leave them out"
        )
    if options.size is not None:
        found += _other_than_published(options, options.size)
    return found


def _other_than_published(options: ModelOptions, size: Size) -> list[str]:
    """What is given beside a size of GPT-2 and is not what it has."""
    layers, heads, width = GPT2_SIZES[size]
    traits = TRAITS["gpt2"]
    published = {
        "layers": layers,
        "heads": heads,
        "width": width,
        "kv_heads": heads,
        "mlp_width": 4 * width,
        "norm": traits.norm,
        "positions": traits.positions,
        "activation": traits.activation,
        "tied": True,
        "qkv_bias": True,
        "head_bias": False,
        "window": None,
    }
    return [
        f"model.{name.replace('_', '-')} {given} is not that of model.size {size}, {value}: "
        "leave one out"
        for name, value in published.items()
        if (given := getattr(options, name)) not in (None, value)
    ]


def _published_size(options: ModelOptions, size: Size) -> tuple[ModelOptions, int]:
    """The options of that size of GPT-2, and its context."""
    layers, heads, width = GPT2_SIZES[size]
    return replace(options, layers=layers, heads=heads, width=width), GPT2_CONTEXT


def _with_rope(config: ModelConfig, options: ModelOptions) -> ModelConfig:
    """The rotary positions as asked for: another base, stretched, or as they are."""
    theta = _given(options.rope_theta, config.rope_theta)
    kind, factor = options.rope_scaling, options.rope_factor
    if kind is None or factor is None:
        return replace(config, rope_theta=theta)
    if kind == "ntk":
        return replace(config, rope_theta=ntk_theta(theta, factor, head_dim=config.head_dim))
    scaling = RopeScaling(kind, factor, original_context=max(1, round(config.context / factor)))
    return replace(config, rope_theta=theta, rope_scaling=scaling)


def _with_family_parts(config: ModelConfig, options: ModelOptions) -> ModelConfig:
    """What one family alone has: experts, or an encoder."""
    if config.family == "moe":
        experts = _given(options.experts, max(EXPERTS, options.experts_used or 0))
        return replace(
            config,
            experts=experts,
            experts_used=_given(options.experts_used, min(EXPERTS_USED, experts)),
            balance=BALANCE,
        )
    if config.family == "seq2seq":
        return replace(
            config,
            encoder_layers=_given(options.encoder_layers, config.layers),
            norm_order=_given(options.norm_order, config.norm_order),
        )
    return config


def _given(asked: Value | None, planned: Value) -> Value:
    return planned if asked is None else asked


def _raise_any(problems: list[str]) -> None:
    if problems:
        raise SettingError(join_problems(problems))


def _bigram(vocab_size: int, context: int) -> ModelConfig:
    """A table as wide as the vocabulary, without blocks or heads."""
    return ModelConfig(
        family="bigram",
        vocab_size=vocab_size,
        context=context,
        width=vocab_size,
        layers=0,
        heads=1,
        kv_heads=1,
        head_dim=1,
        mlp_width=0,
        positions="none",
        qk_norm=False,
    )


def _ngram(options: ModelOptions, vocab_size: int) -> ModelConfig:
    """Tables of n-grams, nothing counted yet.

    To the cache it is one layer with one head, which remembers ids: see `ngram.py`.
    """
    order = _given(options.order, NGRAM_ORDER)
    config = ModelConfig(
        family="ngram",
        vocab_size=vocab_size,
        context=_given(options.context, NGRAM_CONTEXT),
        width=order,
        layers=1,
        heads=1,
        kv_heads=1,
        head_dim=3,
        mlp_width=0,
        positions="none",
        qk_norm=False,
        order=order,
        smoothing=_given(options.smoothing, "kneser-ney"),
        ngrams=(vocab_size,) + (0,) * (order - 1),
    )
    _raise_any(config.problems())
    return config


def _heads(family: Family, width: int, *, asked: int | None, shared_by: int) -> tuple[int, int]:
    """Number of heads and length of one: as asked, else 64 long (32 in a narrow model).

    Where nothing was asked, `shared_by` divides their number if any length allows it.
    """
    if family not in GPT_FAMILIES and width % 2 and asked in (None, 1):
        return 1, max(2, width - 1)  # rotary positions turn pairs: no heads can share an odd width
    if asked is not None:
        return asked, max(1, width // asked)
    target = min(64 if width >= 256 else 32, width)
    even = 1 if family in GPT_FAMILIES else 2
    lengths = [n for n in range(even, width + 1, even) if width % n == 0]
    fitting = [length for length in lengths if width // length % shared_by == 0] or lengths
    if family in GPT_FAMILIES:  # the longest that is not longer than the target
        head_dim = max((n for n in fitting if n <= target), default=min(fitting))
    else:
        head_dim = min(fitting, key=lambda length: abs(math.log(length / target)))
    return width // head_dim, head_dim


def _mlp_width(width: int, activation: Activation) -> int:
    """4 x width; a gated MLP has three matrices instead of two, so 2/3 of that, rounded to 64."""
    if activation == "swiglu":
        return nearest_multiple(round(8 * width / 3), 64)
    return 4 * width


def _uneven_heads(config: ModelConfig, options: ModelOptions) -> list[str]:
    """A width the asked heads cannot share (where the configuration itself would allow it)."""
    if options.heads is None or options.family in GPT_FAMILIES or config.width % config.heads == 0:
        return []
    return [
        f"model.width {config.width} is not divisible by model.heads {config.heads}: "
        f"use {nearest_multiple(config.width, config.heads)} or another number of heads"
    ]
