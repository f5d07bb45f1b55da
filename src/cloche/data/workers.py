"""Tasks of a preparation shared among processes of this machine.

Each worker is a Python process of its own (`python -m cloche.data.workers FOLDER`) that is told
numbers of tasks on its standard input and answers each one: nothing is forked, nothing is pickled,
and a program that calls cloche needs no `__main__` guard. A worker that dies is noticed, and what
it had in hand is simply missing: the next run does it.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloche.data.tasks import open_work, run_task
from cloche.errors import ClocheError, DataError

_ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class _Answer:
    task: int | None
    """None where the worker has ended."""
    problem: str | None = None


def run_tasks(
    folder: Path, tasks: Sequence[int], *, workers: int, done: Callable[[int], None]
) -> None:
    """Do `tasks` of the preparation in `folder` in that many processes; one works in this process.

    `done` is told how many are done after each. Raises the first DataError; what is done stays.
    """
    if workers <= 1 or len(tasks) <= 1:
        work = open_work(folder)
        for count, number in enumerate(tasks, start=1):
            run_task(work, number)
            done(count)
        return
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in tasks:
        waiting.put(number)
    answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    processes = [_start(folder) for _ in range(min(workers, len(tasks)))]
    feeders = [
        threading.Thread(target=_feed, args=(process, waiting, answers), daemon=True)
        for process in processes
    ]
    for feeder in feeders:
        feeder.start()
    try:
        _collect(answers, len(processes), done=done)
    finally:
        for process, feeder in zip(processes, feeders, strict=True):
            process.kill()  # it is idle, or what it does is of no use any more
            feeder.join()
            with process:  # closes its pipes
                process.wait()


def _collect(
    answers: "queue.SimpleQueue[_Answer]", alive: int, *, done: Callable[[int], None]
) -> None:
    count = 0
    while alive:
        answer = answers.get()
        if answer.problem is not None:
            raise DataError(answer.problem)
        if answer.task is None:
            alive -= 1
        else:
            count += 1
            done(count)


def _start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cloche.data.workers", str(folder.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | _ONE_THREAD,
        start_new_session=True,  # Ctrl-C is for us: it ends when its input ends
    )


def _feed(
    process: "subprocess.Popen[str]",
    waiting: "queue.SimpleQueue[int]",
    answers: "queue.SimpleQueue[_Answer]",
) -> None:
    """Give a worker one task after the other, and pass on what it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            answers.put(_Answer(None))
            return
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # its end of the pipe is closed: it has died
            line = ""
        if not line:
            answers.put(_Answer(number, _death(process, number)))
            return
        answers.put(_Answer(number, json.loads(line)["problem"]))


def _death(process: "subprocess.Popen[str]", number: int) -> str:
    status = process.wait()
    cause = "it may have run out of memory" if status == -9 else "what it said stands above"
    return (
        f"a worker ended with status {status} in task {number} ({cause}); what is done is kept: "
        "run the same command again, or with fewer --workers"
    )


def _serve(folder: Path) -> None:
    """Do the tasks named on standard input, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    work = None
    for line in sys.stdin:
        problem = None
        try:
            work = work or open_work(folder)
            run_task(work, int(line))
        except ClocheError as exc:
            problem = str(exc)
        answers.write(json.dumps({"problem": problem}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
