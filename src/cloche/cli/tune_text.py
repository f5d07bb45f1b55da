"""`cloche tune --task text`: a model goes on with plain text."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from cloche.cli.environment import cache_folder, data_folder, let_threads_wait_politely
from cloche.cli.tune import read_command, tell_run, with_method
from cloche.tuning.text_options import TuneTextOptions


@dataclass(frozen=True)
class TuneText(TuneTextOptions):
    """Train a model on with plain text, some old text among it against forgetting."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")] = ""
    """A run, a checkpoint or a Hugging Face model folder."""
    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TEXT...")] = ()
    """Files, folders, quoted patterns, or a name of cloche data list."""
    kind: Annotated[str, tyro.conf.Suppress] = "text"
    task: Literal["text"] = "text"
    """Go on with plain text."""
    adapters: Annotated[bool, tyro.conf.arg(name="lora")] = False
    """Train adapters (LoRA) and leave the model's weights as they are."""
    qlora: bool = False
    """The same over weights kept in 4 bits (--method.bits): less memory."""
    out: str | None = None
    """Run folder; runs/NAME-text when not given."""
    recipe: str | None = None
    """Options from a TOML file."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Train on; 0 when finished, 130 or 143 when a signal ended it after saving."""
    command = read_command(
        TuneText, arguments, prog="cloche tune --task text", options=TuneTextOptions
    )
    options = with_method(command)
    let_threads_wait_politely()
    from cloche.training.machine import keep_freed_memory
    from cloche.training.preparing import Places
    from cloche.tuning.continued import tune_on_text

    keep_freed_memory()
    run = tune_on_text(
        command.base,
        *command.sources,
        out=command.out,
        resume=command.resume,
        options=options,
        places=Places(data_folder(), cache_folder()),
    )
    return tell_run(run, {}, verb="tune --task text", json_wanted=command.json)
