"""A tracker as a listener: whatever happens to its sink, the training neither stops nor waits.

Each tracker has a thread of its own. A training only puts rows into its queue; where the queue is
full, rows are dropped and counted. What goes wrong in the sink is told once, by the thread that
trains, and the sink is never called again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from cloche.training.events import (
    Evaluated,
    Event,
    Notice,
    RunEnded,
    Sampled,
    StepDone,
    StepSkipped,
)
from cloche.training.journal import step_metrics
from cloche.training.tracking.rows import BackgroundSink, Figures, Row, Writing

CAPACITY = 10_000
"""Rows that may wait: some megabytes."""
PAUSE_SECONDS = 0.25
"""From one look into the queue to the next: waking for each row would cost the training more."""
CLOSE_SECONDS = 20.0
"""What the end of a run waits for all its trackers together. MLflow takes 16 to make a database."""


class Tracker:
    """Passes figures and samples on to the sink that `open_sink` makes, in a thread of its own."""

    def __init__(
        self,
        name: str,
        open_sink: Callable[[], BackgroundSink],
        *,
        tell: Callable[[Notice], None],
        capacity: int = CAPACITY,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self.name = name
        self._open_sink = open_sink
        self._tell = tell
        self._capacity = capacity
        self._pause_seconds = pause_seconds
        self._rows: deque[tuple[float, Event]] = deque()
        self._changed = threading.Condition()
        self._sink: BackgroundSink | None = None
        self._failure: str | None = None
        self._failure_told = False
        self._dropped = 0
        self._finished = False
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take the event; never waits for the sink."""
        self._tell_failure()
        if isinstance(event, RunEnded):
            self._finished = event.finished
        if not isinstance(event, StepDone | StepSkipped | Evaluated | Sampled):
            return
        with self._changed:
            if self._failure is not None or self._closing:
                return
            if len(self._rows) >= self._capacity:
                self._dropped += 1
                return
            self._rows.append((time.time(), event))
            self._changed.notify()

    def begin_closing(self) -> None:
        """Have the sink finish what it has. Returns at once."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def end(self, *, deadline: float) -> None:
        """Wait until the sink is done, but not past `deadline` (of time.monotonic); tell the rest.

        A sink that is not done by then is abandoned.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            if self._sink is not None:
                self._sink.abandon()
            self._say("did not finish in time and was left behind; its last rows may be missing")
            return
        self._tell_failure()
        if self._dropped:
            self._say(
                f"was too slow: {self._dropped:,} rows were not passed on; metrics.jsonl has all"
            )

    def _work(self) -> None:
        """The thread: open the sink, pass rows on, close it."""
        try:
            self._sink = sink = self._open_sink()
            while True:
                rows, closing = self._take()
                for at, event in rows:
                    sink.add(row_of(event, at))
                sink.flush()
                if closing:
                    sink.close(finished=self._finished)
                    return
        except (Exception, SystemExit) as exc:  # whatever it is, it is the tracker's, not the run's
            with self._changed:
                self._failure = f"{type(exc).__name__}: {exc}"
                self._rows.clear()
            if self._sink is not None:
                self._sink.abandon()

    def _take(self) -> tuple[list[tuple[float, Event]], bool]:
        """All rows that wait, once there are any; and whether they are the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closing)
            self._changed.wait_for(lambda: self._closing, timeout=self._pause_seconds)
            rows = list(self._rows)
            self._rows.clear()
            return rows, self._closing

    def _tell_failure(self) -> None:
        if self._failure is None or self._failure_told:
            return
        self._failure_told = True  # before telling: this tracker may be among those that are told
        self._say(f"stops: {self._failure}. The training goes on")

    def _say(self, text: str) -> None:
        self._tell(Notice(f"The tracker {self.name} {text}.", warning=True))


def close_trackers(trackers: Sequence[Tracker], *, seconds: float = CLOSE_SECONDS) -> None:
    """Close all at the same time; returns after `seconds` at the latest."""
    deadline = time.monotonic() + seconds
    for tracker in trackers:
        tracker.begin_closing()
    for tracker in trackers:
        tracker.end(deadline=deadline)


def row_of(event: Event, at: float) -> Row:
    """The event as a row of that time."""
    match event:
        case StepDone() | StepSkipped():
            return Figures(event.step, at, _floats(step_metrics(event)))
        case Evaluated():
            return Figures(event.step, at, _floats(event.metrics))
        case Sampled():
            return Writing(event.step, at, event.prompt, event.text)
        case _:
            raise AssertionError(f"{type(event).__name__} is no row")


def _floats(values: dict[str, float]) -> dict[str, float]:
    """Plain numbers: some trackers refuse those of numpy and torch."""
    return {name: float(value) for name, value in values.items()}
