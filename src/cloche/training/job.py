"""What the loop runs: a model, an objective, batches, and how to evaluate, write and save."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from cloche.data.batches import Batch
from cloche.training.average import WeightAverage
from cloche.training.distributed import World
from cloche.training.events import Sampled
from cloche.training.objectives import Objective
from cloche.training.optim import Optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel
from cloche.training.state import LoopState

SaveCheckpoint = Callable[[LoopState], Callable[[], Path]]
"""Copies the state, and returns what writes the copy as a checkpoint (`best` where `best_step` is
its step) and gives its folder; CheckpointError, from either, where it cannot be written: the
earlier ones are then untouched. A process alone may write while the training goes on."""


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
    average: WeightAverage | None = None
    """Evaluated and saved in place of the weights."""
    world: World = field(default_factory=World)
    """The processes that share the training; a process alone when not given."""
    flops_per_token: int = 0
    """Of forward and backward pass; 0 leaves perf/mfu out."""
    peak_flops: float = 0.0
    """The machine's matrix-multiply peak, measured."""
    loss_unit: str | None = "nats a token"
    """See RunStarted."""
