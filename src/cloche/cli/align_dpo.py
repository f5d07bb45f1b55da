"""`cloche align dpo`: learning from what people prefer, pairs or votes."""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from cloche.alignment.preference_options import DpoOptions
from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.tune import read_command, tell_run, with_method


@dataclass(frozen=True)
class AlignDpo(DpoOptions):
    """Train a model on preferences between answers, without a reward model: DPO or IPO from pairs
    and rankings, KTO from single votes. The form of the records is detected."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")] = ""
    """A run, a checkpoint or a Hugging Face model folder; mostly one that was tuned to answer."""
    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="DATA...")] = ()
    """JSON, JSONL or Parquet files of preferences."""
    kind: Annotated[str, tyro.conf.Suppress] = "dpo"
    adapters: Annotated[bool, tyro.conf.arg(name="lora")] = False
    """Train adapters (LoRA) and leave the model's weights as they are."""
    qlora: bool = False
    """The same over weights kept in 4 bits (--method.bits): less memory."""
    out: str | None = None
    """Run folder; runs/NAME-dpo when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Train; 0 when finished, 130 or 143 when a signal ended it after saving."""
    command = read_command(AlignDpo, arguments, prog="cloche align dpo", options=DpoOptions)
    options = with_method(command)
    let_threads_wait_politely()
    from cloche.alignment.dpo import align_dpo
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()
    run = align_dpo(
        command.base, *command.sources, out=command.out, resume=command.resume, options=options
    )
    values: dict[str, Any] = {}
    if run.finished:
        from cloche.alignment.preference_comparison import compare_preferences

        found = compare_preferences(run.folder)
        before = "" if found.before is None else f"{found.before:.1%} before, "
        print(
            f"Held-out choices met ({found.records} {found.part} records): {before}"
            f"{found.after:.1%} after.",
            file=sys.stderr,
        )
        values = {"held_out": vars(found)}
    return tell_run(run, values, verb="align dpo", json_wanted=command.json)
