"""The size of a model for a text and a time: by a rule, or by measured speed and a law of loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloche.errors import SettingError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.planning.budget import (
    LADDER,
    SMALLEST_BATCH_TOKENS,
    Budget,
    choose_context,
    choose_size,
)
from cloche.planning.choosing import Candidate, best_run
from cloche.planning.flops import flops_per_token, matrix_parameters
from cloche.planning.laws import SMALL_RUNS

OVERHEAD = 0.1
"""Of the time, what evaluations and checkpoints take."""
MEASURING_SHARE = 0.02
"""Of the time there is, what measuring one more size may take."""
MEASURED_STEPS = 6
"""What measuring takes, in steps: each half of one is warmed up, and then timed a few times."""


@dataclass(frozen=True)
class Sized:
    """A model, and why it is that one, in sentences (none where there was no choice)."""

    config: ModelConfig
    reasons: tuple[str, ...] = ()


def choose_for_time(
    options: ModelOptions,
    budget: Budget,
    *,
    vocab_size: int,
    step_seconds: Callable[[ModelConfig], float],
) -> Sized:
    """The model of lowest predicted loss after the budget's seconds.

    `step_seconds` measures a step of SMALLEST_BATCH_TOKENS tokens. It is asked for two sizes, that
    which the rule names and a neighbour; between and beyond, seconds grow in a line with the
    operations. `planning.laws.SMALL_RUNS` says what each size would then reach.
    """
    first = choose_model(options, budget, vocab_size=vocab_size)
    models = _possible_models(options, budget, vocab_size=vocab_size)
    if len(models) < 2 or not matrix_parameters(first):
        return Sized(first)
    measured = {first: step_seconds(first)}
    neighbour = _neighbour(models, first)
    ratio = flops_per_token(neighbour) / flops_per_token(first)
    if MEASURED_STEPS * ratio * measured[first] <= MEASURING_SHARE * budget.seconds:
        measured[neighbour] = step_seconds(neighbour)
    pace = _line(measured)
    candidates = [
        Candidate(
            f"{model.layers} layers of width {model.width}",
            matrix_parameters(model),
            SMALLEST_BATCH_TOKENS,
            measured.get(model) or pace(model),
        )
        for model in models
    ]
    soonest = min(candidates, key=lambda candidate: candidate.step_seconds)
    if soonest.step_seconds > (1 - OVERHEAD) * budget.seconds:
        why = "The smallest size is taken: there is time for a step or so."
        return Sized(models[candidates.index(soonest)], (why,))
    found = best_run(
        candidates,
        seconds=budget.seconds,
        law=SMALL_RUNS,
        train_tokens=budget.train_tokens,
        overhead=OVERHEAD,
    )
    return Sized(models[candidates.index(found.best.candidate)], found.reasons)


def choose_model(options: ModelOptions, budget: Budget, *, vocab_size: int) -> ModelConfig:
    """The model for the budget: what the user set stays, the dial sets the rest."""
    return choose_size(budget, _possible_models(options, budget, vocab_size=vocab_size))


def fitting_models(
    options: ModelOptions, rungs: Sequence[tuple[int, int]], *, vocab_size: int, context: int
) -> list[ModelConfig]:
    """The models of those (layers, width) that the options allow, in order, each once.

    Heads that do not share one rung's width may well share another's. Raises SettingError with
    what is wrong at the last rung where none fits.
    """
    found: list[ModelConfig] = []
    problem: SettingError | None = None
    for layers, width in rungs:
        try:
            found.append(
                complete(
                    options, vocab_size=vocab_size, layers=layers, width=width, context=context
                )
            )
        except SettingError as exc:
            problem = exc
    if not found and problem is not None:
        raise problem
    return list(dict.fromkeys(found))  # a size that the options name is that of every rung


def _possible_models(
    options: ModelOptions, budget: Budget, *, vocab_size: int
) -> list[ModelConfig]:
    """All sizes that the options leave open, from small to large."""
    context = options.context or choose_context(budget)
    return fitting_models(options, _rungs(options), vocab_size=vocab_size, context=context)


def _rungs(options: ModelOptions) -> list[tuple[int, int]]:
    """Layers and width of each size; where a width is given, those layers that go with it."""
    if options.width is None:
        return list(LADDER)
    return [min(LADDER, key=lambda rung: abs(rung[1] - (options.width or 0)))]


def _neighbour(models: Sequence[ModelConfig], model: ModelConfig) -> ModelConfig:
    """The next larger one; of the largest, the next smaller."""
    place = models.index(model)
    return models[place + 1] if place + 1 < len(models) else models[place - 1]


def _line(measured: dict[ModelConfig, float]) -> Callable[[ModelConfig], float]:
    """Seconds of a step by its operations: a line through two measurements, or from nothing
    through one. Where noise would have it fall, or start below nothing, through the larger one."""
    (small, less), *others = sorted(measured.items(), key=lambda pair: flops_per_token(pair[0]))
    large, more = others[-1] if others else (small, less)
    slope = more / flops_per_token(large)
    start = 0.0
    if others:
        between = (more - less) / (flops_per_token(large) - flops_per_token(small))
        if 0 < between <= slope:
            slope, start = between, more - between * flops_per_token(large)
    return lambda model: start + slope * flops_per_token(model)
