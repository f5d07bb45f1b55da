"""`cloche align grpo`: learn from rewards, each answer compared with others to the same prompt."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from cloche.alignment.grpo_options import GrpoOptions
from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.tune import read_command, tell_run, with_method

Appended = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Grpo(GrpoOptions):
    """Let a model learn from rewards for its own answers: several to each prompt, and each is
    compared with the others (GRPO)."""

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
    kind: Annotated[str, tyro.conf.Suppress] = "grpo"
    adapters: Annotated[bool, tyro.conf.arg(name="lora")] = False
    """Train adapters (LoRA) and leave the model's weights as they are."""
    qlora: bool = False
    """The same over weights kept in 4 bits (--method.bits): less memory."""
    out: str | None = None
    """Run folder; runs/NAME-grpo when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Learn; 0 when finished, 130 or 143 when a signal ended it after saving."""
    command = read_command(Grpo, arguments, prog="cloche align grpo", options=GrpoOptions)
    options = with_method(command)
    let_threads_wait_politely()
    from cloche.alignment.grpo import align_grpo
    from cloche.alignment.policy_report import before_and_after
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()
    run = align_grpo(
        command.base, *command.sources, out=command.out, resume=command.resume, options=options
    )
    values = before_and_after(run.folder) if run.finished else {}
    return tell_run(run, values, verb="align grpo", json_wanted=command.json)
