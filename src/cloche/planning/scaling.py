"""How much a training takes, and how compute is best shared between a model and its text."""

from dataclasses import dataclass

from cloche.errors import SettingError

FLOPS_PER_PARAMETER = 6
"""Operations for a parameter and a token, forward and backward.

Source: Kaplan et al. 2020, section 2.1, https://arxiv.org/abs/2001.08361
"""
TOKENS_PER_PARAMETER = 20
"""Of Chinchilla: 1.4 trillion tokens for 70 billion parameters.

Source: Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556
"""
PARAMETER_TERM, PARAMETER_EXPONENT = 482.01, 0.3478
TOKEN_TERM, TOKEN_EXPONENT = 2085.43, 0.3658
"""The loss above its floor is 482.01 / N^0.3478 + 2085.43 / D^0.3658.

Fitted to Chinchilla's runs by Besiroglu et al. 2024, https://arxiv.org/abs/2404.10102, who mend the
third fit of Hoffmann et al. so that it agrees with their first two.
"""


@dataclass(frozen=True)
class Allocation:
    """A model's size and the length of its text, for some compute."""

    parameters: float
    tokens: float

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens of text for each parameter."""
        return self.tokens / self.parameters


def training_flops(parameters: float, tokens: float) -> float:
    """Floating-point operations of training on so many tokens, attention's own left out."""
    require_positive(parameters=parameters, tokens=tokens)
    return FLOPS_PER_PARAMETER * parameters * tokens


def training_cost(device_hours: float, *, devices: int, dollars_per_hour: float) -> float:
    """Dollars for `device_hours`, where a machine of so many devices has a price an hour."""
    require_positive(device_hours=device_hours, devices=devices, price=dollars_per_hour)
    return device_hours / devices * dollars_per_hour


def copies_of_text(corpus_tokens: float, *, text_tokens: float) -> float:
    """How many copies of a text a corpus is as long as; both counted with one tokenizer."""
    require_positive(corpus_tokens=corpus_tokens, text_tokens=text_tokens)
    return corpus_tokens / text_tokens


def chinchilla_tokens(parameters: float) -> float:
    """Tokens that a model of this size is best trained on, by the rule of 20 a parameter."""
    require_positive(parameters=parameters)
    return TOKENS_PER_PARAMETER * parameters


def best_use(flops: float) -> Allocation:
    """The size and the tokens that give the lowest loss for this much compute, by the fitted law.

    With C = 6 N D given, the sum of both terms of the loss is least where their derivatives are
    equal: Hoffmann et al. 2022, equation 4.
    """
    require_positive(flops=flops)
    both = PARAMETER_EXPONENT + TOKEN_EXPONENT
    weights = PARAMETER_EXPONENT * PARAMETER_TERM / (TOKEN_EXPONENT * TOKEN_TERM)
    pairs = flops / FLOPS_PER_PARAMETER  # N D
    parameters = weights ** (1 / both) * pairs ** (TOKEN_EXPONENT / both)
    return Allocation(parameters, pairs / parameters)


def require_positive(**values: float) -> None:
    """SettingError naming the first value that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise SettingError(f"{name.replace('_', ' ')} must be above 0, got {value}")
