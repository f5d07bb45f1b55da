"""`cloche align ppo`: learn from rewards, each token compared with what a value model expected."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from cloche.alignment.ppo_options import PpoOptions
from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.tune import read_command, tell_run, with_method

Appended = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Ppo(PpoOptions):
    """Let a model learn from a reward model, or from functions, for its own answers: each token is
    compared with what a value model expected before it (PPO)."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")] = ""
    """A run, a checkpoint or a Hugging Face model folder."""
    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PROMPTS...")
    ] = ()
    """JSON, JSONL or Parquet files of prompts; other fields, such as answer, are for rewards."""
    reward: Appended = ()
    """A function: exact, format=REGEX, length=20..60, stories, arithmetic, FILE.py:FUNCTION or
    package.module:FUNCTION; with @WEIGHT behind it, such as length=20..60@0.1. May come again."""
    truth: Appended = ()
    """A function, written likewise, that says how good held-out answers really are; nothing is
    learned from it. May come again."""
    kind: Annotated[str, tyro.conf.Suppress] = "ppo"
    adapters: Annotated[bool, tyro.conf.arg(name="lora")] = False
    """Train adapters (LoRA) and leave the model's weights as they are."""
    qlora: Annotated[bool, tyro.conf.Suppress] = False
    out: str | None = None
    """Run folder; runs/NAME-ppo when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Learn; 0 when finished, 130 or 143 when a signal ended it after saving."""
    command = read_command(Ppo, arguments, prog="cloche align ppo", options=PpoOptions)
    options = with_method(command)
    let_threads_wait_politely()
    from cloche.alignment.policy_report import before_and_after
    from cloche.alignment.ppo import align_ppo
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()
    run = align_ppo(
        command.base, *command.sources, out=command.out, resume=command.resume, options=options
    )
    values = before_and_after(run.folder) if run.finished else {}
    return tell_run(run, values, verb="align ppo", json_wanted=command.json)
