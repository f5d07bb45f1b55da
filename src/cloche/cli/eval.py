"""`cloche eval`: how good a model is: at predicting text, translating, writing, or in tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloche.cli.eval_tasks import TaskOptions, measure_tasks, require_tasks
from cloche.cli.eval_writing import WritingOptions, measure_writing, require_writing
from cloche.cli.parse import parse
from cloche.errors import SettingError, join_problems

PAGES = (".json", ".html")
PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Eval(TaskOptions, WritingOptions):
    """Measure how well a model predicts a text: the run's own validation part, all of it, or the
    texts given. With --compare, several models on one text; with --writing, what the model writes;
    with --tasks, tasks of lm-evaluation-harness."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    texts: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TEXT...")] = ()
    """Texts to measure on; the run's validation part when none is given. Of a seq2seq model, files
    of pairs."""
    compare: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Another run to measure on the same text, in one table; can be given several times."""
    ngram: bool = False
    """Compare with n-grams counted on the run's training part, the baseline of any model."""
    surprisal: str | None = None
    """Write each token's surprisal to this file: .json, or .html for a coloured page."""
    alternatives: int | None = None
    """With --surprisal: likeliest tokens told for each; 5 when not given."""
    surprisal_limit: int | None = None
    """With --surprisal: most tokens; 20,000 on a page and all in JSON when not given."""
    plot: str | None = None
    """Draw to this file (.png, .svg, .pdf): calibration, or with --compare the intervals."""
    stride: int | None = None
    """Tokens from window to window; half the context when not given."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    encoding: str | None = None
    """Encoding of the texts; detected when not given."""
    pair_columns: tuple[str, ...] = ()
    """Of a seq2seq model: the two columns with source and target; those it was trained on."""
    precision: Literal["auto", "float32", "bfloat16", "int8", "int4"] = "auto"
    """float32 is exact; auto takes it on a CPU; int8 and int4 read the weights as so few bits."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Measure and print."""
    command = parse(Eval, arguments, prog="cloche eval")
    if command.tasks is not None:
        return measure_tasks(command)
    require_tasks(command)
    if command.writing:
        return measure_writing(command)
    require_writing(command)
    problems = find_problems(command)
    if problems:
        raise SettingError(join_problems(problems))
    # below, files that load torch
    from cloche.evaluation.translation import is_translator

    if is_translator(command.run, checkpoint=command.checkpoint):
        from cloche.cli.eval_translation import measure_translations

        return measure_translations(command)
    if command.pair_columns:
        raise SettingError(
            f"--pair-columns is for models that translate, and {command.run} continues text: "
            "leave it out"
        )
    if command.compare or command.ngram:
        from cloche.cli.eval_compare import measure_several

        return measure_several(command)
    from cloche.cli.eval_text import measure_text

    return measure_text(command)


def find_problems(command: Eval) -> list[str]:
    """What cannot be used, found before any model is opened."""
    found = []
    compared = bool(command.compare or command.ngram)
    if command.surprisal is not None:
        found += _file_problems("--surprisal", command.surprisal, PAGES)
        if compared:
            found.append("--surprisal is of one model: leave out --compare and --ngram")
    else:
        found += [
            f"{option} has a meaning only with --surprisal: leave it out"
            for option, value in (
                ("--alternatives", command.alternatives),
                ("--surprisal-limit", command.surprisal_limit),
            )
            if value is not None
        ]
    if command.plot is not None:
        found += _file_problems("--plot", command.plot, PICTURES)
    if command.alternatives is not None and command.alternatives < 0:
        found.append(f"--alternatives must not be negative, got {command.alternatives}")
    for option, value in (("surprisal-limit", command.surprisal_limit), ("stride", command.stride)):
        if value is not None and value < 1:
            found.append(f"--{option} must be at least 1, got {value}")
    return found


def _file_problems(option: str, name: str, endings: tuple[str, ...]) -> list[str]:
    path = Path(name)
    if path.suffix.lower() not in endings:
        return [f"{option} writes {', '.join(endings)}, and {name} is none of them"]
    if not path.parent.is_dir():
        return [f"{option} {name}: there is no folder {path.parent}; make it first"]
    if path.is_dir():
        return [f"{option} {name} is a folder; name a file"]
    return []
