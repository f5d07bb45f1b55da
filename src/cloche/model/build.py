"""From a configuration to a model."""

from torch import nn

from cloche.errors import SettingError, join_problems
from cloche.model.bigram import Bigram
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder

LanguageModel = Decoder | Bigram
"""Serves `hidden`, `head` and `forward`, and has the `config` it was built from."""


def build_model(config: ModelConfig) -> LanguageModel:
    """The model that `config` describes, with PyTorch's default weights, in float32.

    Raises SettingError with everything that cannot be built.
    """
    problems = config.problems()
    if problems:
        raise SettingError(join_problems(problems))
    return Bigram(config) if config.family == "bigram" else Decoder(config)


def parameter_count(model: nn.Module) -> int:
    """Number of learned numbers in a built model; a tied head counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
