"""One optimizer step: several parts, each gradient divided once by the whole step's counts."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from cloche.data.batches import Batch, on_device
from cloche.data.order import mix
from cloche.errors import ClocheError
from cloche.training.compiling import not_compiled
from cloche.training.events import StepDone, StepSkipped
from cloche.training.job import Training
from cloche.training.schedule import learning_rate_share
from cloche.training.state import LoopState
from cloche.training.statistics import (
    first_nonfinite,
    first_nonfinite_output,
    gradient_metrics,
    memory_metrics,
    statistics_due,
    update_metrics,
    weights_now,
)


def take_step(training: Training, state: LoopState) -> StepDone | StepSkipped:
    """Learn from the step's batch; the state moves one step on.

    Where loss or gradient is no number the weights are untouched: the step is left out if the
    options allow that, and ClocheError raised otherwise.
    """
    began = time.monotonic()
    options, compute = training.options, training.compute
    parts = [training.batches(state.step, part) for part in range(options.accumulate)]
    loss, metrics, tokens = _add_gradients(training, state, parts)
    measured = statistics_due(
        state.step + 1, every=options.statistics_every, eval_every=options.eval_every or 1
    )
    if measured:
        metrics |= gradient_metrics(compute.named_gradients(), factor=compute.gradients.factor)
    norm = compute.clip_gradients(options.clip)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return _leave_out(training, state, parts, loss=loss, norm=norm)
    share = learning_rate_share(state.plan.progress(state.step), options)
    before = weights_now(compute.masters.named_parameters()) if measured else {}
    training.optimizers.set_learning_rate(share)
    training.optimizers.step(compute.gradients)
    compute.refresh()
    if measured:
        metrics |= update_metrics(before, compute.masters.named_parameters())
        metrics |= memory_metrics(training.device)
    state.step += 1
    state.tokens += tokens
    state.skipped = 0
    if training.average is not None:
        training.average.update(state.step)
    if state.loss_scale is not None:
        state.loss_scale.hold()
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


def diverged(what: str, step: int, *, where: str | None = None, also: str = "") -> ClocheError:
    """The error for a training that left the numbers; `what` as "loss became nan"."""
    place = f", first in {where}" if where else ""
    return ClocheError(
        f"the {what} at step {step}{place}: a smaller --train.learning-rate usually helps{also}; "
        "what was saved before stays"
    )


def _add_gradients(
    training: Training, state: LoopState, parts: Sequence[Batch]
) -> tuple[float, dict[str, float], int]:
    """Put the step's gradient on the masters: (loss, metrics, number of targets)."""
    compute = training.compute
    totals: dict[str, int] = {}
    for part in parts:
        for term, count in training.objective.counts(part).items():
            totals[term] = totals.get(term, 0) + count
    totals = training.world.sum_counts(totals)
    compute.clear_gradients()
    step_loss = torch.zeros((), device=training.device)
    metrics: dict[str, float] = {}
    factor = 1.0 if state.loss_scale is None else state.loss_scale.factor
    for number, part in enumerate(parts):
        _seed_dropout(training, state, number)
        last = number == len(parts) - 1
        losses = compute.losses(training.objective, on_device(part, training.device), last=last)
        loss = torch.stack(
            [term.weight * term.sum / max(totals[name], 1) for name, term in losses.terms.items()]
        ).sum()
        (loss * factor if factor != 1.0 else loss).backward()
        compute.collect_gradients(last=last)
        step_loss += loss.detach()
        for name, value in losses.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value / len(parts)
    if factor != 1.0:
        compute.scale_gradients(1.0 / factor)
        metrics["train/loss_scale"] = factor
    names = sorted(metrics)
    summed = training.world.sum_numbers([float(step_loss), *(metrics[name] for name in names)])
    mean = [value / training.world.data_size for value in summed[1:]]
    # several terms may be counted over the same tokens
    return summed[0], dict(zip(names, mean, strict=True)), max(totals.values())


def _seed_dropout(training: Training, state: LoopState, part: int) -> None:
    """Dropout is a function of (seed, step, part, rank): nothing to restore on resume."""
    torch.manual_seed(mix(training.options.seed, state.step, part, training.world.data_rank))


def _leave_out(
    training: Training, state: LoopState, parts: Sequence[Batch], *, loss: float, norm: float
) -> StepSkipped:
    """Go on to the next step with the weights as they are; ClocheError where that is too much."""
    step = state.step + 1
    scale = state.loss_scale
    if scale is not None and math.isfinite(loss):
        if not scale.shrink():
            raise diverged(
                "gradient left float16's range whatever the loss was scaled by",
                step,
                where=first_nonfinite(training.compute.named_gradients()),
                also=", and --train.precision bfloat16 or float32 has the range",
            )
        state.step = step
        reason = f"a gradient left float16's range; the loss is now scaled by {scale.factor:g}"
        return StepSkipped(step, state.plan.steps, reason, warning=False)
    what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient's norm became {norm}"
    where = _first_broken(training, state, parts)
    allowed = training.options.skip_nonfinite
    if state.skipped >= allowed:
        also = ", and --train.skip-nonfinite leaves a few such steps out"
        if allowed:
            also = f" ({allowed} such steps in a row were left out before it)"
        raise diverged(what, step, where=where, also=also)
    state.step = step
    state.skipped += 1
    place = f", first in {where}" if where else ""
    reason = f"the {what}{place}; the step is left out ({state.skipped} of {allowed} in a row)"
    return StepSkipped(step, state.plan.steps, reason, warning=True)


def _first_broken(training: Training, state: LoopState, parts: Sequence[Batch]) -> str | None:
    """The part of the model whose output, or else whose gradient, is the first that broke."""
    compute = training.compute
    # what is compiled does not call its parts one by one
    eager = not_compiled() if training.options.compile == "on" else nullcontext()

    def forward() -> None:
        with torch.no_grad(), eager:
            for number, part in enumerate(parts):
                _seed_dropout(training, state, number)
                compute.losses(training.objective, on_device(part, training.device), last=True)

    if training.world.size == 1:
        where = first_nonfinite_output(compute.model, forward)
        if where is not None:
            return where
    return first_nonfinite(compute.named_gradients())
