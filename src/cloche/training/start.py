"""`cloche.train`: from sources to a model that writes; every part wired to the one loop."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from cloche.config import check, nest, with_values
from cloche.data.batches import require_length
from cloche.data.pair_tokens import PreparedPairs
from cloche.data.plan import default_name
from cloche.data.prepare import PreparedText
from cloche.errors import RunError, SettingError, join_problems
from cloche.training.agreement import (
    Agreement,
    describe_sharing,
    is_restart,
    note_launch,
    open_tokens,
    share_out,
)
from cloche.training.assemble import build_parts, make_training, restore
from cloche.training.choices import DEFAULT_MINUTES, OVERHEAD, Choice, complete_options, describe
from cloche.training.compiling import keep_compiled_code
from cloche.training.counted_run import count_run
from cloche.training.distributed import World, losses_told, this_launch, this_world
from cloche.training.events import Event, Listener, Notice
from cloche.training.folder import (
    claimed,
    read_options,
    refuse_other_options,
    refuse_other_run,
    write_options,
)
from cloche.training.journal import Journal
from cloche.training.loop import run_loop
from cloche.training.loss_scale import LossScale
from cloche.training.machine import find_device, measure_machine
from cloche.training.options import RunOptions
from cloche.training.pair_run import (
    complete_pair_options,
    describe_pair_choice,
    make_pair_training,
)
from cloche.training.preparing import TOKENS, Places, Preparation
from cloche.training.schedule import Clock, Plan
from cloche.training.signals import signals_noted
from cloche.training.state import LoopState
from cloche.training.terminal import Terminal
from cloche.training.tracking.open import missing_libraries, open_trackers
from cloche.training.tracking.tracker import Tracker, close_trackers
from cloche.training.verdict import evaluations_in, judge
from cloche.weights.history import sweep


@dataclass(frozen=True)
class TrainedRun:
    """What a training leaves."""

    folder: Path
    step: int
    finished: bool
    """False where it was interrupted; `resume=True` continues it."""
    best_loss: float | None
    """Lowest validation loss, in nats a token."""
    signal: int | None = None
    """The signal that interrupted it."""


def train(
    *sources: str | Path,
    minutes: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | RunOptions | None = None,
    listeners: Sequence[Listener] | None = None,
    places: Places | None = None,
    began: float | None = None,
) -> TrainedRun:
    """Train a model on texts, into a run folder that holds all of it.

    `sources` are files, folders, patterns or built-in texts; `options` are dotted names
    (`{"model.layers": 4}`) or a complete tree. `listeners` are told what happens; when not given,
    it is shown on standard error. `minutes` is the time for everything, from `began` on
    (on time.monotonic's clock). With `resume`, the run in `out` goes on where it was.
    Raises ClocheError where something cannot be used.
    """
    launch = this_launch()
    keep_compiled_code((places or Places()).cache / "compiled")
    if began is None:
        began = time.monotonic()
    names = tuple(str(source) for source in sources)
    if not names and isinstance(options, RunOptions):
        names = options.sources
    run = Path(out) if out is not None else default_folder(names)
    given = _given_options(read_options(run) if resume else None, options, names, minutes)
    check(given)
    _require_here(given)
    world = this_world(launch)
    told: list[Listener] = []
    if world.first:
        told = [Terminal(Console(stderr=True))] if listeners is None else list(listeners)
    session = _Session(run, told, places or Places(), began, world)

    def begin() -> str:
        """Of the first process alone: claim the folder, prepare the text, choose."""
        stack.enter_context(claimed(run))
        again = launch is not None and is_restart(run, launch)
        stored = read_options(run) if resume or again else None
        given = _given_options(stored, options, names, minutes)
        if again and stored is not None:
            given = stored  # the same command as before, which was completed then
        if not given.sources:
            raise RunError(f"there is no run in {run} to go on with, and no text was named")
        sweep(run)
        refuse_other_run(run, resume=resume or again)
        if stored is not None:
            refuse_other_options(run, stored=stored, given=given)
        if launch is not None:
            note_launch(run, launch)
        return session.begin(given, begun=stored is not None)

    with ExitStack() as stack:
        agreed = world.first_text(begin)
        stack.callback(world.leave)
        with losses_told(world):
            return session.go_on(agreed)


def _require_here(options: RunOptions) -> None:
    """SettingError where a device or a library is missing: told before a text is read."""
    find_device(options.train.device)
    if missing := missing_libraries(options.train.trackers):
        raise SettingError(join_problems(missing))


def default_folder(names: Sequence[str]) -> Path:
    """`runs/NAME`, NAME from the first text's name."""
    if not names:
        raise RunError("name a text to train on, or with --out a run to go on with")
    return Path("runs") / default_name(names)


def with_tokenizer(options: RunOptions, prepared: PreparedText) -> RunOptions:
    """The options with the tokenizer that was chosen."""
    return replace(options, text=prepared.choice.freeze(options.text))


def _given_options(
    stored: RunOptions | None,
    options: Mapping[str, Any] | RunOptions | None,
    sources: tuple[str, ...],
    minutes: float | None,
) -> RunOptions:
    """The options asked for, over those the run began with where it goes on."""
    if isinstance(options, RunOptions):
        base = options
    else:
        base = with_values(stored or RunOptions(), nest(options or {}), source="options")
    if sources:
        base = replace(base, sources=sources)
    if minutes is not None:
        base = replace(base, minutes=float(minutes))
    if stored is not None and base.minutes is not None and base.train.steps is not None:
        begun = (
            f"--minutes {stored.minutes:g}"
            if stored.minutes is not None
            else f"--train.steps {stored.train.steps}"
        )
        raise RunError(f"this run was begun with {begun}, and ends there: give no other length")
    return base


class _Session:
    """One sitting of a run: holds what its stages pass on to each other."""

    def __init__(
        self,
        run: Path,
        listeners: Sequence[Listener],
        places: Places,
        began: float,
        world: World,
    ) -> None:
        self.run = run
        self.options = RunOptions()
        self.listeners = list(listeners)
        self.places = places
        self.began = began
        self.world = world
        self.prepared: PreparedText | None = None
        self.counted: TrainedRun | None = None
        self.trackers: list[Tracker] = []

    def tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def say(self, text: str) -> None:
        self.tell(Notice(text))

    def begin(self, options: RunOptions, *, begun: bool) -> str:
        """Prepare and choose; what was agreed on, as text for all processes."""
        self.options = options
        preparation = Preparation(self.run, options, self.places, self.say, self._warn)
        self.prepared = prepared = preparation.prepare(begun=begun)
        pairs = prepared if isinstance(prepared, PreparedPairs) else None
        if pairs is not None or not preparation.given_tokens():
            self.options = with_tokenizer(self.options, prepared)
        if self.options.model.family == "ngram":
            self.counted = self._count(prepared, begun=begun)
            return ""
        choice = share_out(self._choose(prepared), self.world)
        write_options(self.run, choice.options)
        told = describe_pair_choice(choice, pairs) if pairs else describe(choice, prepared.train)
        for line in [*told, *describe_sharing(choice, self.world)]:
            self.say(line)
        return Agreement(choice, begun).to_text()

    def go_on(self, agreed: str) -> TrainedRun:
        """Build or restore, and train: in each process."""
        if self.counted is not None:
            return self.counted
        agreement = Agreement.from_text(agreed)
        choice, world = agreement.choice, self.world
        train = choice.options.train
        world.join(find_device(train.device), tensor_parallel=train.tensor_parallel)
        prepared = self.prepared or open_tokens(self.run / TOKENS, choice.options)
        parts = build_parts(choice, world)
        restored = restore(self.run, parts, prepared, warn=self._warn) if agreement.begun else None
        scale = LossScale() if train.precision == "float16" else None
        state = restored or LoopState(plan=Plan(steps=choice.steps), loss_scale=scale)
        clock = self._clock(choice, state)
        if state.step >= state.plan.steps:
            self.say(f"This run is already finished, at step {state.step}.")
        with (
            self._journal(state) as journal,
            signals_noted(repeated_by_launcher=world.size > 1) as caught,
        ):
            flush = journal.flush if journal else lambda: None
            if isinstance(prepared, PreparedPairs):
                training = make_pair_training(self.run, parts, choice, prepared, before_save=flush)
            else:
                training = make_training(self.run, parts, choice, prepared, before_save=flush)
            ended = run_loop(
                training,
                state,
                listeners=[*self.listeners, *self._writers(journal, choice, state)],
                stop_requested=lambda: bool(caught),
                clock=clock,
            )
            number = world.largest(caught[0] if caught else 0)
        if ended.finished and not ended.step:
            raise SettingError(
                f"there was no time for a single step: all before the first one took "
                f"{time.monotonic() - self.began:.0f} seconds, so give more minutes. The model in "
                f"{self.run} has learned nothing"
            )
        return TrainedRun(
            folder=self.run,
            step=ended.step,
            finished=ended.finished,
            best_loss=state.best_loss,
            signal=number if number and not ended.finished else None,
        )

    def _writers(
        self, journal: Journal | None, choice: Choice, state: LoopState
    ) -> Sequence[Listener]:
        """Those that keep the figures: in the process that writes."""
        if journal is None:
            return []
        names = choice.options.train.trackers
        self.trackers = open_trackers(
            names, run=self.run, options=choice.options, from_step=state.step, tell=self.tell
        )
        return [journal, *self.trackers]

    @contextmanager
    def _journal(self, state: LoopState) -> Iterator[Journal | None]:
        """The run's journal, in the process that writes."""
        if not self.world.first:
            yield None
            return
        journal = Journal(self.run, from_step=state.step, warn=self._warn)
        try:
            yield journal
        except BaseException:
            with suppress(OSError):  # the disk may be full; what went wrong first is told
                journal.write_status("failed")
            raise
        finally:
            journal.close()
            close_trackers(self.trackers)
        if state.step >= state.plan.steps and (said := judge(evaluations_in(journal.rows()))):
            self.say(said)

    def _count(self, prepared: PreparedText, *, begun: bool) -> TrainedRun:
        """Counted, where others are trained."""
        if self.world.size > 1:
            raise SettingError("model.family ngram is counted by one process: leave --nproc out")
        with signals_noted(repeated_by_launcher=False) as caught:
            state = count_run(
                self.run,
                self.options,
                prepared,
                begun=begun,
                listeners=self.listeners,
                stop_requested=lambda: bool(caught),
            )
        finished = state.step == state.plan.steps
        number = caught[0] if caught and not finished else None
        return TrainedRun(self.run, state.step, finished, state.best_loss, signal=number)

    def _warn(self, text: str) -> None:
        self.tell(Notice(text, warning=True))

    def _choose(self, prepared: PreparedText) -> Choice:
        """Everything left open, chosen; and the text checked to be long enough for it."""
        train_options = self.options.train
        machine = measure_machine(train_options.device, train_options.precision)
        machine = machine.times(self.world.size, tensor_parallel=train_options.tensor_parallel)
        minutes = self.options.minutes or DEFAULT_MINUTES
        used = time.monotonic() - self.began if train_options.steps is None else 0.0
        seconds = max(1.0, 60.0 * minutes - used)
        if isinstance(prepared, PreparedPairs):
            return complete_pair_options(self.options, prepared, machine=machine, seconds=seconds)
        choice = complete_options(
            self.options,
            vocab_size=prepared.tokenizer.vocab_size,
            train=prepared.train,
            validation=prepared.validation,
            machine=machine,
            seconds=seconds,
        )
        context = choice.config.context
        require_length(prepared.train, context=context, part="training")
        require_length(prepared.validation, context=context, part="validation")
        return choice

    def _clock(self, choice: Choice, state: LoopState) -> Clock | None:
        """For a run in minutes: when it must end. Time used in earlier sittings counts."""
        if choice.options.minutes is None:
            return None
        assert choice.step_seconds is not None, "measured for every run in minutes"
        left = 60.0 * choice.options.minutes - state.seconds
        return Clock(
            deadline=self.began + left,
            step_seconds=OVERHEAD * choice.step_seconds,
            pause_seconds=choice.pause_seconds,
            pause_every=choice.options.train.eval_every or 1,
        )
