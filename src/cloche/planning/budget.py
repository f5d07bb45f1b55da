"""Chooses a model and a length for a text, a machine and a time. Loads no torch.

One dial, the size of the model; width, layers, heads, batch and learning rate follow from it. The
constants were measured; docs/log.md has the runs.
"""

from dataclasses import dataclass

from cloche.model.config import ModelConfig
from cloche.planning.flops import flops_per_token, matrix_parameters

LADDER = (  # (layers, width), each about twice the block parameters of the one before
    (2, 64),
    (3, 96),
    (4, 128),
    (4, 192),
    (4, 256),
    (6, 320),
    (6, 384),
    (8, 512),
    (10, 640),
    (12, 768),
    (16, 1024),
)
TOKENS_PER_PARAMETER = 1.5
"""Targets learned from for each matrix parameter, in a run of minutes. Far fewer than the 20 of
Chinchilla: with Muon and a small model, time is better spent on width (docs/log.md)."""
UTILISATION = 0.3
"""Share of the matrix-multiply peak that a step reaches, before it has been measured."""
SMALLEST_BATCH_TOKENS = 2048
"""Tokens in a step of a short run: more steps beat larger ones (docs/log.md)."""
SAVING_SECONDS = 1.0
"""A sample and a checkpoint of a small model, before they have been measured."""
MANY_EPOCHS = 8.0
"""Passes over the text beyond which dropout pays."""


@dataclass(frozen=True)
class Budget:
    """What there is to spend."""

    seconds: float
    flops_per_second: float
    """The machine's measured matrix-multiply peak in the precision of the run."""
    train_tokens: int
    validation_tokens: int


def choose_context(budget: Budget) -> int:
    """Most tokens to look at: 128 in a run of minutes, more with time, less for tiny texts."""
    wanted = 128 if budget.seconds < 20 * 60 else 256
    shortest = min(budget.train_tokens, budget.validation_tokens)
    while wanted > 8 and wanted >= shortest:
        wanted //= 2
    return wanted


def choose_size(budget: Budget, candidates: list[ModelConfig]) -> ModelConfig:
    """The largest candidate that learns from enough tokens for its parameters in the time.

    `candidates` are complete models from small to large, as the ladder gives them.
    """
    best = candidates[0]
    for candidate in candidates[1:]:
        tokens = tokens_within(budget, candidate)
        epochs = tokens / budget.train_tokens
        enough = tokens >= TOKENS_PER_PARAMETER * matrix_parameters(candidate)
        # repeated text teaches less and less: do not buy parameters with passes that only recite
        useful = matrix_parameters(candidate) <= 6.0 * budget.train_tokens or epochs < 1.0
        if enough and useful:
            best = candidate
    return best


def tokens_within(budget: Budget, config: ModelConfig) -> float:
    """Targets a training can learn from in the time, before speed has been measured."""
    rate = UTILISATION * budget.flops_per_second / flops_per_token(config)
    return rate * budget.seconds


def choose_batch(config: ModelConfig, *, steps_tokens: float) -> int:
    """Sequences a step: 2,048 tokens for short runs, up to 16,384 with more tokens to see."""
    tokens = SMALLEST_BATCH_TOKENS
    while tokens < 16_384 and steps_tokens / (2 * tokens) >= 1_000:
        tokens *= 2
    return max(4, round(tokens / config.context))


def choose_dropout(epochs: float) -> float:
    """None for a text seen a few times; 0.1 and then 0.2 where it is seen again and again."""
    if epochs < MANY_EPOCHS:
        return 0.0
    return 0.1 if epochs < 4 * MANY_EPOCHS else 0.2


def choose_interval(steps: int) -> int:
    """Steps between evaluations: about ten in a run."""
    return max(1, round(steps / 10))


def choose_eval_batches(steps: int) -> int:
    """Batches in an evaluation, so that all of them cost under a tenth of the training."""
    return max(2, min(20, steps // 80))


def pause_seconds(batches: int, *, step_seconds: float) -> float:
    """What an evaluation takes, with its sample and its checkpoint.

    It goes over `batches` of both parts, forward only, which is a third of a step each.
    """
    return SAVING_SECONDS + 2 * batches * step_seconds / 3
