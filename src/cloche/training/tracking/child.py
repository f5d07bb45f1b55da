"""The process of one tracker: reads a run and its rows from standard input, line by line as JSON.

The libraries of trackers take seconds to load, print, catch signals, and wait for networks as the
interpreter ends. In a process of their own they do all that beside the training. Started by
`process.py` as `python -m cloche.training.tracking.child NAME`; ends when the rows do.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cloche.training.tracking.aim_sink import AimSink
from cloche.training.tracking.identity import Identity
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

NO_REPORTS = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""What the libraries would tell their makers about their use: not, unless the user has set it."""


def pass_on(lines: Iterable[str], open_sink: Callable[[TrackedRun], Sink]) -> None:
    """Open the sink for the run in the first line, give it every row that follows, and close it.

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
    sink.close(finished=finished)


def run_from(message: dict[str, Any]) -> TrackedRun:
    """The run of a first line."""
    return TrackedRun(**{**message, "folder": Path(message["folder"])})


def row_from(message: dict[str, Any]) -> Row:
    """The row of a line."""
    return Figures(**message) if "values" in message else Writing(**message)


def main() -> None:
    """Serve the tracker named on the command line."""
    name = sys.argv[1]
    if hasattr(os, "nice"):
        os.nice(COURTESY)
    for variable, value in NO_REPORTS.items():
        os.environ.setdefault(variable, value)  # before any of the libraries is loaded
    pass_on(sys.stdin, lambda run: SINKS[name](run, Identity(run, name)))


if __name__ == "__main__":
    main()
