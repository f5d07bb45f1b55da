"""Formulas against the models they speak of, built and counted."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from cloche.model.build import build_network
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.model.seq2seq import EncoderDecoder
from cloche.planning.flops import (
    active_parameters,
    flops_per_token,
    matrix_parameters,
    parameter_count,
)

TRANSFORMERS = ["qwen3", "moe", "llama", "gpt", "gpt2", "seq2seq"]


ANY_OPTIONS = st.fixed_dictionaries(
    {
        "norm": st.sampled_from(["rmsnorm", "layernorm"]),
        "positions": st.sampled_from(["rotary", "learned", "sinusoidal", "none"]),
        "activation": st.sampled_from(["swiglu", "gelu", "relu_squared"]),
        "qkv_bias": st.booleans(),
        "head_bias": st.booleans(),
        "tied": st.booleans(),
        "mlp_width": st.integers(1, 40),
    }
)
OF_A_FAMILY: dict[str, Any] = {
    "moe": {"experts": st.integers(2, 5)},
    "seq2seq": {
        "encoder_layers": st.integers(1, 3),
        "norm_order": st.sampled_from(["pre", "post"]),
    },
}
CHANGES = st.fixed_dictionaries(
    {
        "head_dim": st.sampled_from([2, 4, 6]),
        "qk_norm": st.booleans(),
        "output_bias": st.booleans(),
        "mlp_bias": st.booleans(),
    }
)


@st.composite
def descriptions(draw: st.DrawFn) -> tuple[dict, dict, dict]:
    """Options, sizes and changes that `any_config` makes a model of.

    The type checker of these tests draws random numbers itself, which hypothesis forbids in here.
    """
    family = draw(st.sampled_from(TRANSFORMERS))
    heads, kv_heads = draw(st.sampled_from([(1, 1), (2, 1), (3, 3), (4, 1), (4, 2)]))
    parts = draw(st.fixed_dictionaries(OF_A_FAMILY.get(family, {})))
    options = {"family": family, "heads": heads, "kv_heads": kv_heads, **parts, **draw(ANY_OPTIONS)}
    sizes = {
        "vocab_size": draw(st.integers(2, 50)),
        "layers": draw(st.integers(1, 3)),
        "width": heads * 2 * draw(st.integers(1, 4)),
        "context": draw(st.integers(1, 9)),
    }
    return options, sizes, draw(CHANGES)


def any_config(description: tuple[dict, dict, dict]) -> ModelConfig:
    options, sizes, changes = description
    return replace(complete(ModelOptions(**options), **sizes), **changes)


@settings(deadline=None, max_examples=80)
@given(descriptions())
def test_the_formula_counts_what_the_built_model_has(description):
    config = any_config(description)
    with torch.device("meta"):
        built = build_network(config)
    assert parameter_count(config) == sum(parameter.numel() for parameter in built.parameters())


def test_a_bigram_has_one_table():
    config = complete(ModelOptions(family="bigram"), vocab_size=9, layers=1, width=1, context=8)
    assert parameter_count(config) == active_parameters(config) == 81


def test_a_counted_model_has_as_many_parameters_as_ngrams():
    config = complete(
        ModelOptions(family="ngram", order=3), vocab_size=9, layers=1, width=1, context=8
    )
    config = replace(config, ngrams=(9, 20, 30))
    assert parameter_count(config) == active_parameters(config) == 59
    assert flops_per_token(config) == matrix_parameters(config) == 0


def test_published_parameter_count_of_a_textbook_gpt():
    config = ModelConfig(
        family="gpt",
        vocab_size=100_256,
        context=16,
        width=512,
        layers=12,
        heads=8,
        kv_heads=8,
        head_dim=64,
        mlp_width=2048,
        norm="layernorm",
        positions="sinusoidal",
        activation="relu",
        qk_norm=False,
        output_bias=True,
        mlp_bias=True,
        head_bias=True,
    )
    assert parameter_count(config) == 140_573_600


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("small", 124_439_808),
        ("medium", 354_823_168),
        ("large", 774_030_080),
        ("xl", 1_557_611_200),
    ],
)
def test_published_parameter_counts_of_gpt2(size, parameters):
    config = complete(
        ModelOptions(family="gpt2", size=size), vocab_size=50257, layers=1, width=64, context=16
    )
    assert parameter_count(config) == active_parameters(config) == parameters


def test_published_parameter_counts_of_qwen3_30b_a3b():
    config = ModelConfig(
        family="moe",
        vocab_size=151_936,
        context=40_960,
        width=2048,
        layers=48,
        heads=32,
        kv_heads=4,
        head_dim=128,
        mlp_width=768,
        experts=128,
        experts_used=8,
    )
    # 30.5B and 3.3B on its model card
    assert parameter_count(config) == pytest.approx(30.5e9, rel=0.002)
    assert active_parameters(config) == pytest.approx(3.3e9, rel=0.02)


def tiny(family: Any, **options: Any) -> ModelConfig:
    return complete(
        ModelOptions(family=family, heads=4, **options),
        vocab_size=50,
        layers=3,
        width=16,
        context=12,
    )


COUNTED = {
    "qwen3": tiny("qwen3", kv_heads=2),
    "gpt": tiny("gpt"),
    "gpt2": tiny("gpt2"),
    "moe": tiny("moe", experts=5, experts_used=2),
    "seq2seq": tiny("seq2seq", encoder_layers=2),
}


def counted_flops(config: ModelConfig) -> int:
    """What torch counts of both passes over two full contexts, short enough for the plain path."""
    model = build_network(config)
    ids = torch.randint(50, (2, config.context))
    with FlopCounterMode(display=False) as counter:
        logits = model(ids, sources=ids) if isinstance(model, EncoderDecoder) else model(ids)
        logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("config", COUNTED.values(), ids=COUNTED)
def test_operations_are_those_that_torch_counts(config):
    assert counted_flops(config) == flops_per_token(config) * 2 * config.context


def test_a_window_shortens_the_reach_of_its_layers_only():
    full = tiny("qwen3")
    windowed = replace(full, window=5, full_layers=1)
    saved = flops_per_token(full) - flops_per_token(windowed)
    assert saved == 12 * 4 * full.head_dim * 2 * (12 - 5)
    assert flops_per_token(replace(full, window=100)) == flops_per_token(full)


def test_the_plain_path_computes_what_a_window_hides_too():
    full = tiny("qwen3", kv_heads=2)
    windowed = replace(full, window=5, full_layers=1)
    counted = counted_flops(windowed)
    assert counted == flops_per_token(full) * 2 * full.context
    assert counted > flops_per_token(windowed) * 2 * full.context


def test_flops_are_six_a_matrix_parameter_plus_the_attention():
    config = complete(ModelOptions(), vocab_size=100, layers=2, width=64, context=32)
    assert flops_per_token(config) == 6 * matrix_parameters(config) + 12 * 2 * 64 * 32
