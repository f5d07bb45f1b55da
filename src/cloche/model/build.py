"""From a configuration to a model."""

from torch import nn

from cloche.errors import SettingError, join_problems
from cloche.model.bigram import Bigram
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.ngram import NGram

LanguageModel = Decoder | Bigram | NGram
"""Serves `hidden`, `head` and `forward`, and has the `config` it was built from."""


def build_model(config: ModelConfig) -> LanguageModel:
    """The model that `config` describes, with PyTorch's default weights, in float32.

    Raises SettingError with everything that cannot be built.
    """
    problems = config.problems()
    if problems:
        raise SettingError(join_problems(problems))
    if config.family == "ngram":
        return NGram(config)
    return Bigram(config) if config.family == "bigram" else Decoder(config)


def parameter_count(model: nn.Module) -> int:
    """Number of learned numbers in a built model; a tied head counts once.

    A counted model has learned none: its number is that of the n-grams it stores.
    """
    if isinstance(model, NGram):
        return sum(model.config.ngrams)
    return sum(parameter.numel() for parameter in model.parameters())
