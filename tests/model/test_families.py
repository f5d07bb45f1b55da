"""The options of each family, completed; and a completed model's options, which give it again."""

import pytest

from cloche.errors import SettingError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import GPT2_SIZES, complete
from cloche.planning.flops import parameter_count
from cloche.training.choices import options_of


def completed(**options) -> ModelConfig:
    return complete(ModelOptions(**options), vocab_size=500, layers=3, width=96, context=64)


@pytest.mark.parametrize(
    "options",
    [
        {"family": "qwen3", "window": 16},
        {"family": "qwen3", "rope_scaling": "linear", "rope_factor": 4.0},
        {"family": "qwen3", "rope_scaling": "ntk", "rope_factor": 4.0},
        {"family": "llama", "rope_scaling": "yarn", "rope_factor": 2.0, "rope_theta": 5e5},
        {"family": "llama", "qkv_bias": True, "kv_heads": 1},
        {"family": "moe", "experts": 4, "experts_used": 3, "mlp_width": 40},
        {"family": "moe"},
        {"family": "gpt2"},
        {"family": "gpt2", "size": "small"},
        {"family": "gpt", "activation": "relu_squared", "head_bias": True, "qkv_bias": True},
        {"family": "gpt", "positions": "rotary", "norm": "rmsnorm"},
        {"family": "seq2seq", "encoder_layers": 2, "norm_order": "post"},
        {"family": "bigram"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_the_options_of_a_model_give_exactly_that_model(options):
    config = completed(**options)
    assert complete(options_of(config), vocab_size=500, layers=9, width=640, context=9) == config


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("small", 124_439_808),
        ("medium", 354_823_168),
        ("large", 774_030_080),
        ("xl", 1_557_611_200),
    ],
)
def test_the_sizes_of_gpt2_have_the_published_parameters(size, parameters):
    options = ModelOptions(family="gpt2", size=size)
    config = complete(options, vocab_size=50257, layers=1, width=64, context=32)
    assert parameter_count(config) == parameters
    assert (config.context, config.qkv_bias, config.tied) == (1024, True, True)
    assert config.width == GPT2_SIZES[size][2]


def test_a_size_of_gpt2_refuses_what_contradicts_it():
    with pytest.raises(SettingError, match=r"model\.layers 3 is not that of model\.size small, 12"):
        completed(family="gpt2", size="small", layers=3)


@pytest.mark.parametrize("family", ["qwen3", "moe", "llama", "gpt", "gpt2"])
@pytest.mark.parametrize("kv_heads", [1, 2, 3, 4])
def test_heads_are_chosen_so_that_those_of_keys_divide_them(family, kv_heads):
    config = completed(family=family, kv_heads=kv_heads)
    assert config.heads % kv_heads == 0
    assert config.heads * config.head_dim == config.width


def test_ntk_scaling_is_another_base():
    config = completed(rope_scaling="ntk", rope_factor=4.0)
    assert config.rope_scaling is None
    assert config.rope_theta == pytest.approx(
        10_000 * 4 ** (config.head_dim / (config.head_dim - 2))
    )


def test_linear_scaling_remembers_the_context_it_was_stretched_from():
    scaling = completed(rope_scaling="linear", rope_factor=4.0).rope_scaling
    assert scaling is not None
    assert (scaling.kind, scaling.original_context) == ("linear", 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "qwen3", "experts": 4}, "model.experts has no meaning with model.family qwen3"),
        ({"family": "gpt", "size": "xl"}, "it belongs to model.family gpt2"),
        ({"family": "llama", "encoder_layers": 2}, "which has no encoder"),
        ({"family": "moe", "experts": 2, "experts_used": 3}, "is more than model.experts 2"),
        ({"rope_factor": 2.0}, "belong together"),
        (
            {"rope_factor": 0.5, "rope_scaling": "ntk"},
            "model.rope-factor must be from 1",
        ),
        ({"family": "gpt", "positions": "learned", "rope_theta": 9.0}, "turn rotary positions"),
        ({"family": "gpt", "rope_theta": 9.0}, "turn rotary positions"),
        ({"rope_theta": 1.0}, "model.rope-theta must be above 1"),
        ({"rope_theta": float("inf")}, "model.rope-theta must be above 1 and at most 1e+12"),
        ({"rope_factor": float("inf"), "rope_scaling": "ntk"}, "model.rope-factor must be from 1"),
        ({"rope_factor": 1e11, "rope_scaling": "ntk"}, "use a smaller model.rope-factor"),
        ({"family": "gpt2", "size": "small", "mlp_width": 10}, "is not that of model.size small"),
        ({"family": "gpt2", "size": "small", "positions": "none"}, "is not that of model.size"),
        ({"window": 0}, "model.window must be at least 1"),
        ({"family": "seq2seq", "window": 4}, "model.window has no meaning"),
    ],
)
def test_options_that_fit_no_model_are_refused(options, message):
    with pytest.raises(SettingError) as caught:
        completed(**options)
    assert message in str(caught.value)
