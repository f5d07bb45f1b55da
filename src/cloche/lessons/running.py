"""A lesson run cell by cell: its code executed once, its outputs kept in no language yet."""

import builtins
import io
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cloche.lessons.lesson import Cell, Lesson
from cloche.lessons.needs import Given, require_needs
from cloche.lessons.outputs import Output, Printed
from cloche.lessons.stage import Stage


@dataclass(frozen=True, eq=False)
class Ran:
    """A cell that has run."""

    cell: Cell
    outputs: tuple[Output, ...]
    values: Mapping[str, Any]
    """All that was kept for the texts so far."""
    seconds: float


def run_lesson(lesson: Lesson, given: Given) -> Iterator[Ran]:
    """The cells of a lesson, each run when it is asked for.

    NeedError, before any runs, where something that the lesson needs is not here. What a cell
    raises is raised, with a note that names it. The caller's random numbers go on as they were.
    """
    require_needs(lesson, given)
    with (
        tempfile.TemporaryDirectory(prefix="cloche-lesson-") as folder,
        torch.random.fork_rng(devices=[]),
    ):
        heard = _Heard()
        stage = Stage(
            heard.hear,
            folder=Path(folder),
            data_folder=given.data_folder,
            cache_folder=given.cache_folder,
            model=given.model,
        )
        names: dict[str, Any] = {"__name__": "lesson", "__builtins__": builtins, "stage": stage}
        for cell in lesson.cells:
            began = time.perf_counter()
            with redirect_stdout(heard.printed), _tensors_in_short():
                _execute(cell, lesson, names)
            seconds = time.perf_counter() - began
            yield Ran(cell, heard.all(), dict(stage.values), seconds)


class _Heard:
    """Outputs of a cell in their order: what it prints, between what it shows."""

    def __init__(self) -> None:
        self.printed = io.StringIO()
        self._outputs: list[Output] = []

    def hear(self, output: Output) -> None:
        self._keep_printed()
        self._outputs.append(output)

    def all(self) -> tuple[Output, ...]:
        """Everything since it was last asked for."""
        self._keep_printed()
        found = tuple(self._outputs)
        self._outputs.clear()
        return found

    def _keep_printed(self) -> None:
        if text := self.printed.getvalue():
            self._outputs.append(Printed(text))
            self.printed.seek(0)
            self.printed.truncate()


@contextmanager
def _tensors_in_short() -> Iterator[None]:
    """Tensors are printed as people read them, until the end of the block."""
    torch.set_printoptions(precision=4, sci_mode=False, linewidth=88)
    try:
        yield
    finally:
        torch.set_printoptions(profile="default")


def _execute(cell: Cell, lesson: Lesson, names: dict[str, Any]) -> None:
    """Run a cell; its lines have the numbers of the script, so that tracebacks show them."""
    source = "\n" * (cell.line - 1) + cell.code
    try:
        exec(compile(source, lesson.script, "exec"), names)
    except Exception as exc:
        exc.add_note(f"in the cell {cell.name!r} of the lesson {lesson.name}")
        raise
