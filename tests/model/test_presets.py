"""Shapes: what is filled in, published parameter counts, what is refused."""

from dataclasses import replace

import pytest
import torch

from cloche.errors import SettingError
from cloche.model.build import build_model, parameter_count
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete


def planned(
    options: ModelOptions,
    *,
    layers: int = 6,
    width: int = 384,
    dropout: float = 0.0,
    tied: bool = False,
) -> ModelConfig:
    return complete(
        options,
        vocab_size=100,
        layers=layers,
        width=width,
        context=256,
        dropout=dropout,
        tied=tied,
    )


def test_the_default_family_is_filled_in():
    config = planned(ModelOptions())
    assert (config.heads, config.kv_heads, config.head_dim) == (6, 6, 64)
    assert config.mlp_width == 1024
    assert (config.norm, config.positions, config.activation) == ("rmsnorm", "rotary", "swiglu")
    assert (config.qk_norm, config.mlp_bias, config.tied, config.dropout) == (True, False, False, 0)


def test_the_textbooks_gpt_is_filled_in():
    config = planned(ModelOptions(family="gpt"))
    assert (config.heads, config.head_dim, config.mlp_width) == (6, 64, 1536)
    assert (config.norm, config.norm_eps, config.positions) == ("layernorm", 1e-5, "learned")
    assert (config.qkv_bias, config.output_bias, config.mlp_bias) == (False, True, True)
    assert not config.qk_norm


@pytest.mark.parametrize("family", ["qwen3", "gpt"])
@pytest.mark.parametrize("width", [1, 2, 6, 30, 32, 100, 255, 256, 320, 1000])
def test_every_width_gives_a_model_that_can_be_built(family, width):
    with torch.device("meta"):
        build_model(planned(ModelOptions(family=family), width=width, layers=1))


def test_what_the_user_says_wins_over_the_plan():
    options = ModelOptions(
        layers=2, heads=4, kv_heads=2, width=64, context=32, dropout=0.0, tied=False,
        norm="layernorm", positions="learned", activation="relu",
    )  # fmt: skip
    config = planned(options, dropout=0.2, tied=True)
    assert (config.layers, config.heads, config.kv_heads, config.head_dim) == (2, 4, 2, 16)
    assert (config.width, config.context, config.dropout, config.tied) == (64, 32, 0.0, False)
    assert (config.norm, config.norm_eps, config.positions) == ("layernorm", 1e-5, "learned")
    assert (config.activation, config.mlp_width) == ("relu", 256)


def test_the_plan_decides_where_the_user_is_silent():
    config = planned(ModelOptions(), dropout=0.2, tied=True)
    assert (config.layers, config.width, config.context) == (6, 384, 256)
    assert (config.dropout, config.tied) == (0.2, True)


@pytest.mark.parametrize("vocab", [65, 4000])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_small_gpt_has_the_published_number_of_parameters(vocab, activation):
    options = ModelOptions(family="gpt", heads=4, activation=activation)
    config = complete(options, vocab_size=vocab, layers=4, width=64, context=64)
    with torch.device("meta"):
        model = build_model(replace(config, head_bias=True))
    assert parameter_count(model) == 129 * vocab + 203_392


def test_the_large_sinusoidal_gpt_has_the_published_number_of_parameters():
    options = ModelOptions(family="gpt", positions="sinusoidal", activation="relu")
    config = complete(options, vocab_size=100_256, layers=12, width=512, context=1024)
    with torch.device("meta"):
        model = build_model(replace(config, head_bias=True))
    assert parameter_count(model) == 140_573_600


@pytest.mark.parametrize("family", ["qwen3", "gpt"])
def test_heads_that_do_not_divide_the_width_are_refused(family):
    with pytest.raises(SettingError, match="width 384 is not divisible by"):
        planned(ModelOptions(family=family, heads=7))


def test_several_problems_are_told_at_once():
    with pytest.raises(SettingError, match=r"(?s)heads 7.*kv-heads 2"):
        planned(ModelOptions(heads=7, kv_heads=2))


def test_options_out_of_range_are_refused():
    with pytest.raises(SettingError, match=r"(?s)model.layers must be.*model.dropout must be"):
        planned(ModelOptions(layers=0, dropout=1.0))


def test_a_bigram_is_as_wide_as_its_vocabulary():
    config = planned(ModelOptions(family="bigram", context=8))
    assert (config.width, config.layers, config.context) == (100, 0, 8)
    assert parameter_count(build_model(config)) == 100 * 100


def test_a_bigram_refuses_options_it_has_no_place_for():
    with pytest.raises(SettingError, match=r"(?s)model.heads has no meaning.*model.tied"):
        planned(ModelOptions(family="bigram", heads=2, tied=True))
