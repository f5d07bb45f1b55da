"""The process of one tracker: reads a run and its rows from standard input, line by line as JSON.

The libraries of trackers take seconds to load, print, catch signals, and wait for networks as the
interpreter ends. In a process of their own they do all that beside the training. Started by
`process.py` as `python -m cloche.training.tracking.child NAME`; ends when the rows do, and soon
after the training is gone.
"""

import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock

from cloche.training.tracking.aim_sink import AimSink
from cloche.training.tracking.identity import FOLDER, Identity
from cloche.training.tracking.mlflow_sink import MlflowSink
from cloche.training.tracking.rows import Figures, Row, Sink, TrackedRun, Writing
from cloche.training.tracking.swanlab_sink import SwanLabSink
from cloche.training.tracking.trackio_sink import TrackioSink
from cloche.training.tracking.wandb_sink import WandbSink

SINKS: dict[str, Callable[[TrackedRun, Identity], Sink]] = {
    "aim": AimSink,
    "mlflow": MlflowSink,
    "swanlab": SwanLabSink,
    "trackio": TrackioSink,
    "wandb": WandbSink,
}
COURTESY = 10
"""Added to the process's niceness: the training goes first."""

LAST_SECONDS = 60.0
"""What is left to a process whose training is gone or has sent its last row."""
LOCK_SECONDS = 600.0
"""What is waited for other processes of the same tracker: on a busy machine each takes a minute."""
LONGEST_REASON = 300
"""Characters of what a library raised: some tell pages."""

NO_REPORTS = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""What the libraries would tell their makers about their use: not, unless the user has set it."""


def pass_on(
    lines: Iterable[str],
    open_sink: Callable[[TrackedRun], Sink],
    *,
    at_end: Callable[[], None],
) -> None:
    """Open the sink for the run in the first line, give it every row that follows, and close it.

    `at_end` is called after the last row, before the sink is closed.
    Without a last line (the training was killed) the run counts as not finished.
    """
    reader = iter(lines)
    sink = open_sink(run_from(json.loads(next(reader))))
    finished = False
    for line in reader:
        message = json.loads(line)
        if "finished" in message:
            finished = message["finished"]
            break
        sink.add(row_from(message))
    at_end()
    sink.close(finished=finished)


def run_from(message: dict[str, Any]) -> TrackedRun:
    """The run of a first line."""
    return TrackedRun(**{**message, "folder": Path(message["folder"])})


def row_from(message: dict[str, Any]) -> Row:
    """The row of a line."""
    return Figures(**message) if "values" in message else Writing(**message)


def open_alone(run: TrackedRun, name: str, held: ExitStack) -> Sink:
    """The sink, opened while no other process opens one here; `held` keeps the run to this process.

    MLflow and Aim fail where two processes make their database at the same time. And the process
    of a sitting that was killed may still be passing on its last rows when the run goes on.
    """
    held.enter_context(FileLock(run.folder / FOLDER / f"{name}.lock", timeout=LOCK_SECONDS))
    with FileLock(run.folder.parent / f".{name}.lock", timeout=LOCK_SECONDS):
        return SINKS[name](run, Identity(run, name))


def end_after_the_training(parent: int) -> None:
    """Give this process LAST_SECONDS once its parent is gone; returns then.

    Where the sink hangs, nobody notices that the rows have ended.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    end_soon()


def end_soon() -> None:
    """Give this process LAST_SECONDS, whatever hangs in it: its log then tells where."""
    faulthandler.dump_traceback_later(LAST_SECONDS, exit=True)


def main() -> None:
    """Serve the tracker named on the command line."""
    name = sys.argv[1]
    if hasattr(os, "nice"):
        os.nice(COURTESY)
    for variable, value in NO_REPORTS.items():
        os.environ.setdefault(variable, value)  # before any of the libraries is loaded
    threading.Thread(target=end_after_the_training, args=(os.getppid(),), daemon=True).start()
    try:
        with ExitStack() as held:
            pass_on(sys.stdin, lambda run: open_alone(run, name, held), at_end=end_soon)
    except Exception as exc:
        traceback.print_exc()
        reason = " ".join(str(exc).split())[:LONGEST_REASON]
        print(f"{type(exc).__name__}: {reason}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)  # threads of a library that failed would keep the process


if __name__ == "__main__":
    main()
