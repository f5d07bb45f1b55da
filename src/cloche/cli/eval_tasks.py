"""`cloche eval RUN --tasks`: the scores of a model in tasks of lm-evaluation-harness."""

import contextlib
import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cloche.cli.opening import NamesModel, open_writer
from cloche.cli.parse import changed_options
from cloche.cli.sampling import tell

if TYPE_CHECKING:
    from cloche.evaluation.harness import TaskReport, TaskResult

_PIPE_COLUMNS = 150  # width of the table where no terminal says how wide it is


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Which tasks are run, and how."""

    tasks: str | None = None
    """Tasks of lm-evaluation-harness, with commas between: names, or paths of task files (.yaml).
    Most that come with it take their data from the Hugging Face hub. Loading a task file runs the
    Python it names."""
    include_path: str | None = None
    """A folder of task files of yours, to be found by their tasks' names."""
    limit: int | None = None
    """Only so many documents of each task, for trying: scores of few documents mean little."""
    shots: int | None = None
    """Examples before each question; the number in the task's file when not given."""
    rows: int = 8
    """Requests of tasks that are read at once."""
    chat: bool = False
    """Ask each question of a task by the model's chat template, as a user would."""


@runtime_checkable
class TaskCommand(NamesModel, Protocol):
    """What a command has that runs tasks: a model, and the options of tasks."""

    @property
    def json(self) -> bool:
        """Whether one JSON object is printed, and nothing else."""
        ...

    @property
    def tasks(self) -> str | None:
        """Names with commas between."""
        ...

    @property
    def include_path(self) -> str | None:
        """A folder of task files."""
        ...

    @property
    def limit(self) -> int | None:
        """Most documents of each task."""
        ...

    @property
    def shots(self) -> int | None:
        """Examples before each question."""
        ...

    @property
    def rows(self) -> int:
        """Requests read at once."""
        ...

    @property
    def chat(self) -> bool:
        """Whether questions are asked by the chat template."""
        ...


USED = {"run", "checkpoint", "precision", "json"} | {field.name for field in fields(TaskOptions)}


def require_tasks(options: TaskOptions) -> None:
    """Refuse options of tasks where no task is named. SettingError."""
    from cloche.errors import SettingError

    given = changed_options(options, [field.name for field in fields(TaskOptions)])
    if given and options.tasks is None:
        raise SettingError(
            f"{', '.join(given)} is for tasks: name them with --tasks, or leave it out"
        )


def measure_tasks(command: TaskCommand) -> int:
    """Run the tasks, print their scores; 0."""
    from cloche.errors import SettingError
    from cloche.evaluation.harness import run_tasks

    others = [field.name for field in fields(command) if field.name not in USED]  # pyright: ignore[reportArgumentType]
    if given := changed_options(command, others):
        raise SettingError(
            f"{', '.join(given)} is for measuring on texts, and --tasks measures on tasks: leave "
            "one of them out"
        )
    lm = open_writer(command)
    if command.chat:
        lm = lm.asking()
    with contextlib.redirect_stdout(sys.stderr):  # the harness and its tasks print, too
        report = run_tasks(
            lm,
            [name.strip() for name in (command.tasks or "").split(",")],
            include_path=None if command.include_path is None else Path(command.include_path),
            limit=command.limit,
            shots=command.shots,
            rows=command.rows,
            warn=tell,
        )
    if command.json:
        values = {"run": command.run, "checkpoint": str(lm.folder), "limit": command.limit}
        print(json.dumps(values | asdict(report), ensure_ascii=False))
        return 0
    _print_table([*report.groups, *report.tasks])
    _print_remarks(report, command, str(lm.folder))
    return 0


def _print_table(results: "list[TaskResult]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    titles = ("task", "shots", "documents", "score", "value", "± standard error", "better")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0))
    for result in results:
        for number, metric in enumerate(result.metrics):
            name = metric.name if metric.filter == "none" else f"{metric.name} ({metric.filter})"
            better = {True: "higher", False: "lower", None: ""}[metric.higher_is_better]
            begun = ("" if result.shots is None else str(result.shots), f"{result.documents:,}")
            first = (result.name, *begun) if number == 0 else ("", "", "")
            value = "no number" if metric.value is None else f"{metric.value:.4f}"
            error = "" if metric.stderr is None else f"{metric.stderr:.4f}"
            # as text, since a name may hold brackets that rich would read as its own marks
            table.add_row(*map(Text, (*first, name, value, error, better)))
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)


def _print_remarks(report: "TaskReport", command: TaskCommand, folder: str) -> None:
    print(f"checkpoint {folder}")
    if command.limit is not None:
        print(f"of each task only the first {command.limit:,} documents: no result to report")
    if report.cut_requests:
        print(
            "warning: requests longer than the model's context, which were cut at the left: "
            f"{report.cut_requests:,}"
        )
    if report.unknown_tokens:
        print(
            f"warning: {report.unknown_tokens:,} scored tokens are of what the vocabulary lacks: "
            "likelihoods of them are too good to be true"
        )
