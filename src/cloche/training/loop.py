"""The only training loop: a stream of batches plus an objective, told as events.

It knows nothing of text, files or screens: what to evaluate, write and save are functions given
to it, and who wants to watch listens to its events.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from cloche.data.batches import Batch, on_device
from cloche.data.order import mix
from cloche.errors import CheckpointError, ClocheError
from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Listener,
    Notice,
    Replanned,
    RunEnded,
    RunStarted,
    Sampled,
    StepDone,
)
from cloche.training.objectives import Objective
from cloche.training.optim import Optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel
from cloche.training.schedule import Clock, learning_rate_share
from cloche.training.state import LoopState


@runtime_checkable
class SaveCheckpoint(Protocol):
    """Writes a checkpoint of the state and returns its folder."""

    def __call__(self, state: LoopState, *, best: bool) -> Path:
        """CheckpointError where it cannot be written; the earlier ones are then untouched."""
        ...


@dataclass(frozen=True)
class Training:
    """What the loop runs. `options` is complete: nothing is left to choose."""

    compute: ComputeModel
    objective: Objective
    batches: Callable[[int, int], Batch]
    """(step, part) -> the batch of that part of the step, one of `options.accumulate`."""
    optimizers: Optimizers
    options: TrainOptions
    evaluate: Callable[[nn.Module], dict[str, float]]
    """Metrics by the names of metrics.jsonl; `eval/loss` decides which checkpoint is best."""
    write_sample: Callable[[int], Sampled] | None
    save: SaveCheckpoint
    device: torch.device
    rank: int = 0


def run_loop(
    training: Training,
    state: LoopState,
    *,
    listeners: Sequence[Listener],
    stop_requested: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> RunEnded:
    """Train until the plan is done, time is up or a stop is asked for; save before returning.

    Raises ClocheError where the loss is no longer a number, or the last checkpoint cannot be
    written.
    """

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    began = time.monotonic()
    earlier_seconds = state.seconds
    saved_step = state.step
    parameters = sum(p.numel() for p in training.compute.masters.parameters())
    precision = "bfloat16" if training.compute.separate else "float32"
    tell(RunStarted(state.step, state.plan.steps, parameters, training.device.type, precision))
    training.compute.model.train()
    while state.step < state.plan.steps:
        step_began = time.monotonic()
        done = _take_step(training, state, step_began)
        state.seconds = earlier_seconds + time.monotonic() - began
        tell(done)
        better = False
        if state.step % _every(training.options.eval_every) == 0:
            better = _evaluate(training, state, tell)
        if better or state.step % _every(training.options.save_every) == 0:
            state.seconds = earlier_seconds + time.monotonic() - began
            saved_step = _save_or_warn(training, state, tell, saved_step=saved_step, best=better)
        if clock is not None:
            _keep_time(state, clock, tell, step_began=step_began)
        if stop_requested():
            break
    finished = state.step >= state.plan.steps
    better = False
    if finished and state.evaluated_step != state.step:
        better = _evaluate(training, state, tell)
    if saved_step != state.step or better:
        state.seconds = earlier_seconds + time.monotonic() - began
        folder = training.save(state, best=better)
        tell(CheckpointSaved(state.step, folder, better))
    ended = RunEnded(state.step, finished, earlier_seconds + time.monotonic() - began)
    tell(ended)
    return ended


def _take_step(training: Training, state: LoopState, began: float) -> StepDone:
    """One optimizer step: every part's gradient divided once, by the whole step's counts."""
    options, compute = training.options, training.compute
    parts = [training.batches(state.step, part) for part in range(options.accumulate)]
    totals: dict[str, int] = {}
    for part in parts:
        for term, count in training.objective.counts(part).items():
            totals[term] = totals.get(term, 0) + count
    compute.clear_gradients()
    step_loss = 0.0
    metrics: dict[str, float] = {}
    for number, part in enumerate(parts):
        # dropout is a function of (seed, step, part, rank): nothing to restore on resume
        torch.manual_seed(mix(options.seed, state.step, number, training.rank))
        losses = training.objective(compute.model, on_device(part, training.device))
        loss = torch.stack(
            [term.weight * term.sum / max(totals[name], 1) for name, term in losses.terms.items()]
        ).sum()
        loss.backward()
        compute.collect_gradients()
        step_loss += float(loss.detach())
        metrics.update(losses.metrics)
    if not math.isfinite(step_loss):
        raise ClocheError(
            f"the loss became {step_loss} at step {state.step + 1}: a smaller "
            "--train.learning-rate usually helps; the last checkpoint is untouched"
        )
    masters = list(compute.masters.parameters())
    largest = options.clip or math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(masters, largest, foreach=True))
    share = learning_rate_share(state.plan.progress(state.step), options)
    training.optimizers.set_learning_rate(share)
    training.optimizers.step()
    compute.refresh()
    state.step += 1
    tokens = sum(totals.values())
    state.tokens += tokens
    seconds = time.monotonic() - began
    return StepDone(
        step=state.step,
        steps=state.plan.steps,
        progress=state.plan.progress(state.step),
        loss=step_loss,
        learning_rate=share * (options.learning_rate or 0.0),
        gradient_norm=norm,
        tokens_per_second=tokens / seconds,
        seconds_left=(state.plan.steps - state.step) * seconds,
        metrics=metrics,
    )


def _evaluate(training: Training, state: LoopState, tell: Listener) -> bool:
    """Evaluate and write a sample; whether the validation loss is the lowest so far."""
    metrics = training.evaluate(training.compute.model)
    loss = metrics["eval/loss"]
    better = state.best_loss is None or loss < state.best_loss
    if better:
        state.best_loss, state.best_step = loss, state.step
    state.evaluated_step = state.step
    tell(Evaluated(state.step, metrics, better))
    if training.write_sample is not None:
        tell(training.write_sample(state.step))
    return better


def _save_or_warn(
    training: Training, state: LoopState, tell: Listener, *, saved_step: int, best: bool
) -> int:
    """Save in the middle of a run: a full disk is told and the training goes on."""
    try:
        folder = training.save(state, best=best)
    except CheckpointError as exc:
        tell(Notice(f"{exc}. Training goes on; the next save is tried as planned.", warning=True))
        return saved_step
    tell(CheckpointSaved(state.step, folder, best))
    return state.step


def _keep_time(state: LoopState, clock: Clock, tell: Listener, *, step_began: float) -> None:
    """Note the time of this step, and plan the run's end anew where it has moved by over 2%."""
    now = time.monotonic()
    clock.observe(now - step_began)
    steps = state.step + clock.steps_left(now)
    left = state.plan.steps - state.step
    moved = abs(steps - state.plan.steps) > max(1, 0.02 * left)
    if moved and left > 0:
        state.plan = state.plan.replanned(step=state.step, steps=steps)
        tell(Replanned(state.step, state.plan.steps))


def _every(steps: int | None) -> int:
    assert steps is not None, "the options are completed before the loop starts"
    return steps
