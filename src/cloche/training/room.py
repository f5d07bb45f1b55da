"""Whether a training has room in memory, asked before its first step."""

from typing import Literal

import torch

from cloche.errors import SettingError
from cloche.model.attention_inputs import PLAIN_TRAINING_CONTEXT
from cloche.model.config import ModelConfig
from cloche.planning.activations import Path
from cloche.planning.available import available_memory
from cloche.planning.fitting import Fit, Optimizer, describe_too_large, fit_training
from cloche.planning.memory import Precision
from cloche.training.machine import Machine, dtype_of
from cloche.training.options import TrainOptions


def find_room(
    config: ModelConfig,
    *,
    batch: int,
    options: TrainOptions,
    machine: Machine,
    vocab: Literal["free", "given"],
) -> Fit:
    """How the batch is computed: the fewest parts, from those asked for on, that fit in memory.

    Raises SettingError, with the mildest changes that would fit, where not even one sequence at
    a time does.
    """
    found = fit_training(
        config,
        batch=max(1, batch // machine.processes),
        precision=half_or_full(machine.precision),
        optimizer=optimizer_of(config, options),
        attention=attention_path(config, device=machine.device, precision=machine.precision),
        available_bytes=free_bytes(machine),
        accumulate=options.accumulate,
        vocab=vocab,
    )
    if not isinstance(found, Fit):
        raise SettingError(describe_too_large(found))
    return found


def free_bytes(machine: Machine) -> int:
    """What each process may take on its device."""
    if machine.device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return available_memory() // machine.processes


def optimizer_of(config: ModelConfig, options: TrainOptions) -> Optimizer:
    """Which optimizer's state there will be."""
    return "adamw" if options.optimizer == "adamw" or config.family == "bigram" else "muon"


def attention_path(config: ModelConfig, *, device: str, precision: str) -> Path:
    """The path that attention takes in training: on a CPU the plain one, for short contexts."""
    if device != "cpu":
        return "fused"
    longest = PLAIN_TRAINING_CONTEXT.get(dtype_of(precision), 0)
    return "plain" if config.dropout or config.context <= longest else "fused"


def half_or_full(precision: str) -> Precision:
    """The precision as far as its memory goes."""
    return "float32" if precision == "float32" else "bfloat16"
