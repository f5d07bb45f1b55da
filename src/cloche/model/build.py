"""From a configuration to a model."""

from torch import nn

from cloche.errors import SettingError, join_problems
from cloche.model.bigram import Bigram
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.ngram import NGram
from cloche.model.seq2seq import EncoderDecoder

LanguageModel = Decoder | Bigram | NGram
"""Serves `hidden`, `head` and `forward`, and has the `config` it was built from."""
Network = LanguageModel | EncoderDecoder
"""Any model there is: one that continues a text, or one that writes a target from a source."""


def build_network(config: ModelConfig) -> Network:
    """The model that `config` describes, with PyTorch's default weights, in float32.

    Raises SettingError with everything that cannot be built.
    """
    problems = config.problems()
    if problems:
        raise SettingError(join_problems(problems))
    if config.family == "seq2seq":
        return EncoderDecoder(config)
    if config.family == "ngram":
        return NGram(config)
    return Bigram(config) if config.family == "bigram" else Decoder(config)


def build_model(config: ModelConfig) -> LanguageModel:
    """The same for a model that continues a text.

    Raises SettingError also for a seq2seq model, which needs a source for all it writes.
    """
    model = build_network(config)
    if isinstance(model, EncoderDecoder):
        raise SettingError(
            "a seq2seq model continues no text, it writes a target for a source: use "
            "cloche generate, cloche eval, or build_network and cloche.generation.beam in Python"
        )
    return model


def parameter_count(model: nn.Module) -> int:
    """Number of learned numbers in a built model; a tied head counts once.

    A counted model has learned none: its number is that of the n-grams it stores.
    """
    if isinstance(model, NGram):
        return sum(model.config.ngrams)
    return sum(parameter.numel() for parameter in model.parameters())
