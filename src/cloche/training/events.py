"""What a training tells while it runs. Listeners are called with each event, in order.

The terminal, metrics.jsonl, the loss curve and every tracker are listeners; the loop knows none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunStarted:
    """The loop begins, or goes on from `step`."""

    step: int
    steps: int
    parameters: int
    device: str
    precision: str
    loss_unit: str | None = "nats a token"
    """What the losses are counted in; empty where they have no unit, None where the validation
    loss only ranks checkpoints and says nothing by itself."""


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is done."""

    step: int
    steps: int
    progress: float
    loss: float
    """Mean over the step's targets, in the run's `loss_unit`, label smoothing included."""
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds_left: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class StepSkipped:
    """A step was left out: its loss or gradient was no number. The weights stay as they were."""

    step: int
    steps: int
    reason: str
    warning: bool
    """False where it is part of finding the scale of a loss in float16."""


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated after `step` steps; `metrics` has the names of metrics.jsonl."""

    step: int
    metrics: dict[str, float]
    best: bool
    """Whether no earlier evaluation had a lower validation loss."""


@dataclass(frozen=True)
class Sampled:
    """The model wrote a text after `step` steps."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is whole on disk."""

    step: int
    folder: Path
    best: bool


@dataclass(frozen=True)
class Replanned:
    """A run given in minutes changed its number of steps."""

    step: int
    steps: int


@dataclass(frozen=True)
class Notice:
    """A sentence for the user: a choice made, a fallback taken, a failure survived."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class RunEnded:
    """The loop is over: `finished`, or `interrupted` and resumable."""

    step: int
    finished: bool
    seconds: float


Event = (
    RunStarted
    | StepDone
    | StepSkipped
    | Evaluated
    | Sampled
    | CheckpointSaved
    | Replanned
    | Notice
    | RunEnded
)
Listener = Callable[[Event], None]
