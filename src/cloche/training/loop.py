"""The only training loop: a stream of batches plus an objective, told as events.

It knows nothing of text, files or screens: what to evaluate, write and save are functions given
to it, and who wants to watch listens to its events.
"""

import math
import time
from collections.abc import Callable, Sequence

from cloche.errors import CheckpointError
from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Listener,
    Notice,
    Replanned,
    RunEnded,
    RunStarted,
)
from cloche.training.job import Training
from cloche.training.schedule import Clock
from cloche.training.state import LoopState
from cloche.training.step import diverged, take_step


def run_loop(
    training: Training,
    state: LoopState,
    *,
    listeners: Sequence[Listener],
    stop_requested: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> RunEnded:
    """Train until the plan is done, time is up or a stop is asked for; save before returning.

    Raises ClocheError where the loss is no longer a number, or the last checkpoint cannot be
    written.
    """
    return _Sitting(training, state, listeners, clock).run(stop_requested)


class _Sitting:
    """One run of the loop, from where the state stands."""

    def __init__(
        self,
        training: Training,
        state: LoopState,
        listeners: Sequence[Listener],
        clock: Clock | None,
    ) -> None:
        self.training = training
        self.state = state
        self.listeners = list(listeners)
        self.clock = clock
        self.began = time.monotonic()
        self.earlier_seconds = state.seconds
        self.saved_step = state.step
        self.saved_evaluation = state.evaluated_step
        self.saved_best = (state.best_loss, state.best_step)

    def run(self, stop_requested: Callable[[], bool]) -> RunEnded:
        training, state, options = self.training, self.state, self.training.options
        self.tell(self._started())
        if options.eval_first and state.step == 0 and state.evaluated_step is None:
            self.evaluate_untrained()
        self.keep_time()  # a resumed run may have no time left
        training.compute.model.train()
        while state.step < state.plan.steps:
            step_began = time.monotonic()
            self.tell(take_step(training, state))
            if self.clock is not None:
                self.clock.observe_step(time.monotonic() - step_began)
            self.keep_time()
            if state.step >= state.plan.steps:
                break
            stopping = bool(training.world.largest(int(stop_requested())))
            pause_began = time.monotonic()
            better = state.step % _every(options.eval_every) == 0 and self.evaluate()
            if stopping:
                break
            if better or state.step % _every(options.save_every) == 0:
                self.save_or_warn()
                if self.clock is not None:
                    self.clock.observe_pause(time.monotonic() - pause_began)
        finished = state.step >= state.plan.steps
        if finished and state.evaluated_step != state.step:
            self.evaluate()
        if self.saved_step != state.step or self.saved_evaluation != state.evaluated_step:
            self.save()
        ended = RunEnded(state.step, finished, self.seconds())
        self.tell(ended)
        return ended

    def tell(self, event: Event) -> None:
        """Pass the event on. A listener whose disk is full is told of once; the run goes on."""
        for listener in list(self.listeners):
            try:
                listener(event)
            except OSError as exc:
                self.listeners.remove(listener)
                self.tell(Notice(f"{type(listener).__name__} stops: {exc}", warning=True))

    def seconds(self) -> float:
        """Time used, all sittings together."""
        return self.earlier_seconds + time.monotonic() - self.began

    def keep_time(self) -> None:
        """Plan the run's end anew where it has moved by over 2% of what is left."""
        if self.clock is None:
            return
        state, left = self.state, self.state.plan.steps - self.state.step
        world = self.training.world
        fitting = world.first_number(self.clock.steps_left(time.monotonic()))
        if left > 0 and (fitting == 0 or abs(fitting - left) > max(1, 0.02 * left)):
            state.plan = state.plan.replanned(step=state.step, steps=state.step + fitting)
            self.tell(Replanned(state.step, state.plan.steps))

    def evaluate(self) -> bool:
        """Evaluate and write a sample; whether the validation loss is the lowest so far."""
        training, state = self.training, self.state
        metrics = training.evaluate(training.compute.evaluated)
        loss = metrics["eval/loss"]
        if not math.isfinite(loss):
            raise diverged("validation loss", loss, state.step)
        better = state.best_loss is None or loss < state.best_loss
        if better:
            state.best_loss, state.best_step = loss, state.step
        state.evaluated_step = state.step
        self.tell(Evaluated(state.step, metrics, better))
        if training.write_sample is not None:
            self.tell(training.write_sample(state.step))
        return better

    def evaluate_untrained(self) -> None:
        """Evaluate and write a sample before the first step. It is no best: nothing is saved."""
        metrics = self.training.evaluate(self.training.compute.evaluated)
        self.tell(Evaluated(0, metrics, best=False))
        if self.training.write_sample is not None:
            self.tell(self.training.write_sample(0))

    def save(self) -> None:
        """Write a checkpoint; CheckpointError where that fails."""
        self.state.seconds = self.seconds()
        folder = self.training.save(self.state)
        self.saved_step = self.state.step
        self.saved_evaluation = self.state.evaluated_step
        self.saved_best = (self.state.best_loss, self.state.best_step)
        best = self.state.best_step == self.state.step
        self.tell(CheckpointSaved(self.state.step, folder, best))

    def save_or_warn(self) -> None:
        """Save in the middle of a run: a full disk is told, and the training goes on."""
        try:
            self.save()
        except CheckpointError as exc:
            # what is not on disk cannot be the best: a later one may take its place
            self.state.best_loss, self.state.best_step = self.saved_best
            said = str(exc).rstrip(".")
            text = f"{said}. Training goes on; the next save is tried as planned."
            self.tell(Notice(text, warning=True))

    def _started(self) -> RunStarted:
        compute = self.training.compute
        return RunStarted(
            step=self.state.step,
            steps=self.state.plan.steps,
            parameters=sum(p.numel() for p in compute.masters.parameters()),
            device=self.training.device.type,
            precision=self.training.options.precision,
        )


def _every(steps: int | None) -> int:
    assert steps is not None, "the options are completed before the loop starts"
    return steps
