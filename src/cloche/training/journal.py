"""The run folder as a listener: metrics.jsonl, samples.jsonl, status.json and the loss curve.

metrics.jsonl is the source of truth: one JSON object a row with `step`, `time` (seconds since
1970) and metric names. Rows are on disk before the checkpoint they belong to, and a resumed run
first cuts those that lie beyond its checkpoint.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, TextIO

from cloche.plots import loss_curve
from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    RunEnded,
    RunStarted,
    Sampled,
    StepDone,
)

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
STATUS = "status.json"
CURVE = "loss.png"
DRAW_SECONDS = 20.0  # least time between two drawings during a run; each takes about half a second


class Journal:
    """Writes a run's rows; use it as a context manager."""

    def __init__(self, run: Path, *, from_step: int) -> None:
        self.run = run
        for name in (METRICS, SAMPLES):
            cut_rows(run / name, beyond=from_step)
        self._metrics: TextIO = open(run / METRICS, "a", encoding="utf-8")  # noqa: SIM115  until close
        self._samples: TextIO = open(run / SAMPLES, "a", encoding="utf-8")  # noqa: SIM115
        self._steps = 0
        self._step = from_step
        self._drawn = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Write what the event says."""
        match event:
            case RunStarted():
                self._steps, self._step = event.steps, event.step
                self.write_status("running")
            case StepDone():
                self._steps, self._step = event.steps, event.step
                self._row(self._metrics, event.step, step_metrics(event))
            case Evaluated():
                self._row(self._metrics, event.step, event.metrics)
                if time.monotonic() - self._drawn > DRAW_SECONDS:
                    self.draw()
            case Sampled():
                self._row(self._samples, event.step, {"prompt": event.prompt, "text": event.text})
            case CheckpointSaved():
                self.write_status("running")
            case RunEnded():
                self.write_status("finished" if event.finished else "interrupted")
                self.draw()
            case _:
                pass

    def flush(self) -> None:
        """Put every row on disk; called before a checkpoint is renamed into place."""
        for file in (self._metrics, self._samples):
            file.flush()
            os.fsync(file.fileno())

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
        self.flush()
        rows = [json.loads(line) for line in _lines(self.run / METRICS)]
        loss_curve(rows, self.run / CURVE, title=self.run.name)
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Put every row on disk and close the files."""
        self.flush()
        self._metrics.close()
        self._samples.close()

    def _row(self, file: TextIO, step: int, values: dict[str, Any]) -> None:
        row = {"step": step, "time": round(time.time(), 3), **values}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()


def step_metrics(event: StepDone) -> dict[str, float]:
    """A step's numbers under the names of metrics.jsonl."""
    return {
        "train/loss": event.loss,
        "train/learning_rate": event.learning_rate,
        "train/grad_norm": event.gradient_norm,
        "perf/tokens_per_sec": round(event.tokens_per_second, 1),
        **event.metrics,
    }


def cut_rows(path: Path, *, beyond: int) -> None:
    """Drop the rows of steps after `beyond`, and a last row left unfinished by a killed writer."""
    if not path.exists():
        return
    kept = [line for line in _lines(path) if json.loads(line)["step"] <= beyond]
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    os.replace(temporary, path)


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; one without its newline was not finished."""
    *whole, _unfinished = path.read_text(encoding="utf-8").split("\n")
    return whole
