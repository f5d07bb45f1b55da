"""The only training loop: a stream of batches plus an objective, told as events.

It knows nothing of text, files or screens: what to evaluate, write and save are functions given
to it, and who wants to watch listens to its events.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from cloche.errors import ClocheError
from cloche.training.compiling import not_compiled
from cloche.training.events import (
    Evaluated,
    Event,
    Listener,
    Notice,
    Replanned,
    RunEnded,
    RunStarted,
)
from cloche.training.job import Training
from cloche.training.saving import Checkpoints
from cloche.training.schedule import Clock
from cloche.training.shards import local
from cloche.training.state import LoopState
from cloche.training.statistics import first_nonfinite
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
        self.checkpoints = Checkpoints(training.save, state, alone=training.world.size == 1)

    def run(self, stop_requested: Callable[[], bool]) -> RunEnded:
        state = self.state
        self.tell(self._started())
        try:
            self.take_steps(stop_requested)
            finished = state.step >= state.plan.steps
            if finished and state.evaluated_step != state.step:
                self.evaluate()
            state.seconds = self.seconds()
            self.tell_all(self.checkpoints.settle())
            if self.checkpoints.behind:
                self.require_finite_weights()
            self.tell_all(self.checkpoints.finish())
        except ClocheError:
            # a save that was being written meanwhile is whole now, or it is told why not
            self.tell_all(self.checkpoints.settle())
            raise
        finally:
            self.checkpoints.close()
        ended = RunEnded(state.step, finished, self.seconds())
        self.tell(ended)
        return ended

    def take_steps(self, stop_requested: Callable[[], bool]) -> None:
        """Learn until the plan is done or a stop is asked for, with all that comes between."""
        training, state, options = self.training, self.state, self.training.options
        if options.eval_first and state.step == 0 and state.evaluated_step is None:
            self.evaluate_untrained()
        self.keep_time()  # a resumed run may have no time left
        training.compute.model.train()
        while state.step < state.plan.steps:
            step_began = time.monotonic()
            self.tell(take_step(training, state))
            self.tell_all(self.checkpoints.poll())
            if self.clock is not None:
                self.clock.observe_step(time.monotonic() - step_began)
            self.keep_time()
            if state.step >= state.plan.steps:
                return
            stopping = bool(training.world.largest(int(stop_requested())))
            pause_began = time.monotonic()
            better = state.step % _every(options.eval_every) == 0 and self.evaluate()
            if stopping:
                return
            if better or state.step % _every(options.save_every) == 0:
                self.save()
                if self.clock is not None:
                    self.clock.observe_pause(time.monotonic() - pause_began)

    def tell(self, event: Event) -> None:
        """Pass the event on. A listener whose disk is full is told of once; the run goes on."""
        for listener in list(self.listeners):
            try:
                listener(event)
            except OSError as exc:
                self.listeners.remove(listener)
                self.tell(Notice(f"{type(listener).__name__} stops: {exc}", warning=True))

    def tell_all(self, events: Sequence[Event]) -> None:
        """Pass several events on, in order."""
        for event in events:
            self.tell(event)

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
        state = self.state
        # what could not be saved is no best: known before this loss is held against it
        self.tell_all(self.checkpoints.settle())
        metrics, sampled = self.measure(state.step)
        loss = metrics["eval/loss"]
        if not math.isfinite(loss):
            raise diverged(f"validation loss became {loss}", state.step)
        better = state.best_loss is None or loss < state.best_loss
        if better:
            state.best_loss, state.best_step = loss, state.step
        state.stale = 0 if better else state.stale + 1
        state.evaluated_step = state.step
        self.tell(Evaluated(state.step, metrics, better))
        self.tell_all(sampled)
        if state.stale == self.training.options.patience and state.step < state.plan.steps:
            self.stop_early()
        return better

    def stop_early(self) -> None:
        """End the plan here: the validation loss no longer falls."""
        state = self.state
        state.plan = state.plan.replanned(step=state.step, steps=state.step)
        self.tell(Replanned(state.step, state.step))
        self.tell(
            Notice(
                f"Stopped early at step {state.step}: {state.stale} evaluations without a lower "
                f"validation loss than that of step {state.best_step}."
            )
        )

    def measure(self, step: int) -> tuple[dict[str, float], list[Event]]:
        """The metrics of an evaluation, and a sample; of the averaged weights where there are."""
        training = self.training
        eager = not_compiled() if training.options.compile == "on" else nullcontext()
        with self.averaged(), eager:
            metrics = training.compute.evaluate(training.evaluate)
            write = training.write_sample
            return metrics, [] if write is None else [write(step)]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights, where the training has an average."""
        average, compute = self.training.average, self.training.compute
        if average is None:
            yield
            return
        with average.in_place():
            compute.refresh()
            yield
        compute.refresh()

    def evaluate_untrained(self) -> None:
        """Evaluate and write a sample before the first step. It is no best: nothing is saved."""
        metrics, sampled = self.measure(0)
        self.tell(Evaluated(0, metrics, best=False))
        self.tell_all(sampled)

    def save(self) -> None:
        """Have a checkpoint of the present state written; what came of it is told later."""
        self.require_finite_weights()
        self.state.seconds = self.seconds()
        self.tell_all(self.checkpoints.begin())

    def require_finite_weights(self) -> None:
        """ClocheError rather than a checkpoint of weights that are no numbers.

        A step whose loss and gradient were finite may still have thrown them there.
        """
        named = self.training.compute.masters.named_parameters()
        where = first_nonfinite((name, local(weight)) for name, weight in named)
        if self.training.world.largest(int(where is not None)):
            raise diverged("weights became infinite or nan", self.state.step, where=where)

    def _started(self) -> RunStarted:
        compute = self.training.compute
        return RunStarted(
            step=self.state.step,
            steps=self.state.plan.steps,
            parameters=sum(p.numel() for p in compute.masters.parameters()),
            device=self.training.device.type,
            precision=self.training.options.precision,
            loss_unit=self.training.loss_unit,
        )


def _every(steps: int | None) -> int:
    assert steps is not None, "the options are completed before the loop starts"
    return steps
