"""Checkpoints written while the training goes on, with all that was promised of them.

The state is copied at once; a thread then writes the copy to the disk. One is written at a time,
and what comes of it is told in the training's own thread, at the next step or when the run ends.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloche.errors import CheckpointError

Write = Callable[[], Path]
"""Writes one checkpoint from a copy of the state, and returns its folder."""


@dataclass(frozen=True)
class Outcome:
    """What came of a save."""

    step: int
    folder: Path | None = None
    error: CheckpointError | None = None


class Saver:
    """Writes checkpoints in a thread, one after the other."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._pending: tuple[int, Future[Path]] | None = None

    def begin(self, step: int, write: Write) -> Outcome | None:
        """Start to write the checkpoint of this step; what came of the one before it."""
        earlier = self.wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending = (step, self._thread.submit(write))
        return earlier

    def finished(self) -> Outcome | None:
        """What came of a save that is over and was not told yet; never waits."""
        return self.wait() if self._pending and self._pending[1].done() else None

    def wait(self) -> Outcome | None:
        """What came of the save that is being written, when it is over; None where none is."""
        if self._pending is None:
            return None
        step, future = self._pending
        self._pending = None
        try:
            return Outcome(step, folder=future.result())
        except CheckpointError as exc:
            return Outcome(step, error=exc)

    def close(self) -> None:
        """Let the last save come to its end, and end the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
