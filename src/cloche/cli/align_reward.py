"""`cloche align reward`: a model that scores answers as people's choices do."""

import json
import signal
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from cloche.alignment.reward_model_options import RewardOptions
from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.tune import read_command, with_method


@dataclass(frozen=True)
class AlignReward(RewardOptions):
    """Train a reward model on people's choices: of two answers, or several in an order, the
    preferred one is to get the higher score."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")] = ""
    """A run, a checkpoint or a Hugging Face model folder; mostly one that was tuned to answer."""
    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="DATA...")] = ()
    """JSON, JSONL or Parquet files of pairs or rankings."""
    kind: Annotated[str, tyro.conf.Suppress] = "reward"
    adapters: Annotated[bool, tyro.conf.arg(name="lora")] = False
    """Train adapters (LoRA) and the score, and leave the model's own weights as they are."""
    qlora: Annotated[bool, tyro.conf.Suppress] = False
    out: str | None = None
    """Run folder; runs/NAME-reward when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Train; 0 when finished, 130 or 143 when a signal ended it after saving."""
    command = read_command(
        AlignReward, arguments, prog="cloche align reward", options=RewardOptions
    )
    options = with_method(command)
    let_threads_wait_politely()
    from cloche.alignment.reward_model import align_reward, held_out_rewards
    from cloche.training.machine import keep_freed_memory

    keep_freed_memory()
    run = align_reward(
        command.base, *command.sources, out=command.out, resume=command.resume, options=options
    )
    values: dict[str, Any] = {
        "run": str(run.folder),
        "step": run.step,
        "finished": run.finished,
        "best_loss": run.best_loss,
    }
    if run.finished:
        report = held_out_rewards(run.folder)
        values["held_out"] = report.to_values()
        for line in report.lines():
            print(line, file=sys.stderr)
    if command.json:
        print(json.dumps(values, ensure_ascii=False))
    if not run.finished:
        said = f"Stopped at step {run.step}, all saved. Go on with: cloche align reward --resume "
        print(f"{said}--out {run.folder}", file=sys.stderr)
        return 128 + (run.signal or signal.SIGINT)
    print(
        f"Done: {run.folder}. Learn from it: cloche align ppo RUN PROMPTS --reward-model "
        f"{run.folder}   margins: {run.folder}/margins.png",
        file=sys.stderr,
    )
    return 0
