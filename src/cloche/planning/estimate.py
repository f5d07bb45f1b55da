"""What a training will take and what laws say of it, before it starts. Loads no torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from cloche.model.config import ModelConfig
from cloche.planning.fitting import Fit, TooLarge
from cloche.planning.flops import (
    active_parameters,
    flops_per_token,
    matrix_parameters,
    parameter_count,
)
from cloche.planning.laws import (
    CHINCHILLA,
    CHINCHILLA_SMALLEST,
    effective_tokens,
    kaplan_use,
)
from cloche.planning.machines import LLAMA_2_TOKENS
from cloche.planning.parameters import Part, parameters_by_part
from cloche.planning.scaling import Allocation, best_use, chinchilla_tokens, copies_of_text


@dataclass(frozen=True)
class Pace:
    """How fast a training goes on its machine, all devices together."""

    peak_flops: float
    """Of all devices."""
    utilisation: float
    measured: bool
    """False where the utilisation is assumed."""


@dataclass(frozen=True)
class TextSize:
    """The text of a training."""

    name: str
    tokens: int
    """Of both parts, with its own tokenizer."""
    train_tokens: int
    characters: int
    tokenizer: str


@dataclass(frozen=True)
class Estimate:
    """A training that has not begun."""

    parameters: int
    active_parameters: int
    """Those that take part in a token: all but the experts it passes by."""
    parts: dict[Part, int]
    matrix_parameters: int
    flops_per_token: int
    batch: int
    """Sequences a step, over all devices."""
    context: int
    steps: int
    tokens: int
    flops: float
    seconds: float | None
    """None where the model takes no passes, or does not fit."""
    device_hours: float | None
    dollars: float | None
    memory: Fit | TooLarge
    """Of one device."""


@dataclass(frozen=True)
class Outlook:
    """What published laws say of the training."""

    tokens_per_parameter: float
    chinchilla_tokens: float
    """20 for each parameter."""
    best: Allocation
    """For the same operations, by the parametric law."""
    kaplan: Allocation
    """For the same operations, without embeddings."""
    loss: float | None
    """Of the parametric law, nats a token of web text; None for sizes it was not fitted to."""
    passes: float | None = None
    """Over the training part."""
    worth: float | None = None
    """Tokens that would teach as much if each were new."""
    most_worth: float | None = None
    """What this text is worth at most, however often repeated."""
    llama_2_copies: float | None = None
    """Copies of the text that are as long as Llama 2's corpus."""


def tokens_within(config: ModelConfig, pace: Pace, *, seconds: float) -> float:
    """Tokens that the training learns from in the time."""
    each = flops_per_token(config)
    return pace.utilisation * pace.peak_flops * seconds / each if each else math.inf


Pauses = Callable[[int, float], float]
"""Seconds beside the steps, by the number of steps and the seconds of one."""


def no_pauses(_steps: int, _step_seconds: float) -> float:
    """Steps alone."""
    return 0.0


def estimate(
    config: ModelConfig,
    *,
    batch: int,
    tokens: float,
    memory: Fit | TooLarge,
    pace: Pace,
    pauses: Pauses = no_pauses,
    devices: int = 1,
    dollars_per_hour: float | None = None,
) -> Estimate:
    """What learning from so many tokens takes, in whole steps.

    `pauses` is what comes on top of the steps. `dollars_per_hour` is the price of one device.
    """
    step_tokens = batch * config.context
    steps = max(1, round(tokens / step_tokens))
    each = flops_per_token(config)
    flops = float(each) * steps * step_tokens
    seconds = hours = None
    if each and isinstance(memory, Fit):
        seconds = flops / (pace.utilisation * pace.peak_flops)
        seconds += pauses(steps, seconds / steps)
        hours = devices * seconds / 3600
    return Estimate(
        parameters=parameter_count(config),
        active_parameters=active_parameters(config),
        parts=parameters_by_part(config),
        matrix_parameters=matrix_parameters(config),
        flops_per_token=each,
        batch=batch,
        context=config.context,
        steps=steps,
        tokens=steps * step_tokens,
        flops=flops,
        seconds=seconds,
        device_hours=hours,
        dollars=hours * dollars_per_hour if hours and dollars_per_hour else None,
        memory=memory,
    )


def outlook(found: Estimate, text: TextSize | None = None) -> Outlook | None:
    """What the laws say; None for a model that takes no passes."""
    if not found.flops:
        return None
    fits = found.parameters >= CHINCHILLA_SMALLEST
    passes = worth = most = copies = None
    if text is not None and text.train_tokens:
        passes = found.tokens / text.train_tokens
        worth = effective_tokens(found.tokens, unique_tokens=text.train_tokens)
        most = effective_tokens(1e6 * text.train_tokens, unique_tokens=text.train_tokens)
        copies = copies_of_text(LLAMA_2_TOKENS, text_tokens=text.tokens)
    return Outlook(
        tokens_per_parameter=found.tokens / found.parameters,
        chinchilla_tokens=chinchilla_tokens(found.parameters),
        best=best_use(found.flops),
        kaplan=kaplan_use(found.flops),
        loss=CHINCHILLA.loss(found.parameters, worth or found.tokens) if fits else None,
        passes=passes,
        worth=worth,
        most_worth=most,
        llama_2_copies=copies,
    )
