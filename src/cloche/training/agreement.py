"""What the processes of a training agree on before its first step: the first one's choice.

It goes to the others as TOML text, and they open the tokens that the first one prepared.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w
import torch

from cloche.config import to_values, with_values
from cloche.data.pair_tokens import open_pairs
from cloche.data.prepare import PreparedText, open_prepared
from cloche.errors import RunError, SettingError, join_problems
from cloche.model.config import ModelConfig
from cloche.model.presets import complete
from cloche.planning.flops import parameter_count
from cloche.training.choices import Choice
from cloche.training.distributed import World
from cloche.training.launch import Launch
from cloche.training.options import RunOptions

JOB = ".job"
"""In the run folder: the launcher's name for the job that began or continued it."""
STATE_BYTES = 20
"""Of each parameter in a process that holds the whole model: float32 weight, gradient and two
moments, and a half-precision weight and gradient."""
ROOM_FOR_STATE = 0.6
"""Share of a device's memory that these may take; activations need the rest."""


@dataclass(frozen=True)
class Agreement:
    """The first process's choice, and whether the run goes on from an earlier sitting."""

    choice: Choice
    begun: bool

    def to_text(self) -> str:
        """As TOML."""
        choice = self.choice
        numbers = {
            field.name: value
            for field in fields(choice)
            if isinstance(value := getattr(choice, field.name), int | float | str | tuple)
        }
        return tomli_w.dumps(
            {
                "begun": self.begun,
                "vocab_size": choice.config.vocab_size,
                "model": repr(choice.config),
                "choice": numbers,
                "options": to_values(choice.options),
            }
        )

    @classmethod
    def from_text(cls, text: str) -> "Agreement":
        """What `to_text` gave; SettingError where this cloche would build another model."""
        values = tomllib.loads(text)
        options = with_values(RunOptions(), values["options"], source="the first process")
        config = _model(options, vocab_size=values["vocab_size"])
        if repr(config) != values["model"]:
            raise SettingError(
                "this process understands the first one's model differently: "
                "have the same version of cloche on all machines"
            )
        return cls(_choice(options, config, values["choice"]), values["begun"])


def _model(options: RunOptions, *, vocab_size: int) -> ModelConfig:
    """The model of complete options."""
    model = options.model
    return complete(
        model,
        vocab_size=vocab_size,
        layers=model.layers or 1,
        width=model.width or 1,
        context=model.context or 1,
    )


def _choice(options: RunOptions, config: ModelConfig, numbers: Mapping[str, Any]) -> Choice:
    absent = {field.name: None for field in fields(Choice)}  # TOML has no null
    values = {**absent, **numbers, "options": options, "config": config}
    return Choice(**{**values, "notes": tuple(numbers["notes"])})


def open_tokens(folder: Path, options: RunOptions) -> PreparedText:
    """The tokens that the first process prepared. RunError where they are not to be seen here."""
    if not folder.exists():
        raise RunError(
            f"{folder} is not to be seen by this process: all machines of a training need the run "
            "folder under the same path"
        )
    return open_pairs(folder) if options.model.family == "seq2seq" else open_prepared(folder)


def share_out(choice: Choice, world: World) -> Choice:
    """The choice with the way its processes share it; SettingError where they cannot."""
    options, config = choice.options.train, choice.config
    tensor_parallel = options.tensor_parallel
    if world.size == 1 and tensor_parallel == 1:
        return choice
    parallel = options.parallel
    if parallel == "auto":
        parallel = "fsdp" if tensor_parallel > 1 else _roomier(choice)
    problems = _size_problems(choice, world, tensor_parallel=tensor_parallel)
    problems += sharding_problems(config, parallel=parallel, tensor_parallel=tensor_parallel)
    if problems:
        raise SettingError(join_problems(problems))
    train = replace(options, parallel=parallel)
    return replace(choice, options=replace(choice.options, train=train))


def describe_sharing(choice: Choice, world: World) -> list[str]:
    """A sentence for the screen about who does what; none for a process alone."""
    options = choice.options.train
    if world.size == 1:
        one = f"Processes: 1, which has nothing to share by train.parallel {options.parallel}."
        return [] if options.parallel == "auto" else [one]
    groups = world.size // options.tensor_parallel
    fewest, more = divmod(options.batch or 0, groups)
    each = f"{fewest}{f' or {fewest + 1}' if more else ''} sequences a step each"
    way = "the whole model in each" if options.parallel == "ddp" else "a shard of it in each"
    if options.tensor_parallel > 1:
        each = f"in groups of {options.tensor_parallel} that share each sequence, {each}"
    return [f"Processes: {world.size}, {way} ({options.parallel}), {each}."]


def sharding_problems(config: ModelConfig, *, parallel: str, tensor_parallel: int) -> list[str]:
    """Why this model cannot be cut into shards like that, one sentence each."""
    if parallel != "fsdp":
        return []
    if config.family in ("bigram", "seq2seq"):
        return [
            "train.parallel fsdp shards the blocks of a decoder, and model.family is "
            f"{config.family}: use ddp"
        ]
    if tensor_parallel == 1:
        return []
    if config.experts:
        return [
            "train.tensor-parallel splits the one MLP of a block, and this model has "
            f"{config.experts} experts in each: leave it out"
        ]
    sizes = {
        "model.heads": config.heads,
        "model.kv-heads": config.kv_heads,
        "model.mlp-width": config.mlp_width,
    }
    return [
        f"train.tensor-parallel {tensor_parallel} does not divide {name} {size}"
        for name, size in sizes.items()
        if size % tensor_parallel
    ]


def is_restart(run: Path, launch: Launch) -> bool:
    """Whether the launcher has started this very training before: it then goes on by itself.

    torchrun counts restarts after a failure, but not those after a machine came or went; a job
    with a name of its own is known again by it.
    """
    if launch.restarts > 0:
        return True
    path = run / JOB
    return (
        launch.job is not None
        and path.is_file()
        and path.read_text(encoding="utf-8").strip() == launch.job
    )


def note_launch(run: Path, launch: Launch) -> None:
    """Write down which job has the run, for `is_restart`."""
    if launch.job is not None:
        (run / JOB).write_text(f"{launch.job}\n", encoding="utf-8")


def _size_problems(choice: Choice, world: World, *, tensor_parallel: int) -> list[str]:
    options = choice.options.train
    if world.size % tensor_parallel:
        return [
            f"train.tensor-parallel {tensor_parallel} does not divide the number of processes, "
            f"{world.size}"
        ]
    least = world.size // tensor_parallel * options.accumulate
    if (options.batch or 0) >= least:
        return []
    return [
        f"train.batch {options.batch} is too small for {world.size // tensor_parallel} processes "
        f"with {options.accumulate} parts each: it must be at least {least}"
    ]


def _roomier(choice: Choice) -> Literal["ddp", "fsdp"]:
    """fsdp for a decoder whose state would crowd out all else on a GPU."""
    if choice.options.train.device != "cuda" or choice.config.family in ("bigram", "seq2seq"):
        return "ddp"
    _, total = torch.cuda.mem_get_info()
    needed = STATE_BYTES * parameter_count(choice.config)
    return "fsdp" if needed > ROOM_FOR_STATE * total else "ddp"
