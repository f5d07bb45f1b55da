"""Work of a preparation shared among processes of this machine.

Each worker is a Python process of its own that is asked on its standard input, a line of JSON at a
time, and answers each line: nothing is forked, nothing is pickled, and a program that calls cloche
needs no `__main__` guard. A worker that dies is noticed, and so is one that answers anything else;
what it had in hand is simply missing, and the next run does it.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloche import errors
from cloche.data.tasks import Work, open_work, run_task
from cloche.errors import ClocheError, DataError, SettingError
from cloche.text.ingest import Inspection, SourceRange, SourceReport, inspect_ranges
from cloche.text.sources import SourceFile

_ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}
# Where this very package lies, for a program that found it in a way a worker does not: last, so
# that nothing beside it is imported instead of anything installed.
_LAUNCH = "import sys; sys.path.append(sys.argv[1]); from cloche.data.workers import serve; serve()"
_PACKAGES = Path(__file__).resolve().parents[2]
_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class _Answer:
    number: int
    value: dict[str, Any] | None = None
    problem: ClocheError | None = None


class Workers:
    """Some processes, from the first call or `start` on until `close`."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise SettingError(f"there must be at least 1 worker, got {count}")
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []
        self._feeders: list[threading.Thread] = []

    def start(self) -> None:
        """Start them, so that they are ready when they are asked; once is enough."""
        while len(self._processes) < self._count:
            self._processes.append(_start())

    def ask(self, calls: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number of each call and its answer, as they come; the calls are handed out at once.

        Ask again only when all answers have come. Raises the first ClocheError of a call, and
        DataError where a worker died, met a bug of its own or gave no answer that can be read.
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
        """End the processes; one that still works does so for nothing any more. Raises nothing."""
        for process in self._processes:
            process.kill()
        for feeder in self._feeders:
            feeder.join()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what a dead worker was still to be told
                        pipe.close()
            process.wait()
        self._processes, self._feeders = [], []

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
    try:
        return subprocess.Popen(
            # -P: a queue.py or tokenizers.py that lies in the current directory is not ours
            [sys.executable, "-P", "-c", _LAUNCH, str(_PACKAGES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | _ONE_THREAD,
            start_new_session=True,  # Ctrl-C is for us: it ends when its input ends
        )
    except OSError as exc:
        raise DataError(
            f"a worker could not be started: {exc.strerror}; use fewer --workers"
        ) from exc


def _feed(
    process: "subprocess.Popen[str]",
    waiting: "queue.SimpleQueue[tuple[int, dict[str, Any]]]",
    answers: "queue.SimpleQueue[_Answer]",
) -> None:
    """Ask a worker one thing after the other, and pass on what it answers.

    Whatever happens, every call taken from `waiting` has its answer: somebody waits for it.
    """
    while True:
        try:
            number, call = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            line = _exchange(process, json.dumps(call))
            answer = _read_answer(number, line) if line else None
        except Exception as exc:
            process.kill()  # what it says next may belong to another call
            answers.put(_Answer(number, problem=_unreadable(exc)))
            return
        if answer is None:
            answers.put(_Answer(number, problem=_death(process)))
            return
        answers.put(answer)


def _exchange(process: "subprocess.Popen[str]", call: str) -> str:
    """The whole line that answers `call`; an empty one where the worker died before its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(call + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:  # its end of the pipe is closed
        return ""
    return line if line.endswith("\n") else ""


def _read_answer(number: int, line: str) -> _Answer:
    values = json.loads(line)
    if "problem" in values:
        kind = getattr(errors, values["kind"])
        if not (isinstance(kind, type) and issubclass(kind, ClocheError)):
            raise TypeError(f"{values['kind']} is no kind of error")
        return _Answer(number, problem=kind(values["problem"]))
    return _Answer(number, value=values["answer"])


def _unreadable(exc: Exception) -> DataError:
    problem = DataError(
        f"a worker gave no answer that can be read ({type(exc).__name__}: {exc}); what is done is "
        "kept: run the same command again, or with --workers 1"
    )
    problem.__cause__ = exc
    return problem


def _death(process: "subprocess.Popen[str]") -> DataError:
    try:
        status = process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:  # it lives, but says nothing any more
        process.kill()
        ending = "closed its output without an answer"
    else:
        ending = _ending(status)
    return DataError(
        f"a worker {ending}; what is done is kept: run the same command again, or with fewer "
        "--workers"
    )


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status} (what it said stands above)"
    if status == -signal.SIGKILL:
        return f"ended with status {status} (it may have run out of memory)"
    return f"ended with status {status} ({signal.strsignal(-status)})"


@lru_cache(maxsize=1)
def _work(folder: str) -> Work:
    return open_work(Path(folder))


def _do(call: dict[str, Any]) -> dict[str, Any]:
    """The answer to a call."""
    if "task" in call:
        return {"done": run_task(_work(call["folder"]), call["task"])}
    source = SourceFile(**call["inspect"] | {"path": Path(call["inspect"]["path"])})
    return asdict(inspect_ranges(source, **call["how"]))


def _answer_to(line: str) -> dict[str, Any]:
    try:
        return {"answer": _do(json.loads(line))}
    except ClocheError as exc:
        return {"problem": str(exc), "kind": type(exc).__name__}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # a panic of the Rust libraries is no Exception
        return {"problem": _bug(exc), "kind": DataError.__name__}


def _bug(exc: BaseException) -> str:
    """What happened in a worker that no user's mistake explains, and where."""
    if isinstance(exc, MemoryError):
        advice = "the memory is used up: use fewer --workers"
    else:
        frame = traceback.extract_tb(exc.__traceback__)[-1]
        advice = f"in {Path(frame.filename).name}, line {frame.lineno}: this is a bug of cloche"
    return f"a worker met {type(exc).__name__}: {exc} ({advice}); what is done is kept"


def serve() -> None:
    """Answer what is asked on standard input, each line with a line of JSON, until it ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    for line in sys.stdin:
        answers.write(json.dumps(_answer_to(line)) + "\n")
        answers.flush()
