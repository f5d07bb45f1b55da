"""How the learning rate moves over a run, and how far a run is.

Schedules are functions of progress, from 0 at the first step to 1 at the last, and not of the
step, so that a run given in minutes can change its number of steps without a break in the curve.
"""

import math
from dataclasses import dataclass

from cloche.training.options import TrainOptions

CURVE_SECONDS = 1.0  # the last drawing of the curve, and leaving
DECAY = 0.7  # of the run, where train.decay says nothing
FLOOR = 0.01  # share of the peak at the very end: the last steps still learn a little


def learning_rate_share(progress: float, options: TrainOptions) -> float:
    """Share of the peak learning rate at this progress (0 to 1)."""
    if options.warmup and progress < options.warmup:
        return max(progress / options.warmup, FLOOR)
    if options.schedule == "constant":
        return 1.0
    if options.schedule == "cosine":
        # Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983
        passed = (progress - options.warmup) / max(1.0 - options.warmup, 1e-9)
        return max(FLOOR, 0.5 * (1.0 + math.cos(math.pi * min(passed, 1.0))))
    # warm-up, constant, linear decay: Hu et al. 2024, https://arxiv.org/abs/2404.06395
    decay = DECAY if options.decay is None else options.decay
    left = (1.0 - progress) / decay if decay else 1.0
    return max(FLOOR, min(1.0, left))


@dataclass(frozen=True)
class Plan:
    """How many steps a run has, and how far each one takes it.

    From `from_step` on, where the run had come to `from_progress`, the steps up to `steps` share
    the rest evenly. A run given in steps keeps its first plan; one given in minutes makes a new
    plan, from the step it stands at, whenever its speed changes.
    """

    steps: int
    from_step: int = 0
    from_progress: float = 0.0

    def progress(self, step: int) -> float:
        """How far the run is when `step` steps are done, from 0 to 1."""
        left = self.steps - self.from_step
        share = 1.0 if left <= 0 else min(1.0, (step - self.from_step) / left)
        return self.from_progress + (1.0 - self.from_progress) * share

    def replanned(self, *, step: int, steps: int) -> "Plan":
        """The plan that ends after `steps` steps in all, from where this one stands at `step`."""
        return Plan(steps=max(steps, step), from_step=step, from_progress=self.progress(step))


@dataclass
class Clock:
    """Tells how many more steps fit before a deadline, from what steps and pauses took.

    A pause is what comes between steps: evaluation, sample, checkpoint. The estimates begin with
    what was measured before the run. The first step of a sitting is not counted among them: it pays
    for compilation and for memory touched the first time, which will not come again.
    """

    deadline: float
    """Seconds on time.monotonic's clock at which the run must be over."""
    step_seconds: float
    pause_seconds: float
    pause_every: int
    """Steps from one pause to the next."""
    warm: bool = False

    def observe_step(self, seconds: float) -> None:
        """Take note of how long a step took, without pauses."""
        if self.warm:
            self.step_seconds += 0.1 * (seconds - self.step_seconds)
        self.warm = True

    def observe_pause(self, seconds: float) -> None:
        """Take note of how long a pause took."""
        self.pause_seconds += 0.5 * (seconds - self.pause_seconds)

    def steps_left(self, now: float) -> int:
        """Steps that still fit before the last pause; 0 when it is time to end."""
        free = self.deadline - now - self.pause_seconds - CURVE_SECONDS
        return max(0, int(free / (self.step_seconds + self.pause_seconds / self.pause_every)))
