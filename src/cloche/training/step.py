"""One optimizer step: several parts, each gradient divided once by the whole step's counts."""

import math
import time

import torch

from cloche.data.batches import on_device
from cloche.data.order import mix
from cloche.errors import ClocheError
from cloche.training.events import StepDone
from cloche.training.job import Training
from cloche.training.schedule import learning_rate_share
from cloche.training.state import LoopState


def take_step(training: Training, state: LoopState) -> StepDone:
    """Learn from the step's batch; the state moves one step on.

    Raises ClocheError where loss or gradient is no number; the weights are then untouched.
    """
    began = time.monotonic()
    options, compute = training.options, training.compute
    loss, metrics, tokens = _add_gradients(training, state.step)
    if not math.isfinite(loss):
        raise diverged("loss", loss, state.step + 1)
    norm = compute.clip_gradients(options.clip)
    if not math.isfinite(norm):
        raise diverged("gradient's norm", norm, state.step + 1)
    share = learning_rate_share(state.plan.progress(state.step), options)
    training.optimizers.set_learning_rate(share)
    training.optimizers.step()
    compute.refresh()
    state.step += 1
    state.tokens += tokens
    seconds = time.monotonic() - began
    if training.peak_flops and training.flops_per_token:
        metrics["perf/mfu"] = training.flops_per_token * tokens / seconds / training.peak_flops
    return StepDone(
        step=state.step,
        steps=state.plan.steps,
        progress=state.plan.progress(state.step),
        loss=loss,
        learning_rate=share * (options.learning_rate or 0.0),
        gradient_norm=norm,
        tokens_per_second=tokens / seconds,
        seconds_left=(state.plan.steps - state.step) * seconds,
        metrics=metrics,
    )


def diverged(what: str, value: float, step: int) -> ClocheError:
    """The error for a training that left the numbers."""
    return ClocheError(
        f"the {what} became {value} at step {step}: a smaller --train.learning-rate usually helps; "
        "the last checkpoint is untouched"
    )


def _add_gradients(training: Training, step: int) -> tuple[float, dict[str, float], int]:
    """Put the step's gradient on the masters: (loss, metrics, number of targets)."""
    options, compute = training.options, training.compute
    parts = [training.batches(step, part) for part in range(options.accumulate)]
    totals: dict[str, int] = {}
    for part in parts:
        for term, count in training.objective.counts(part).items():
            totals[term] = totals.get(term, 0) + count
    totals = training.world.sum_counts(totals)
    compute.clear_gradients()
    step_loss = torch.zeros((), device=training.device)
    metrics: dict[str, float] = {}
    for number, part in enumerate(parts):
        # dropout is a function of (seed, step, part, rank): nothing to restore on resume
        torch.manual_seed(mix(options.seed, step, number, training.world.data_rank))
        losses = compute.losses(
            training.objective, on_device(part, training.device), last=number == len(parts) - 1
        )
        loss = torch.stack(
            [term.weight * term.sum / max(totals[name], 1) for name, term in losses.terms.items()]
        ).sum()
        loss.backward()
        compute.collect_gradients()
        step_loss += loss.detach()
        for name, value in losses.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value / len(parts)
    names = sorted(metrics)
    summed = training.world.sum_numbers([float(step_loss), *(metrics[name] for name in names)])
    mean = [value / training.world.data_size for value in summed[1:]]
    # several terms may be counted over the same tokens
    return summed[0], dict(zip(names, mean, strict=True)), max(totals.values())
