"""`cloche train`: from text to a model."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cloche.cli.environment import cache_folder, data_folder, let_threads_wait_politely
from cloche.cli.parse import parse
from cloche.cli.processes import as_one_of_many, start_processes
from cloche.config import read_toml, with_values
from cloche.errors import SettingError
from cloche.training.launch import Launch, read_launch
from cloche.training.options import RunOptions

if TYPE_CHECKING:
    from cloche.training.start import TrainedRun


@dataclass(frozen=True)
class Train(RunOptions):
    """Grow a model from text. No option is needed: encoding, tokenizer, model size, batch,
    learning rate and length are chosen from the text, the machine and the time."""

    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCES...")
    ] = ()
    """Files, folders, quoted patterns, - for standard input, or a name of cloche data list."""
    out: str | None = None
    """Run folder; runs/NAME, after the text's name, when not given."""
    recipe: str | None = None
    """Options from a TOML file, or a packaged recipe, such as babygpt, bigram, verdict."""
    resume: bool = False
    """Go on with the run in the folder, exactly where its last checkpoint stands."""
    nproc: int = 1
    """Processes to start on this machine, each with its share of every batch: one for each GPU.
    Over several machines, let torchrun start them: torchrun ... -m cloche train ..."""
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Train; 0 when finished, 130 or 143 when a signal ended it after saving."""
    began = time.monotonic()  # --minutes covers the loading of torch, too
    launch = read_launch(os.environ)
    if launch is not None:
        return as_one_of_many(launch, lambda: _train(arguments, launch.began or began, launch))
    nproc = parse(Train, arguments, prog="cloche train").nproc
    if nproc < 1:
        raise SettingError(f"nproc must be at least 1, got {nproc}")
    return _train(arguments, began, None) if nproc == 1 else start_processes(arguments, nproc)


def _train(arguments: list[str], began: float, launch: Launch | None) -> int:
    """Train in this process, alone or as one of many."""
    command = _with_defaults(parse(Train, arguments, prog="cloche train"), arguments)
    first = launch is None or launch.rank == 0
    polite = let_threads_wait_politely()
    from rich.console import Console

    from cloche.training.events import Event, Notice, RunStarted
    from cloche.training.machine import keep_freed_memory
    from cloche.training.preparing import Places
    from cloche.training.start import train
    from cloche.training.terminal import Terminal

    keep_freed_memory()
    terminal = Terminal(Console(stderr=True))

    def tell(event: Event) -> None:
        terminal(event)
        if polite and isinstance(event, RunStarted):
            terminal(Notice("Other programs use the processors: threads wait without spinning."))

    with contextlib.closing(terminal), _standard_input(command.sources if first else ()) as spooled:
        run = train(
            out=command.out,
            resume=command.resume,
            options=_run_options(command),
            listeners=[tell],
            places=Places(data_folder(), cache_folder(), spooled),
            began=began,
        )
    if first:
        _tell(run, json_wanted=command.json)
    return 0 if run.finished else 128 + (run.signal or signal.SIGINT)


def _tell(run: "TrainedRun", *, json_wanted: bool) -> None:
    """What came of it, and how to go on."""
    if json_wanted:
        values = {
            "run": str(run.folder),
            "step": run.step,
            "finished": run.finished,
            "best_loss": run.best_loss,
        }
        print(json.dumps(values, ensure_ascii=False))
    if not run.finished:
        said = f"Stopped at step {run.step}, all saved. Go on with: cloche train --resume "
        print(f"{said}--out {run.folder}", file=sys.stderr)
        return
    print(
        f'Done: {run.folder}. Try: cloche generate {run.folder} "..."   '
        f"curve: {run.folder}/loss.png",
        file=sys.stderr,
    )


def _with_defaults(command: Train, arguments: list[str]) -> Train:
    """The arguments read again over a recipe, or over the options a resumed run began with."""
    from cloche.training.folder import read_options
    from cloche.training.start import default_folder

    if command.resume and command.recipe:
        raise SettingError(
            "--resume keeps the options the run began with; leave --recipe out, or begin another "
            "run with --out"
        )
    if command.recipe is not None:
        values = read_toml(recipe_file(command.recipe))
        default = with_values(Train(), values, source=f"recipe {command.recipe}")
        if command.minutes is not None and command.train.steps is None:
            default = replace(default, train=replace(default.train, steps=None))
        if command.train.steps is not None and command.minutes is None:
            default = replace(default, minutes=None)
        return parse(Train, arguments, prog="cloche train", default=default)
    if command.resume:
        run = Path(command.out) if command.out else default_folder(command.sources)
        stored = read_options(run)
        if stored is not None:
            values = {field.name: getattr(stored, field.name) for field in fields(stored)}
            return parse(Train, arguments, prog="cloche train", default=Train(**values))
    return command


def recipe_file(name: str, *, verb: str = "") -> Path:
    """The recipe's file: a path, or the name of one that comes with the package for a verb; those
    of `cloche train` when none is named.
    """
    if Path(name).is_file():
        return Path(name)
    folder = Path(__file__).parents[1] / "recipes" / verb
    packaged = {path.stem: path for path in folder.glob("*.toml")}
    if name not in packaged:
        known = ", ".join(sorted(packaged)) or "none"
        raise SettingError(f"there is no recipe {name}: no such file, and packaged are: {known}")
    return packaged[name]


def _run_options(command: Train) -> RunOptions:
    return RunOptions(**{field.name: getattr(command, field.name) for field in fields(RunOptions)})


@contextlib.contextmanager
def _standard_input(sources: tuple[str, ...]) -> Iterator[Path | None]:
    """A file with all of standard input, where `-` is a source and something is piped in."""
    if "-" not in sources or sys.stdin.isatty():
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="cloche-", suffix=".txt") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)
