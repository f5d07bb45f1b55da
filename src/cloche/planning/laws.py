"""Laws of loss: how it falls with parameters and tokens, and what repetition is worth.

The form is that of Hoffmann et al. 2022 (https://arxiv.org/abs/2203.15556): L(N, D) = E + A / N^a +
B / D^b, in nats a token. A law holds for the tokenizer, the text and the kind of training that it
was fitted to; those published were fitted to models of tens of millions of parameters and more,
on web text.
"""

import math
from dataclasses import dataclass

from cloche.planning.scaling import (
    FLOPS_PER_PARAMETER,
    PARAMETER_EXPONENT,
    PARAMETER_TERM,
    TOKEN_EXPONENT,
    TOKEN_TERM,
    Allocation,
    require_positive,
)

REPETITION_DECAY = 15.387756
"""R*_D of Muennighoff et al. 2023, appendix A: after about so many repetitions, most of what a
text has to give is taken. Source: https://arxiv.org/abs/2305.16264"""
EXCESS_DECAY = 5.309743
"""R*_N of the same: how fast parameters beyond what the unique tokens call for lose their worth."""
PARAMETERS_PER_UNIQUE_TOKEN = 0.051
"""What the unique tokens call for, by the same authors' own law (equation 17)."""
KAPLAN_PARAMETERS, KAPLAN_EXPONENT = 1.3e9, 0.73
"""N = 1.3e9 x C^0.73, N without embeddings, C in PF-days: Kaplan et al. 2020, table 6.

Source: https://arxiv.org/abs/2001.08361
"""
PETAFLOP_DAY = 1e15 * 24 * 3600


@dataclass(frozen=True)
class Law:
    """L(N, D) = floor + parameter_term / N^parameter_exponent + token_term / D^token_exponent."""

    floor: float
    token_term: float
    token_exponent: float
    parameter_term: float = 0.0
    """0 in a law for one size, which says nothing of others."""
    parameter_exponent: float = 0.0
    repetition_decay: float = REPETITION_DECAY
    """After about so many repetitions of a text, most of what it has to give is taken."""

    @property
    def has_sizes(self) -> bool:
        """Whether it tells one size from another."""
        return self.parameter_term > 0

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats a token of a model of that size after that many tokens, all of them different."""
        require_positive(parameters=parameters, tokens=tokens)
        size = self.parameter_term / parameters**self.parameter_exponent if self.has_sizes else 0.0
        return self.floor + size + self.token_term / tokens**self.token_exponent

    def best_use(self, flops: float) -> Allocation:
        """The size and tokens of least loss where C = 6 N D: Hoffmann et al. 2022, equation 4."""
        require_positive(flops=flops, parameter_term=self.parameter_term)
        both = self.parameter_exponent + self.token_exponent
        weights = self.parameter_exponent * self.parameter_term
        weights /= self.token_exponent * self.token_term
        pairs = flops / FLOPS_PER_PARAMETER  # N D
        parameters = weights ** (1 / both) * pairs ** (self.token_exponent / both)
        return Allocation(parameters, pairs / parameters)


CHINCHILLA = Law(1.8172, TOKEN_TERM, TOKEN_EXPONENT, PARAMETER_TERM, PARAMETER_EXPONENT)
"""Besiroglu et al. 2024, https://arxiv.org/abs/2404.10102: see `scaling`."""
CHINCHILLA_SMALLEST = 44e6
"""Parameters of the smallest model that Hoffmann et al. fitted their laws to."""
DATA_CONSTRAINED = Law(math.exp(0.6254804), math.exp(7.3049974), 0.3526596, 521.0, 0.3526596)
"""Muennighoff et al. 2023, equation 17: C4, 7M to 9B parameters, 1 to 500 passes, dropout 0.1."""

SMALL_RUNS = Law(0.0, 16.5, 0.132, 8.8, 0.178, repetition_decay=1.5)
"""Of runs of minutes with Muon on small texts, N the parameters in matrices: fitted to 20 runs of
0.1 to 1.9 million tokens, sizes from 0.2 to 12 million, on two texts with a floor each, which is
left out here. Models of minutes learn a text by heart sooner than those of Muennighoff et al., and
repetitions give them less. It puts sizes in order and tells no loss (docs/log.md)."""


def effective_tokens(
    tokens: float, *, unique_tokens: float, decay: float = REPETITION_DECAY
) -> float:
    """How many tokens, each seen once, teach as much as `tokens` taken from so many unique ones.

    U + U R* (1 - exp(-R / R*)) with R the repetitions after the first pass and R* the `decay`:
    with the authors' own, up to four passes are nearly as good as new text, and no number of them
    is worth more than 16.4.
    Source: Muennighoff et al. 2023, equation 5, https://arxiv.org/abs/2305.16264
    """
    require_positive(tokens=tokens, unique_tokens=unique_tokens)
    if tokens <= unique_tokens:
        return tokens
    repetitions = tokens / unique_tokens - 1
    worth = decay * (1 - math.exp(-repetitions / decay))
    return unique_tokens * (1 + worth)


def effective_parameters(parameters: float, *, unique_tokens: float) -> float:
    """How many parameters are as good where there is text without end: equation 6 of the same.

    Parameters beyond 0.051 a unique token, which is what those authors' law calls for, lose their
    worth in the same way as repetitions do, only sooner.
    """
    require_positive(parameters=parameters, unique_tokens=unique_tokens)
    enough = PARAMETERS_PER_UNIQUE_TOKEN * unique_tokens
    if parameters <= enough:
        return parameters
    excess = parameters / enough - 1
    return enough * (1 + EXCESS_DECAY * (1 - math.exp(-excess / EXCESS_DECAY)))


def data_limited_loss(law: Law, *, parameters: float, tokens: float, unique_tokens: float) -> float:
    """The law's loss after `tokens` of a text of `unique_tokens`, repetitions at their worth.

    Parameters are taken at their full worth, so that the law may be another than the one their
    decay was fitted with. What it leaves out: a loss that rises again, by overfitting.
    """
    return law.loss(parameters, effective_tokens(tokens, unique_tokens=unique_tokens))


def kaplan_use(flops: float) -> Allocation:
    """What Kaplan et al. would have trained for this compute: far larger models on less text.

    Their sizes leave embeddings out. The tokens are what C = 6 N D leaves.
    """
    require_positive(flops=flops)
    parameters = KAPLAN_PARAMETERS * (flops / PETAFLOP_DAY) ** KAPLAN_EXPONENT
    return Allocation(parameters, flops / (FLOPS_PER_PARAMETER * parameters))
