"""The view `over-time`: any other view at every checkpoint of a run.

A training keeps its two newest checkpoints and the best; `--train.keep 0` keeps all.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cloche.errors import BaseModelError, CheckpointError, RequestError, RunError
from cloche.lens.spreading import spread
from cloche.lens.training_rows import folder_of_run
from cloche.lens.view import Provenance, View
from cloche.run import LM, load, translates
from cloche.weights.history import list_checkpoints

See = Callable[[LM], View]
"""Gives a view of a model, such as `lambda lm: see_attention(lm, "a text")`."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The view after so many steps."""

    step: int
    view: View


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that could not be opened."""

    step: int
    reason: str


@dataclass(frozen=True, eq=False)
class OverTimeView(View):
    """One view at many checkpoints; `provenance` names the run, each frame its checkpoint."""

    name: ClassVar[str] = "over-time"
    frames: list[Frame]
    """Oldest first; one at least."""
    skipped: list[Skipped]

    @property
    def of(self) -> str:
        """The name of the view that is seen over time."""
        return self.frames[0].view.name

    def to_json(self) -> dict[str, Any]:
        """As of every view; each frame has its step and its own view's JSON."""
        frames = [{"step": frame.step, **frame.view.to_json()} for frame in self.frames]
        return {**super().to_json(), "of": self.of, "frames": frames}


def warn_in_python(message: str) -> None:
    """Say it as a Python warning, at the line that called `see_over_time`."""
    warnings.warn(message, stacklevel=3)


def see_over_time(
    run: str | Path,
    see: See,
    *,
    most: int | None = None,
    precision: str = "auto",
    device: str = "auto",
    warn: Callable[[str], None] = warn_in_python,
) -> OverTimeView:
    """What `see` shows at each checkpoint of the run, of `most` of them at most, evenly spread.

    One model is in memory at a time. A damaged checkpoint is told to `warn` and left out. RunError
    for what has no checkpoints, or no whole one; errors of `see` are passed on.
    """
    if most is not None and most < 1:
        raise RequestError(f"most must be at least 1 checkpoint, got {most}")
    folder = folder_of_run(run)
    existing = list_checkpoints(folder)
    if not existing:
        raise RunError(
            f"{folder} holds no checkpoints to look at over time: it is no run, or has not saved "
            "one yet"
        )
    if translates(existing[-1]):
        raise RequestError(
            f"{folder} is a run of an encoder-decoder, which is not looked at over time"
        )
    frames, skipped = _frames(
        spread(existing, most or len(existing)),
        lambda place: see(load(place, precision=precision, device=device, warn=warn, broken=True)),
        warn,
    )
    if not frames:
        raise RunError(f"{folder} has no whole checkpoint: {skipped[-1].reason}")
    first = frames[0].view.provenance
    steps = f"step-{frames[0].step:06}"
    if len(frames) > 1:
        steps += f" … step-{frames[-1].step:06}"
    where = Provenance(folder.resolve().name, steps, "", first.text, first.seed)
    return OverTimeView(where, frames, skipped)


def _frames(
    folders: Sequence[Path], look: Callable[[Path], View], warn: Callable[[str], None]
) -> tuple[list[Frame], list[Skipped]]:
    frames, skipped = [], []
    for folder in folders:
        step = int(folder.name.removeprefix("step-"))
        try:
            frames.append(Frame(step, look(folder)))
        except BaseModelError:  # without the base of adapters there is none to see
            raise
        except CheckpointError as exc:
            skipped.append(Skipped(step, str(exc)))
            warn(f"{folder.name} is left out: {exc}")
    return frames, skipped
