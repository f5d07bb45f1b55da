"""The help of tunings: of the options of a training, those that a tuning takes.

What a tuning refuses is read all the same, so that the refusal can say why. Only the help leaves it
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar

import tyro

from cloche.training.options import TrainOptions

Command = TypeVar("Command", bound=Any)
HELP = frozenset({"-h", "--help"})


@dataclass(frozen=True)
class TunedTrain(TrainOptions):
    """How the model learns; whatever is not given is chosen from the records and the machine."""

    steps: int | None = None
    """Number of optimizer steps; from the number of records, or of prompts, when not given."""
    batch: int | None = None
    """Records, texts or answers in one optimizer step."""
    average: Annotated[float, tyro.conf.Suppress] = 0.0
    parallel: Annotated[Literal["auto", "ddp", "fsdp"], tyro.conf.Suppress] = "auto"
    tensor_parallel: Annotated[int, tyro.conf.Suppress] = 1
    eval_first: bool = False
    """Whether to evaluate and write a sample before the first step, too: what the model knew."""
    eval_batches: Annotated[int | None, tyro.conf.Suppress] = None


@dataclass(frozen=True)
class JudgedTrain(TunedTrain):
    """How the model learns; whatever is not given is chosen from the records and the machine."""

    label_smoothing: Annotated[float, tyro.conf.Suppress] = 0.0
    label_smoothing_over: Annotated[Literal["all", "others"], tyro.conf.Suppress] = "all"
    z_loss: Annotated[float, tyro.conf.Suppress] = 0.0


def shown_in_help(command: type[Command], arguments: Sequence[str]) -> type[Command]:
    """The command as its help shows it, where the arguments ask for help; else the command."""
    if not HELP.intersection(arguments):
        return command
    usual = command()
    kind = TunedTrain if usual.kind in ("tune", "text") else JudgedTrain
    values = {each.name: getattr(usual.train, each.name) for each in fields(TrainOptions)}
    members = {
        "__annotations__": {"train": kind},
        "__doc__": command.__doc__,
        "__module__": command.__module__,
        "train": kind(**values),
    }
    return dataclass(frozen=True)(type(command.__name__, (command,), members))
