"""How long a step takes, measured before a run: its passes, and what the optimizer does."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cloche.data.batches import Batch, TokensInMemory, Windows, on_device
from cloche.model.build import Network, build_model
from cloche.model.config import ModelConfig
from cloche.training.compiling import compile_blocks
from cloche.training.machine import Machine, dtype_of, wait_for
from cloche.training.objectives import NextToken, Objective
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel

ENOUGH_SECONDS = 2.0
"""A time that was measured for so long is not measured again."""
NEARLY_NO_RATE = 1e-9  # the optimizer works as always, and the weights stay where they are


@dataclass(frozen=True)
class StepTime:
    """Seconds of the two halves of a step."""

    passes: float
    """Forward and backward pass of one part of the batch."""
    update: float
    """Clipping and the optimizer, once a step."""

    def seconds(self, parts: int) -> float:
        """Of a whole step of so many parts."""
        return parts * self.passes + self.update


def measure_model(
    config: ModelConfig,
    *,
    rows: int,
    machine: Machine,
    options: TrainOptions,
    compiled: bool = False,
) -> StepTime:
    """The time of a step of a decoder over so many contexts: how long does not depend on the
    text, so the tokens are random. torch's random numbers stay where they were."""
    ids = np.random.default_rng(0).integers(config.vocab_size, size=rows * config.context + 1)
    tokens = TokensInMemory(ids, np.array([len(ids)]), separated=False)
    with torch.random.fork_rng():
        return measure_step(
            build_model(config).to(machine.device),
            NextToken(balance=config.balance),
            Windows(tokens, context=config.context, seed=0).batch(0, size=rows),
            machine=machine,
            options=options,
            compiled=compiled,
        )


def measure_step(
    masters: Network,
    objective: Objective,
    batch: Batch,
    *,
    machine: Machine,
    options: TrainOptions,
    compiled: bool = False,
) -> StepTime:
    """The time of a step of this model, each half the best of a few; the model is used up.

    `compiled` compiles the blocks first, which is not counted.
    """
    compute = ComputeModel(masters, dtype=dtype_of(machine.precision))
    if compiled:
        compile_blocks(compute.model, dynamic=False)
    optimizers = build_optimizers(masters, options, learning_rate=NEARLY_NO_RATE)
    moved = on_device(batch, machine.device)

    alone = options.accumulate == 1

    def pass_through() -> None:
        if alone:
            compute.clear_gradients()
        losses = objective(compute.model, moved)
        torch.stack([term.sum for term in losses.terms.values()]).sum().backward()
        compute.collect_gradients(last=alone)

    def update() -> None:
        compute.clip_gradients(options.clip)
        optimizers.step(compute.gradients)
        compute.refresh()

    passes = best_seconds(pass_through, device=machine.device, repeats=3)
    return StepTime(passes, best_seconds(update, device=machine.device, repeats=2))


def best_seconds(work: Callable[[], object], *, device: str, repeats: int) -> float:
    """The shortest of several times of `work`, fewer where they are long.

    A first call is not counted: it pays for allocation and code generation.
    """
    work()
    best, spent = float("inf"), 0.0
    for _ in range(repeats):
        wait_for(device)
        began = time.perf_counter()
        work()
        wait_for(device)
        seconds = time.perf_counter() - began
        best, spent = min(best, seconds), spent + seconds
        if spent > ENOUGH_SECONDS:
            break
    return best
