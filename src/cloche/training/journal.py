"""The run folder as a listener: metrics.jsonl, samples.jsonl, status.json and the loss curve.

metrics.jsonl is the source of truth: one JSON object a row with `step`, `time` (seconds since
1970) and metric names. Rows are on disk before the checkpoint they belong to, and a resumed run
first cuts those that lie beyond its checkpoint.
"""

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloche.errors import CheckpointError, RunError
from cloche.plots.charts import loss_curve
from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    RunEnded,
    RunStarted,
    Sampled,
    StepDone,
    StepSkipped,
)

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
STATUS = "status.json"
CURVE = "loss.png"
DRAW_SECONDS = 20.0  # least time between two drawings during a run; each takes about half a second


class Journal:
    """Writes a run's rows and status, and draws its curve; close it at the end.

    `warn` is told what could not be drawn: a curve is no reason to end a training.
    """

    def __init__(self, run: Path, *, from_step: int, warn: Callable[[str], None]) -> None:
        self.run = run
        for name in (METRICS, SAMPLES):
            cut_rows(run / name, beyond=from_step, warn=warn)
        self._metrics = _Rows(run / METRICS)
        self._samples = _Rows(run / SAMPLES)
        self._warn = warn
        self._unit: str | None = None
        self._steps = 0
        self._step = from_step
        self._drawn = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Write what the event says."""
        match event:
            case RunStarted():
                self._steps, self._step = event.steps, event.step
                self._unit = event.loss_unit
                self.write_status("running")
            case StepDone() | StepSkipped():
                self._steps, self._step = event.steps, event.step
                self._metrics.add(event.step, step_metrics(event))
            case Evaluated():
                self._metrics.add(event.step, event.metrics)
                if time.monotonic() - self._drawn > DRAW_SECONDS:
                    self.draw()
            case Sampled():
                self._samples.add(event.step, {"prompt": event.prompt, "text": event.text})
            case CheckpointSaved():
                self._step = max(self._step, event.step)  # steps went on while it was written
                self.write_status("running")
            case RunEnded():
                self._step = event.step
                self.write_status("finished" if event.finished else "interrupted")
                self.draw()
            case _:
                pass

    def flush(self) -> None:
        """Put every row on disk before a checkpoint is named. CheckpointError if it fails."""
        try:
            for rows in (self._metrics, self._samples):
                rows.sync()
        except OSError as exc:
            raise CheckpointError(f"{self.run / METRICS} cannot be written: {exc}") from exc

    def write_status(self, state: str) -> None:
        """Replace status.json in one step."""
        values = {
            "pid": os.getpid(),
            "state": state,
            "step": self._step,
            "steps": self._steps,
            "time": round(time.time(), 3),
        }
        temporary = self.run / f".{STATUS}.tmp"
        temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
        os.replace(temporary, self.run / STATUS)

    def draw(self) -> None:
        """Draw loss.png from all rows so far."""
        self._drawn = time.monotonic()
        try:
            loss_curve(self.rows(), self.run / CURVE, title=self.run.name, unit=self._unit or "")
        except Exception as exc:
            self._warn(f"{self.run / CURVE} could not be drawn: {exc!r}")

    def rows(self) -> list[dict[str, float]]:
        """All rows of metrics.jsonl so far."""
        return [json.loads(line) for line in _lines(self.run / METRICS)]

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._samples.close()


class _Rows:
    """A file of JSON rows, each written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  closed by close
        self._whole = self._file.seek(0, os.SEEK_END)

    def add(self, step: int, values: dict[str, Any]) -> None:
        row = {"step": step, "time": round(time.time(), 3), **values}
        data = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)
        except OSError:
            self._file.truncate(self._whole)  # half a row would spoil the next one
            raise
        self._whole += len(data)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def step_metrics(event: StepDone | StepSkipped) -> dict[str, float]:
    """A step's numbers under the names of metrics.jsonl."""
    if isinstance(event, StepSkipped):
        return {"train/skipped": 1.0}
    return {
        "train/loss": event.loss,
        "train/learning_rate": event.learning_rate,
        "train/grad_norm": event.gradient_norm,
        "perf/tokens_per_sec": round(event.tokens_per_second, 1),
        **event.metrics,
    }


def cut_rows(path: Path, *, beyond: int, warn: Callable[[str], None]) -> None:
    """Drop the rows of steps after `beyond`, and whatever a killed writer left at the end.

    Raises RunError where a row before the end cannot be read.
    """
    if not path.exists():
        return
    lines, kept = _lines(path), []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as exc:
            if any(_is_row(later) for later in lines[number:]):
                raise RunError(f"{path}, line {number}: not a row of JSON: {exc}") from exc
            warn(f"{path}: what follows line {number - 1} cannot be read and is dropped.")
            break
        if row["step"] <= beyond:
            kept.append(line)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    os.replace(temporary, path)


def _is_row(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; one without its newline was not finished."""
    *whole, _unfinished = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return whole
