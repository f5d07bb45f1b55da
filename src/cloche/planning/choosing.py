"""The run of lowest predicted loss for a time: size, batch and steps, and why. Loads no torch.

`budget` chooses by a rule before anything is measured. Here, candidates come with their measured
throughput on this machine, and a law of loss says what each would reach in the time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloche.errors import SettingError
from cloche.planning.laws import Law, effective_tokens
from cloche.planning.scaling import require_positive


@dataclass(frozen=True)
class Candidate:
    """A model and a batch, with what they do on this machine."""

    name: str
    """For sentences: `4 layers of width 192, 16 x 128 tokens a step`."""
    parameters: float
    """As the law counts them."""
    batch_tokens: int
    """Tokens in an optimizer step."""
    step_seconds: float
    """Of a whole step, optimizer included; measured."""
    setup_seconds: float = 0.0
    """Before the first step: building, compiling."""


@dataclass(frozen=True)
class Outcome:
    """What a candidate is predicted to reach."""

    candidate: Candidate
    steps: int
    tokens: float
    """Learned from, repetitions counted."""
    passes: float
    """Over the training part."""
    worth: float
    """Tokens that would teach as much, each new and in the smallest useful batches."""
    loss: float
    """Predicted, nats a token."""


@dataclass(frozen=True)
class BestRun:
    """The choice, the others from best to worst, and the reasons."""

    best: Outcome
    others: tuple[Outcome, ...]
    reasons: tuple[str, ...]


def best_run(
    candidates: Sequence[Candidate],
    *,
    seconds: float,
    law: Law,
    train_tokens: int,
    critical_batch_tokens: float | None = None,
    least_steps: int = 50,
    overhead: float = 0.0,
) -> BestRun:
    """The candidate whose predicted loss is lowest after `seconds`.

    Repeated tokens count as the law has it (`effective_tokens`). With
    `critical_batch_tokens`, so do large batches: D tokens in batches of B teach as much as
    D / (1 + B / critical) in the smallest (McCandlish et al. 2018, equation 2.11,
    https://arxiv.org/abs/1812.06162). `overhead` is the share of the time that evaluations and
    checkpoints take. Candidates without time for `least_steps` are left out while any other is
    there. Raises SettingError where no candidate is given, or none gets through a single step.
    """
    require_positive(seconds=seconds, train_tokens=train_tokens)
    outcomes = [
        outcome
        for candidate in candidates
        if (
            outcome := _outcome(
                candidate,
                seconds=(1 - overhead) * seconds,
                law=law,
                train_tokens=train_tokens,
                critical=critical_batch_tokens or math.inf,
            )
        )
    ]
    if not outcomes:
        raise SettingError(
            f"none of {len(candidates)} models gets through a single step in {seconds:.0f} "
            "seconds: give more time, or a smaller model"
        )
    ranked = sorted(outcomes, key=lambda outcome: (outcome.steps < least_steps, outcome.loss))
    best, *others = ranked
    return BestRun(best, tuple(others), tuple(_reasons(best, others, seconds)))


def _outcome(
    candidate: Candidate, *, seconds: float, law: Law, train_tokens: int, critical: float
) -> Outcome | None:
    require_positive(step_seconds=candidate.step_seconds, batch_tokens=candidate.batch_tokens)
    steps = int((seconds - candidate.setup_seconds) / candidate.step_seconds)
    if steps < 1:
        return None
    tokens = float(steps * candidate.batch_tokens)
    worth = effective_tokens(tokens, unique_tokens=train_tokens, decay=law.repetition_decay)
    worth /= 1 + candidate.batch_tokens / critical
    loss = law.loss(candidate.parameters, worth)
    return Outcome(candidate, steps, tokens, tokens / train_tokens, worth, loss)


def _reasons(best: Outcome, others: Sequence[Outcome], seconds: float) -> list[str]:
    """Why this one: what it gets through, and how its neighbours in size would do."""
    found = [
        f"Of {len(others) + 1} sizes {best.candidate.name} gets furthest in {seconds:.0f} s: about "
        f"{best.steps:,} steps, {best.passes:.1f} passes over the text."
    ]
    size = best.candidate.parameters
    smaller = [o for o in others if o.candidate.parameters < size]
    larger = [o for o in others if o.candidate.parameters > size]
    neighbours = []
    if smaller:
        near = max(smaller, key=lambda o: (o.candidate.parameters, -o.loss))
        neighbours.append(("smaller", near))
    if larger:
        near = min(larger, key=lambda o: (o.candidate.parameters, o.loss))
        neighbours.append(("larger", near))
    for which, near in neighbours:
        found.append(
            f"The next {which}, {near.candidate.name}, would see {near.tokens / best.tokens:.2f} "
            f"times the tokens and end {near.loss - best.loss:.3f} nats a token higher."
        )
    return found
