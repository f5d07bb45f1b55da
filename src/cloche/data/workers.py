"""Work of a preparation shared among processes of this machine.

Each worker is a Python process of its own (`python -m cloche.data.workers`) that is asked on its
standard input, a line of JSON at a time, and answers each line: nothing is forked, nothing is
pickled, and a program that calls cloche needs no `__main__` guard. A worker that dies is noticed;
what it had in hand is simply missing, and the next run does it.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloche import errors
from cloche.data.tasks import Work, open_work, run_task
from cloche.errors import ClocheError, DataError
from cloche.text.ingest import Inspection, SourceRange, SourceReport, inspect_ranges
from cloche.text.sources import SourceFile

_ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class _Answer:
    number: int
    value: dict[str, Any] | None = None
    problem: ClocheError | None = None


class Workers:
    """Some processes, from the first call or `start` on until `close`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []
        self._feeders: list[threading.Thread] = []

    def start(self) -> None:
        """Start them, so that they are ready when they are asked; once is enough."""
        if not self._processes:
            self._processes = [_start() for _ in range(self._count)]

    def ask(self, calls: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number of each call and its answer, as they come; the calls are handed out at once.

        Ask again only when all answers have come. Raises the first call's ClocheError.
        """
        self.start()
        waiting: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        for number, call in enumerate(calls):
            waiting.put((number, call))
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        for process in self._processes[: len(calls)]:
            feeder = threading.Thread(target=_feed, args=(process, waiting, answers), daemon=True)
            feeder.start()
            self._feeders.append(feeder)
        return _collect(answers, len(calls))

    def close(self) -> None:
        """End the processes; one that still works does so for nothing any more."""
        for process in self._processes:
            process.kill()
        for feeder in self._feeders:
            feeder.join()
        for process in self._processes:
            with process:  # closes its pipes
                process.wait()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def task_call(folder: Path, number: int) -> dict[str, Any]:
    """The call that does one task of the preparation in `folder`."""
    return {"task": number, "folder": str(folder.resolve())}


def inspect_call(source: SourceFile, **how: Any) -> dict[str, Any]:
    """The call that inspects a source as `inspect_ranges` does with these options."""
    return {"inspect": asdict(source) | {"path": str(source.path)}, "how": how}


def inspection_of(answer: dict[str, Any]) -> Inspection:
    """The outcome of an `inspect_call`."""
    report = SourceReport(**answer["report"])
    ranges = tuple(SourceRange(**values) for values in answer["ranges"])
    return Inspection(report, ranges, answer["codec"])


def _collect(
    answers: "queue.SimpleQueue[_Answer]", count: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    for _ in range(count):
        answer = answers.get()
        if answer.problem is not None:
            raise answer.problem
        yield answer.number, answer.value or {}


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cloche.data.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | _ONE_THREAD,
        start_new_session=True,  # Ctrl-C is for us: it ends when its input ends
    )


def _feed(
    process: "subprocess.Popen[str]",
    waiting: "queue.SimpleQueue[tuple[int, dict[str, Any]]]",
    answers: "queue.SimpleQueue[_Answer]",
) -> None:
    """Ask a worker one thing after the other, and pass on what it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        try:
            number, call = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            process.stdin.write(json.dumps(call) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # its end of the pipe is closed: it has died
            line = ""
        if not line:
            answers.put(_Answer(number, problem=_death(process)))
            return
        answers.put(_answer(number, json.loads(line)))


def _answer(number: int, values: dict[str, Any]) -> _Answer:
    if "problem" in values:
        kind = getattr(errors, values["kind"])
        return _Answer(number, problem=kind(values["problem"]))
    return _Answer(number, value=values)


def _death(process: "subprocess.Popen[str]") -> DataError:
    status = process.wait()
    cause = "it may have run out of memory" if status == -9 else "what it said stands above"
    return DataError(
        f"a worker ended with status {status} ({cause}); what is done is kept: run the same "
        "command again, or with fewer --workers"
    )


@lru_cache(maxsize=1)
def _work(folder: str) -> Work:
    return open_work(Path(folder))


def _do(call: dict[str, Any]) -> dict[str, Any]:
    """The answer to a call."""
    if "task" in call:
        return {"done": run_task(_work(call["folder"]), call["task"])}
    source = SourceFile(**call["inspect"] | {"path": Path(call["inspect"]["path"])})
    return asdict(inspect_ranges(source, **call["how"]))


def _serve() -> None:
    """Answer what is asked on standard input, each line with a line of JSON."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    for line in sys.stdin:
        try:
            answer = _do(json.loads(line))
        except ClocheError as exc:
            answer = {"problem": str(exc), "kind": type(exc).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
