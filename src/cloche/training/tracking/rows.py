"""What a tracker is given: rows of figures and of written text; and what it must be able to do.

Loads neither torch nor any tracker: the process of a tracker begins here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Figures:
    """Numbers of one step, under the names of metrics.jsonl."""

    step: int
    time: float
    """Seconds since 1970."""
    values: dict[str, float]


@dataclass(frozen=True)
class Writing:
    """What the model wrote after `step` steps."""

    step: int
    time: float
    prompt: str
    text: str


Row = Figures | Writing


@dataclass(frozen=True)
class TrackedRun:
    """The run that rows belong to."""

    folder: Path
    """Absolute."""
    from_step: int
    """0 for a run that begins; rows of an earlier sitting that lie beyond it no longer count."""
    options: dict[str, Any]
    """Every option by its dotted name: values that JSON knows."""

    @property
    def name(self) -> str:
        """What the run is called in a tracker."""
        return self.folder.name


@runtime_checkable
class Sink(Protocol):
    """Where rows go. It may raise anything: then it is told of once, and never called again."""

    def add(self, row: Row) -> None:
        """Take a row."""
        ...

    def close(self, *, finished: bool) -> None:
        """Finish: no row follows. `finished` is False for a run that can be resumed."""
        ...


@runtime_checkable
class BackgroundSink(Sink, Protocol):
    """A sink that a thread of the training serves."""

    def flush(self) -> None:
        """Let those who watch see what was taken."""
        ...

    def abandon(self) -> None:
        """Let go at once. Called by another thread, while any of the others may hang."""
        ...
