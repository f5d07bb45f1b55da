"""`cloche data prepare`: a text of any size to tokens on disk, by many processes or machines."""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cloche.cli.environment import cache_folder, data_folder
from cloche.cli.executors import ExecutorName, launch, problems_of
from cloche.data.options import DataOptions
from cloche.errors import SettingError, join_problems
from cloche.text.options import TextOptions

if TYPE_CHECKING:
    from cloche.data.prepare import PreparedText
    from cloche.text.sources import FoundSources


@dataclass(frozen=True)
class Prepare:
    """Turn texts into tokens once, to train on later: cloche train FOLDER. What is done is kept:
    the same command again does only what is missing, or all of it where a text changed."""

    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCES...")
    ] = ()
    """Files, folders, quoted patterns, or a name of cloche data list; not needed with --rank."""
    out: str | None = None
    """Folder of the tokens; prepared/NAME, after the text's name, when not given."""
    workers: int | None = None
    """Processes on this machine; as many as pay when not given."""
    plan_only: bool = False
    """Only read the texts and write down the tasks: ranks on other machines then do them."""
    rank: int | None = None
    """Do only the part of this rank (from 0) of a preparation that was planned."""
    world_size: int | None = None
    """Number of ranks."""
    executor: ExecutorName = "processes"
    """What does the tasks: processes, or datatrove on this machine, under Slurm, or on Ray."""
    executor_options: tuple[str, ...] = ()
    """Of datatrove's executor, each NAME=VALUE, such as time=02:00:00 partition=cpu."""
    text: TextOptions = field(default_factory=TextOptions)
    data: DataOptions = field(default_factory=DataOptions)
    json: bool = False
    """Print one JSON object at the end, and nothing else, on standard output."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = self.text.problems() + self.data.problems()
        if self.data.stride is not None or self.data.windows != "epoch":
            found.append("data.stride and data.windows are of training: give them to cloche train")
        if (self.rank is None) != (self.world_size is None):
            found.append("--rank and --world-size belong together: give both or neither")
        if self.rank is not None and (self.out is None or self.sources):
            found.append("a rank works on a planned preparation: name its folder with --out alone")
        if self.rank is not None and self.workers is not None:
            found.append("a rank is one worker: leave --workers out")
        if self.workers is not None and self.workers < 1:
            found.append(f"--workers must be at least 1, got {self.workers}")
        if self.rank is None and not self.sources and self.out is None:
            found.append("name a text to prepare")
        if not self.sources and (self.text, self.data) != (TextOptions(), DataOptions()):
            found.append(
                "options of text and data are settled by the plan in the folder: leave them out, "
                "or name the text again"
            )
        if self.executor != "processes" and (
            self.rank is not None or self.plan_only or self.workers is not None
        ):
            found.append(
                f"--executor {self.executor} does all tasks: leave --rank and --plan-only out, and "
                "give workers=N with --executor-options"
            )
        return found + problems_of(self.executor, self.executor_options)


def prepare(command: Prepare) -> int:
    """Prepare, plan, or do one rank's part; and print what came of it."""
    if problems := command.problems():
        raise SettingError(join_problems(problems))
    began = time.monotonic()
    from cloche.data.plan import default_name
    from cloche.data.prepare import finish, held, open_workers, prepare_sources, run_rank
    from cloche.data.tasks import open_work

    named = command.out or f"prepared/{default_name(command.sources)}"
    folder = Path(named)
    with _Counter() as counter:
        if command.rank is not None and command.world_size is not None:
            count = run_rank(
                folder, rank=command.rank, world_size=command.world_size, progress=counter.show
            )
            return _print(command, {"folder": named, "tasks_done": count}, began=began)
        found = _find(command)
        sources = found.files if found else [each.file for each in open_work(folder).spec.sources]
        with held(folder), open_workers(sources, count=command.workers) as workers:
            if found is not None:
                prepare_sources(
                    folder, found, text=command.text, data=command.data, tell=_say, workers=workers
                )
            if command.plan_only:
                return _print(command, _planned(folder), began=began)
            if command.executor != "processes":
                job = launch(command.executor, folder, command.executor_options)
                if job is not None:
                    values = _planned(folder) | {"slurm_job": job}
                    return _print(command, values, began=began)
            prepared = finish(folder, workers=workers, progress=counter.show)
    return _print(command, _made(folder, prepared), began=began)


def _find(command: Prepare) -> "FoundSources | None":
    """What is to be prepared; None to go on with what was planned."""
    from cloche.data.corpora import resolve
    from cloche.text.sources import find_with_skipped

    if not command.sources:
        return None
    names = resolve(command.sources, data_folder=data_folder(), cache_folder=cache_folder())
    return find_with_skipped(names)


def _planned(folder: Path) -> dict[str, Any]:
    from cloche.data.tasks import missing_tasks, open_work

    spec = open_work(folder).spec
    missing = len(missing_tasks(folder, spec))
    return {"folder": str(folder), "tasks": len(spec.tasks), "tasks_missing": missing}


def _made(folder: Path, prepared: "PreparedText") -> dict[str, Any]:
    parts = {"train": prepared.train.metadata, "validation": prepared.validation.metadata}
    tokenizer = prepared.tokenizer
    return {
        "folder": str(folder),
        "tokenizer": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.fingerprint,
    } | {
        name: {
            "tokens": part.count,
            "documents": part.documents,
            "characters": part.characters,
            "utf8_bytes": part.utf8_bytes,
        }
        for name, part in parts.items()
    }


def _print(command: Prepare, values: dict[str, Any], *, began: float) -> int:
    seconds = time.monotonic() - began
    if command.json:
        print(json.dumps(values | {"seconds": seconds}, ensure_ascii=False))
        return 0
    for name in ("train", "validation"):
        if name in values:
            part = values[name]
            print(
                f"{name:<10}  {part['tokens']:,} tokens of {part['utf8_bytes']:,} bytes "
                f"({part['utf8_bytes'] / max(1, part['tokens']):.2f} bytes a token), "
                f"{part['documents']:,} documents"
            )
    if "slurm_job" in values:
        print(
            f"Slurm has job {values['slurm_job']} for {values['tasks_missing']:,} of "
            f"{values['tasks']:,} tasks. When it has ended: "
            f"cloche data prepare --out {values['folder']}"
        )
    elif "tasks_missing" in values:
        print(
            f"{values['tasks_missing']:,} of {values['tasks']:,} tasks are to be done. On each "
            f"machine: cloche data prepare --out {values['folder']} --rank R --world-size W; "
            f"then, once: cloche data prepare --out {values['folder']}"
        )
    elif "tasks_done" in values:
        print(f"{values['tasks_done']:,} tasks done in {seconds:.1f} s")
    else:
        print(f"{seconds:.1f} s. Next: cloche train {values['folder']}")
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr)


class _Counter:
    """How many tasks are done, on one line of a terminal's standard error."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\rtokenized {done:,} of {total:,} parts", end="", file=sys.stderr, flush=True)
            self._shown = True

    def __enter__(self) -> "_Counter":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._shown:
            print(file=sys.stderr)
