import pytest

from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.planning.flops import flops_per_token, matrix_parameters, parameter_count

OPTIONS = [
    ModelOptions(),
    ModelOptions(tied=True, heads=4, kv_heads=2),
    ModelOptions(positions="learned", norm="layernorm", activation="gelu"),
    ModelOptions(family="gpt"),
    ModelOptions(family="gpt", positions="sinusoidal", activation="relu"),
    ModelOptions(family="bigram"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_formula_counts_what_the_built_model_has(options):
    config = complete(options, vocab_size=97, layers=2, width=64, context=16)
    built = sum(parameter.numel() for parameter in build_model(config).parameters())
    assert parameter_count(config) == built


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


def test_flops_are_six_a_matrix_parameter_plus_the_attention():
    config = complete(ModelOptions(), vocab_size=100, layers=2, width=64, context=32)
    assert flops_per_token(config) == 6 * matrix_parameters(config) + 12 * 2 * 64 * 32
