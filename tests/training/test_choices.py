import pytest

from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.training.choices import options_of


@pytest.mark.parametrize("family", ["qwen3", "gpt", "bigram"])
def test_stored_options_give_exactly_the_model_they_were_made_of(family):
    for width in range(1, 700):
        config = complete(
            ModelOptions(family=family), vocab_size=99, layers=2, width=width, context=16
        )
        stored = options_of(config)
        assert stored.problems() == []
        assert complete(stored, vocab_size=99, layers=1, width=8, context=8) == config
