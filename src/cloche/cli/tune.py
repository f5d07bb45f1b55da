"""`cloche tune`: from a model that continues to a model that answers."""

import json
import signal
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from cloche.cli.environment import let_threads_wait_politely
from cloche.cli.opening import require_folder
from cloche.cli.parse import parse
from cloche.cli.train import recipe_file
from cloche.cli.tune_help import shown_in_help
from cloche.config import read_toml, with_values
from cloche.errors import RunError, SettingError
from cloche.tuning.options import TuneOptions

if TYPE_CHECKING:
    from cloche.training.start import TrainedRun

Command = TypeVar("Command", bound=Any)
TASKS = ("chat", "text", "classify")


@dataclass(frozen=True)
class Tune(TuneOptions):
    """Tune a model on conversations: from one that continues a text to one that answers. The form
    of the records is detected: Alpaca, ShareGPT, messages, or prompt and completion."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")] = ""
    """A run, a checkpoint or a Hugging Face model folder."""
    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="DATA...")] = ()
    """JSON, JSONL or Parquet files of records."""
    kind: Annotated[str, tyro.conf.Suppress] = "tune"
    task: Literal["chat", "text", "classify"] = "chat"
    """chat: conversations. text: go on with plain text, some old text among it. classify: a label
    for a text. Each has options of its own: cloche tune --task text --help."""
    adapters: Annotated[bool, tyro.conf.arg(name="lora")] = False
    """Train adapters (LoRA) and leave the model's weights as they are."""
    qlora: bool = False
    """The same over weights kept in 4 bits (--method.bits): less memory."""
    show: int = 0
    """Print so many examples token by token, what is learned of them in colour, and end."""
    compare: int = 0
    """After the tuning, answer so many held-out questions by the model before and after."""
    out: str | None = None
    """Run folder; runs/NAME-tuned when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe, such as novel-tune."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Tune; 0 when finished, 130 or 143 when a signal ended it after saving."""
    task = _task(arguments)
    if task == "classify":
        from cloche.cli.tune_classify import main as classify

        return classify(arguments)
    if task == "text":
        from cloche.cli.tune_text import main as go_on

        return go_on(arguments)
    command = read_command(Tune, arguments, prog="cloche tune", options=TuneOptions)
    options = with_method(command)
    if command.compare < 0:
        raise SettingError(f"compare must be at least 1 question, got {command.compare}")
    if command.show:
        from cloche.cli.tune_show import show_examples

        return show_examples(options, count=command.show, json_wanted=command.json)
    let_threads_wait_politely()
    from cloche.training.machine import keep_freed_memory
    from cloche.tuning.start import tune

    keep_freed_memory()
    run = tune(
        command.base, *command.sources, out=command.out, resume=command.resume, options=options
    )
    values: dict[str, Any] = {}
    if run.finished:
        from cloche.cli.tune_compare import held_out_report

        values = held_out_report(run.folder, answers=command.compare)
    return tell_run(run, values, verb="tune", json_wanted=command.json)


def read_command(
    command: type[Command], arguments: list[str], *, prog: str, options: type[Any]
) -> Command:
    """The arguments, read over a recipe, or over the options a resumed run began with."""
    read = parse(shown_in_help(command, arguments), arguments, prog=prog)
    require_folder(read.base)
    if read.resume and read.recipe:
        raise SettingError(
            "--resume keeps the options the run began with; leave --recipe out, or begin another "
            "run with --out"
        )
    if read.recipe is not None:
        values = read_toml(recipe_file(read.recipe, verb="tune"))
        default = with_values(command(), values, source=f"recipe {read.recipe}")
        return parse(command, arguments, prog=prog, default=default)
    if not read.resume:
        return read
    from cloche.tuning.session import read_tuning_options
    from cloche.tuning.start import default_folder

    if read.out is None and not read.base:
        raise SettingError("name the run to go on with: --out RUN")
    run = Path(read.out) if read.out else default_folder(read.base, ending=_ending(options))
    stored = read_tuning_options(run, options())
    if stored is None and not read.base:
        raise RunError(f"{run} holds no run to go on with")
    if stored is None:
        return read
    values = {field.name: getattr(stored, field.name) for field in fields(stored)}
    for name in values:
        if isinstance(values[name], tuple) and _is_given(name, arguments):
            values[name] = ()  # what is given several times would be put behind the stored ones
    return parse(command, arguments, prog=prog, default=command(**values))


def _is_given(name: str, arguments: list[str]) -> bool:
    option = f"--{name.replace('_', '-')}"
    return any(each == option or each.startswith(f"{option}=") for each in arguments)


def _ending(options: type[Any]) -> str:
    kind = options().kind
    return "tuned" if kind == "tune" else kind


def with_method(command: Any) -> Any:
    """The options of a command, without what only the command line has: `--lora`, `--qlora`."""
    method = command.method
    if command.adapters and command.qlora:
        raise SettingError("--lora and --qlora are two ways to train adapters: give one of them")
    if command.adapters or command.qlora:
        asked = "qlora" if command.qlora else "lora"
        if method.method not in ("full", asked):
            raise SettingError(f"--{asked} and --method.method {method.method} contradict")
        method = replace(method, method=asked)
    base = next(c for c in type(command).__mro__ if c.__name__.endswith("Options"))
    values = {field.name: getattr(command, field.name) for field in fields(base)}
    return base(**{**values, "method": method})


def tell_run(run: "TrainedRun", values: dict[str, Any], *, verb: str, json_wanted: bool) -> int:
    """Say what came of it and how to go on; returns the exit status."""
    if json_wanted:
        told = {
            "run": str(run.folder),
            "step": run.step,
            "finished": run.finished,
            "best_loss": run.best_loss,
            **values,
        }
        print(json.dumps(told, ensure_ascii=False))
    if not run.finished:
        said = f"Stopped at step {run.step}, all saved. Go on with: cloche {verb} --resume "
        print(f"{said}--out {run.folder}", file=sys.stderr)
        return 128 + (run.signal or signal.SIGINT)
    print(
        f"Done: {run.folder}. Try: cloche chat {run.folder}   curve: {run.folder}/loss.png",
        file=sys.stderr,
    )
    return 0


def _task(arguments: list[str]) -> str:
    """The task that is asked for, looked up before its options are known."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--task":
            found = value if equals else "".join(arguments[place + 1 : place + 2])
            return found if found in TASKS else "chat"  # the parser then tells what there is
    return "chat"
