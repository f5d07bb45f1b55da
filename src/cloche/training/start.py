"""`cloche.train`: from sources to a model that writes; every part wired to the one loop."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from cloche.config import check, nest, with_values
from cloche.data.batches import require_length
from cloche.data.corpora import resolve
from cloche.data.pair_tokens import PreparedPairs
from cloche.data.plan import (
    changed_sources,
    default_name,
    describe_sources,
    inspect_all,
    read_plan,
)
from cloche.data.prepare import (
    PreparedText,
    is_prepared,
    open_prepared,
    open_workers,
    prepare_text,
)
from cloche.errors import RunError, SettingError, TextError, join_problems
from cloche.text.ingest import SourceReport
from cloche.text.sources import STANDARD_INPUT, FoundSources, find_with_skipped
from cloche.training.assemble import build_parts, make_training, restore
from cloche.training.choices import DEFAULT_MINUTES, OVERHEAD, Choice, complete_options, describe
from cloche.training.counted_run import count_run
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
from cloche.training.machine import measure_machine
from cloche.training.options import RunOptions
from cloche.training.pair_run import (
    complete_pair_options,
    describe_pair_choice,
    make_pair_training,
    prepare_run_pairs,
)
from cloche.training.schedule import Clock, Plan
from cloche.training.state import LoopState
from cloche.training.terminal import Terminal
from cloche.weights.history import sweep

TOKENS = "tokens"


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


@dataclass(frozen=True)
class Places:
    """Folders outside the run; the command line reads them from the environment."""

    data: Path | None = None
    """Where built-in texts may lie already."""
    cache: Path = field(default_factory=lambda: Path.home() / ".cache" / "cloche")
    standard_input: Path | None = None
    """A file that holds what came in on standard input."""


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
    began = time.monotonic() if began is None else began
    names = tuple(str(source) for source in sources)
    if not names and isinstance(options, RunOptions):
        names = options.sources
    run = Path(out) if out is not None else default_folder(names)
    check(_given_options(read_options(run) if resume else None, options, names, minutes))
    told = [Terminal(Console(stderr=True))] if listeners is None else list(listeners)
    with claimed(run):
        stored = read_options(run) if resume else None
        given = _given_options(stored, options, names, minutes)
        if not given.sources:
            raise RunError(f"there is no run in {run} to go on with, and no text was named")
        sweep(run)
        refuse_other_run(run, resume=resume)
        if stored is not None:
            refuse_other_options(run, stored=stored, given=given)
        return _Session(run, given, told, places or Places(), began).run_all(
            begun=stored is not None
        )


def default_folder(names: Sequence[str]) -> Path:
    """`runs/NAME`, NAME from the first text's name."""
    if not names:
        raise RunError("name a text to train on, or with --out a run to go on with")
    return Path("runs") / default_name(names)


def with_tokenizer(options: RunOptions, prepared: PreparedText) -> RunOptions:
    """The options with the tokenizer that was chosen."""
    return replace(options, text=prepared.choice.freeze(options.text))


def options_of_preparation(options: RunOptions) -> list[str]:
    """Names of the options that were set and that only the preparation of a text heeds."""
    default = RunOptions()
    data = ("split", "split_by", "clean")
    names = [("text", field.name) for field in fields(options.text)] + [("data", n) for n in data]
    return [
        f"{section}.{name.replace('_', '-')}"
        for section, name in names
        if getattr(getattr(options, section), name) != getattr(getattr(default, section), name)
    ]


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
    return base if minutes is None else replace(base, minutes=float(minutes))


class _Session:
    """One sitting of a run: holds what its stages pass on to each other."""

    def __init__(
        self,
        run: Path,
        options: RunOptions,
        listeners: Sequence[Listener],
        places: Places,
        began: float,
    ) -> None:
        self.run = run
        self.options = options
        self.listeners = list(listeners)
        self.places = places
        self.began = began

    def tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def say(self, text: str) -> None:
        self.tell(Notice(text))

    def run_all(self, *, begun: bool) -> TrainedRun:
        """Prepare, choose, build or restore, train."""
        prepared = self._prepare(begun=begun)
        pairs = prepared if isinstance(prepared, PreparedPairs) else None
        if pairs is not None or not self._given_tokens():
            self.options = with_tokenizer(self.options, prepared)
        if self.options.model.family == "ngram":
            return self._count(prepared, begun=begun)
        choice = self._choose(prepared)
        write_options(self.run, choice.options)
        told = describe_pair_choice(choice, pairs) if pairs else describe(choice, prepared.train)
        for line in told:
            self.say(line)
        parts = build_parts(choice)
        restored = restore(self.run, parts, prepared, warn=self._warn) if begun else None
        state = restored or LoopState(plan=Plan(steps=choice.steps))
        clock = self._clock(choice, state)
        if state.step >= state.plan.steps:
            self.say(f"This run is already finished, at step {state.step}.")
        journal = Journal(self.run, from_step=state.step, warn=self._warn)
        if pairs is not None:
            training = make_pair_training(self.run, parts, choice, pairs, before_save=journal.flush)
        else:
            training = make_training(self.run, parts, choice, prepared, before_save=journal.flush)
        try:
            with _signals_noted() as caught:
                ended = run_loop(
                    training,
                    state,
                    listeners=[*self.listeners, journal],
                    stop_requested=lambda: bool(caught),
                    clock=clock,
                )
        except BaseException:
            with suppress(OSError):  # the disk may be full; what went wrong first is told
                journal.write_status("failed")
            raise
        finally:
            journal.close()
        return TrainedRun(
            folder=self.run,
            step=ended.step,
            finished=ended.finished,
            best_loss=state.best_loss,
            signal=caught[0] if caught and not ended.finished else None,
        )

    def _count(self, prepared: PreparedText, *, begun: bool) -> TrainedRun:
        """Counted, where others are trained."""
        with _signals_noted() as caught:
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

    def _prepare(self, *, begun: bool) -> PreparedText:
        """The tokens of the sources; of a run that goes on, those it began with."""
        folder = self.run / TOKENS
        options = self.options
        if options.model.family == "seq2seq":
            say, warn = self.say, self._warn
            return prepare_run_pairs(folder, options, self._find, begun=begun, say=say, warn=warn)
        if self._given_tokens():
            return self._open_given(folder, Path(options.sources[0]))
        begun = begun and is_prepared(folder)
        if folder.is_symlink() and not begun:
            folder.unlink()  # it leads to tokens that are not ours to make anew
        if begun and STANDARD_INPUT in options.sources:
            return open_prepared(folder)  # what came in then does not come in again
        try:
            found = self._find()
        except TextError as exc:
            if not begun:
                raise
            self._warn(f"{exc}. Going on with the tokens made earlier from it.")
            return open_prepared(folder)
        with open_workers(found.files) as workers:
            inspections = inspect_all(found.files, options.text, workers=workers)
            reports = [inspection.report for inspection in inspections]
            for line in describe_sources(reports, found.skipped):
                self.say(line)
            if begun:
                prepared = open_prepared(folder)
                self._refuse_other_text(prepared, reports)
                return prepared
            return prepare_text(
                folder,
                found.files,
                inspections,
                text=options.text,
                data=options.data,
                tell=self.say,
                workers=workers,
            )

    def _find(self) -> FoundSources:
        """The files that the sources name."""
        names = resolve(
            self.options.sources, data_folder=self.places.data, cache_folder=self.places.cache
        )
        return find_with_skipped(names, stdin_file=self.places.standard_input)

    def _given_tokens(self) -> bool:
        """Whether the source is no text but tokens prepared before."""
        sources = self.options.sources
        return len(sources) == 1 and read_plan(Path(sources[0])) is not None

    def _open_given(self, link: Path, folder: Path) -> PreparedText:
        """Tokens that were prepared before; the run's own `tokens` leads to them."""
        chosen = [
            f"{name} is settled by the tokens in {folder}: leave it out, or train on the text"
            for name in options_of_preparation(self.options)
        ]
        if chosen:
            raise SettingError(join_problems(chosen))
        prepared = open_prepared(folder)
        if link.exists() and link.resolve() != folder.resolve() and not link.is_symlink():
            raise RunError(
                f"{self.run} holds tokens of its own: to train on those in {folder}, begin another "
                "run with --out"
            )
        for name in changed_sources(folder):
            self._warn(f"{name} has changed since {folder} was made: prepare it again to have it.")
        if not link.exists() or link.resolve() != folder.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(folder.resolve(), target_is_directory=True)
        self.say(
            f"Tokens: {len(prepared.train):,} to train on and {len(prepared.validation):,} to "
            f"validate on, from {folder}."
        )
        return prepared

    def _refuse_other_text(self, prepared: PreparedText, reports: Sequence[SourceReport]) -> None:
        made_of = [source["utf8_sha256"] for source in prepared.train.metadata.sources]
        if made_of != [report.utf8_sha256 for report in reports]:
            raise RunError(
                f"the text is not the one {self.run} began with: put that text back, or begin "
                "another run with --out"
            )

    def _choose(self, prepared: PreparedText) -> Choice:
        """Everything left open, chosen; and the text checked to be long enough for it."""
        train_options = self.options.train
        machine = measure_machine(train_options.device, train_options.precision)
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


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Inside, the first Ctrl-C or SIGTERM is only noted; a second one acts as it always does."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may set handlers
        return
    earlier: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        for signal_number, handler in earlier.items():
            signal.signal(signal_number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        earlier[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
