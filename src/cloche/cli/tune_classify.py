"""`cloche tune --task classify`: a model that tells classes of texts apart."""

import json
import signal
import sys
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.tune import read_command
from cloche.tuning.classify_options import TuneClassifyOptions


@dataclass(frozen=True)
class TuneClassify(TuneClassifyOptions):
    """Tune a model to tell classes of texts apart, such as spam from no spam. The table has a
    column of texts and one of classes."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")] = ""
    """A run, a checkpoint or a Hugging Face model folder."""
    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="DATA...")] = ()
    """CSV, TSV, JSON, JSONL or Parquet files."""
    kind: Annotated[str, tyro.conf.Suppress] = "classify"
    task: Annotated[Literal["classify"], tyro.conf.Suppress] = "classify"
    out: str | None = None
    """Run folder; runs/NAME-classify when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Tune; 0 when finished, 130 or 143 when a signal ended it after saving."""
    command = read_command(
        TuneClassify,
        without_task(arguments),
        prog="cloche tune --task classify",
        options=TuneClassifyOptions,
    )
    names = [field.name for field in fields(TuneClassifyOptions)]
    options = TuneClassifyOptions(**{name: getattr(command, name) for name in names})
    let_threads_wait_politely()
    from rich.console import Console

    from cloche.training.machine import keep_freed_memory
    from cloche.tuning.classify import held_out_classes, tune_classify
    from cloche.tuning.classify_report import report_table

    keep_freed_memory()
    run = tune_classify(
        command.base, *command.sources, out=command.out, resume=command.resume, options=options
    )
    values: dict[str, Any] = {
        "run": str(run.folder),
        "step": run.step,
        "finished": run.finished,
        "best_loss": run.best_loss,
    }
    if run.finished:
        report = held_out_classes(run.folder)
        values["held_out"] = report.to_values()
        console = Console(stderr=True)
        console.print(report_table(report))
        console.print(
            f"Held-out texts ({report.texts:,}, {report.part}): {report.accuracy:.1%} right; "
            f"always saying {report.commonest!r} is right for {report.baseline:.1%}.",
            highlight=False,
            markup=False,
        )
    if command.json:
        print(json.dumps(values, ensure_ascii=False))
    if not run.finished:
        said = f"Stopped at step {run.step}, all saved. Go on with: cloche tune --task classify "
        print(f"{said}--resume --out {run.folder}", file=sys.stderr)
        return 128 + (run.signal or signal.SIGINT)
    print(f"Done: {run.folder}. Confusions: {run.folder}/confusion.png", file=sys.stderr)
    return 0


def without_task(arguments: list[str]) -> list[str]:
    """The arguments without `--task classify`, which has brought them here."""
    found: list[str] = []
    after_task = False
    for argument in arguments:
        if after_task:
            after_task = False
        elif argument == "--task":
            after_task = True
        elif not argument.startswith("--task="):
            found.append(argument)
    return found
