import pytest

from cloche.errors import SettingError
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.planning.budget import Budget
from cloche.training.choices import options_of
from cloche.training.sizing import choose_model
from cloche.weights.hf import obstacles_to_others

BUDGET = Budget(60.0, flops_per_second=1e11, train_tokens=10**6, validation_tokens=10**5)


@pytest.mark.parametrize("family", ["qwen3", "gpt", "bigram"])
def test_stored_options_give_exactly_the_model_they_were_made_of(family):
    for width in range(1, 700):
        config = complete(
            ModelOptions(family=family), vocab_size=99, layers=2, width=width, context=16
        )
        stored = options_of(config)
        assert stored.problems() == []
        assert complete(stored, vocab_size=99, layers=1, width=8, context=8) == config


@pytest.mark.parametrize(
    "options",
    [
        {"kv_heads": 2},
        {"heads": 6},
        {"heads": 5, "kv_heads": 5},
        {"family": "gpt", "heads": 12},
        {"family": "moe", "kv_heads": 2},
        {"family": "llama", "kv_heads": 3},
        {"width": 96, "kv_heads": 2},
    ],
    ids=str,
)
def test_heads_alone_leave_the_rest_to_be_chosen(options):
    config = choose_model(ModelOptions(**options), BUDGET, vocab_size=99)
    for name, value in options.items():
        assert getattr(config, name) == value
    assert config.heads % config.kv_heads == 0


def test_heads_that_fit_no_size_are_refused_with_the_width_to_take():
    with pytest.raises(SettingError, match=r"is not divisible by model\.heads 7"):
        choose_model(ModelOptions(family="gpt", heads=7), BUDGET, vocab_size=99)


def test_what_keeps_a_model_from_other_tools_is_named():
    def obstacles(**options) -> list[str]:
        return obstacles_to_others(choose_model(ModelOptions(**options), BUDGET, vocab_size=99))

    assert obstacles() == obstacles(family="moe") == obstacles(family="gpt") == []
    assert obstacles(norm="layernorm") == ["the norm layernorm"]
    assert obstacles(family="llama", head_bias=True) == ["a bias of the output head"]
