"""What a checkpoint holds of a training, as it lives in memory."""

from dataclasses import dataclass, field

import torch

from cloche.training.average import WeightAverage
from cloche.training.distributed import World
from cloche.training.optim import Optimizers
from cloche.training.precision import ComputeModel


@dataclass(frozen=True)
class Parts:
    """What a checkpoint holds: weights in both precisions, and the optimizers."""

    compute: ComputeModel
    optimizers: Optimizers
    device: torch.device
    world: World = field(default_factory=World)
    """The processes that share the training."""
    average: WeightAverage | None = None
