"""One sitting of any tuning: from options and a recipe for the parts to a run folder.

Instruction tuning, reward models, DPO, PPO and GRPO differ in their batches, their objective and
what they write as a model. All else is here and in the one loop: the folder is claimed, options
are frozen or compared, events reach the screen, metrics.jsonl and the trackers, checkpoints are
written and gone on from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from rich.console import Console
from torch import Tensor, nn

from cloche.config import nest, with_values
from cloche.data.batches import Batch
from cloche.errors import CheckpointError, RunError, SettingError, join_problems
from cloche.training.distributed import World, this_launch
from cloche.training.events import Event, Listener, Notice, Sampled
from cloche.training.folder import (
    claimed,
    read_options_of,
    refuse_base,
    refuse_other_options,
    refuse_other_run,
    write_options,
)
from cloche.training.job import SaveCheckpoint, Training
from cloche.training.journal import Journal
from cloche.training.loop import run_loop
from cloche.training.loss_scale import LossScale
from cloche.training.machine import find_device
from cloche.training.objectives import Objective
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.schedule import Plan
from cloche.training.signals import signals_noted
from cloche.training.snapshots import link
from cloche.training.start import TrainedRun
from cloche.training.state import LoopState
from cloche.training.terminal import Terminal
from cloche.training.tracking.open import missing_libraries, open_trackers
from cloche.training.tracking.tracker import Tracker, close_trackers
from cloche.training.verdict import Wording, evaluations_in, judge
from cloche.tuning.tuned import TunedModel
from cloche.weights.checkpoint import TrainerState, load_trainer
from cloche.weights.history import (
    CHECKPOINTS,
    newer_checkpoints,
    newest_whole,
    prune,
    set_aside,
    sweep,
)

BEGAN = "began.txt"
EXTRA = "extra/"
"""Before the names of a training state's tensors that belong to neither weights nor optimizer."""
Options = TypeVar("Options")
WriteModel = Callable[[Path, TrainerState, str], None]
"""(folder, training state, text of README.md): writes a whole checkpoint, or CheckpointError."""


@runtime_checkable
class ExtraState(Protocol):
    """What a tuning needs to go on, beside weights, optimizer and the loop's own numbers."""

    def state_tensors(self) -> dict[str, Tensor]:
        """Tensors under flat names, in float32, float64, integers or booleans."""
        ...

    def state_values(self) -> dict[str, Any]:
        """JSON values."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Put back what the other two gave."""
        ...


@dataclass(frozen=True)
class Tuning:
    """What one kind of tuning brings to the session. `options` are complete: nothing is open."""

    options: Any
    """A tree of options with a section `train`; stored as config.toml."""
    steps: int
    compute: TunedModel
    objective: Objective
    batches: Callable[[int, int], Batch]
    """(step, part) -> the batch of that part of the step, one of `train.accumulate`."""
    evaluate: Callable[[nn.Module], dict[str, float]]
    """Metrics by the names of metrics.jsonl; the lowest `eval/loss` is the best checkpoint."""
    snapshot: Callable[[], WriteModel]
    """Copies the model as it is now, and returns what writes the copy."""
    read_trained: Callable[[Path], Mapping[str, Tensor]]
    """The trained weights in a checkpoint, by the names of `compute.masters`."""
    belongs_to: Mapping[str, str]
    """What the run was begun with, by name (base, data, template, ...): hashes. A run that is
    resumed must find the same ones."""
    card: Callable[[LoopState], str]
    """The text of README.md."""
    write_sample: Callable[[int], Sampled] | None = None
    extra: ExtraState | None = None
    flops_per_token: int = 0
    peak_flops: float = 0.0
    loss_unit: str | None = "nats a token"
    """What `eval/loss` is counted in; empty where it has no unit, None where it is minus a score,
    which ranks checkpoints and is shown under its own name."""


@dataclass(frozen=True)
class Telling:
    """How the parts of a tuning speak to the user while they are put together."""

    say: Callable[[str], None]
    warn: Callable[[str], None]
    resumed: bool = False
    """Whether the run has begun in an earlier sitting."""
    day: datetime | None = None
    """When the run began, for templates that write the day: it goes on as of then."""


Prepare = Callable[[Any, Telling], Tuning]


def asked_options(
    run: Path, default: Options, overrides: Mapping[str, Any] | Options | None, *, resume: bool
) -> Options:
    """The options asked for: over those the run in the folder began with, where it goes on.

    `default` is the tree of this kind of tuning; its `kind` tells runs apart. Raises SettingError
    with everything that cannot be used, and RunError where the folder holds another kind of run.
    """
    stored = read_tuning_options(run, default) if resume else None
    if overrides is not None and not isinstance(overrides, Mapping):
        asked = overrides
    else:
        asked = with_values(stored or default, nest(overrides or {}), source="options")
    train: TrainOptions = asked.train  # pyright: ignore[reportAttributeAccessIssue]
    problems = asked.problems()  # pyright: ignore[reportAttributeAccessIssue]
    problems += [*missing_libraries(train.trackers), *meaningless_problems(train)]
    if problems:
        raise SettingError(join_problems(problems))
    find_device(train.device)
    return asked


def read_tuning_options(run: Path, default: Options) -> Options | None:
    """The options the run began with; None where it has not. RunError for another kind of run."""
    kind = getattr(default, "kind", None)
    return read_options_of(run, default, kind=kind)


def meaningless_problems(train: TrainOptions) -> list[str]:
    """Options of a training from scratch that a tuning does not have."""
    usual = TrainOptions()
    names = ("parallel", "tensor_parallel", "average", "eval_batches")
    return [
        f"train.{name.replace('_', '-')} has no meaning in a tuning: leave it out"
        for name in names
        if getattr(train, name) != getattr(usual, name)
    ]


def run_tuning(
    run: Path,
    options: Any,
    *,
    resume: bool,
    listeners: Sequence[Listener] | None,
    prepare: Prepare,
) -> TrainedRun:
    """Claim the folder, have the tuning prepared, and train it to its end or to a signal.

    `options` are those that `asked_options` gave; `prepare(options, telling)` makes the parts and
    completes the options. Raises ClocheError where something cannot be used.
    """
    if this_launch() is not None:
        raise SettingError("a tuning runs in one process: start it without torchrun")
    told = [Terminal(Console(stderr=True))] if listeners is None else list(listeners)
    if not resume:
        refuse_base(run, options.base)
    elif not options.base:
        raise RunError(f"{run} holds no run to go on with")
    with claimed(run):
        return _Session(run, told).run_whole(options, resume=resume, prepare=prepare)


@dataclass
class _Session:
    run: Path
    listeners: Sequence[Listener]
    trackers: list[Tracker] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def warn(self, text: str) -> None:
        self.tell(Notice(text, warning=True))

    def run_whole(self, options: Any, *, resume: bool, prepare: Prepare) -> TrainedRun:
        stored = read_tuning_options(self.run, options) if resume else None
        sweep(self.run)
        refuse_other_run(self.run, resume=resume)
        if stored is not None:
            refuse_other_options(self.run, stored=stored, given=options)
        day = run_day(self.run) if stored is not None else None
        telling = Telling(
            lambda text: self.tell(Notice(text)),
            self.warn,
            stored is not None,
            day or begin_day(self.run),
        )
        tuning = prepare(options, telling)
        write_options(self.run, tuning.options)
        torch.manual_seed(tuning.options.train.seed)
        return self._train(tuning)

    def _train(self, tuning: Tuning) -> TrainedRun:
        train: TrainOptions = tuning.options.train
        rate = train.learning_rate
        assert rate is not None, "completed by `prepare`"
        optimizers = build_optimizers(tuning.compute.masters, train, learning_rate=rate)
        restored = self._restore(tuning, optimizers.load_state_tensors)
        scale = LossScale() if train.precision == "float16" else None
        state = restored or LoopState(plan=Plan(steps=tuning.steps), loss_scale=scale)
        if state.step >= state.plan.steps:
            self.tell(Notice(f"This run is already finished, at step {state.step}."))
        with (
            self._journal(state, tuning) as journal,
            signals_noted(repeated_by_launcher=False) as caught,
        ):
            self.trackers = open_trackers(
                train.trackers,
                run=self.run,
                options=tuning.options,
                from_step=state.step,
                tell=self.tell,
            )
            training = Training(
                compute=tuning.compute,
                objective=tuning.objective,
                batches=tuning.batches,
                optimizers=optimizers,
                options=train,
                evaluate=tuning.evaluate,
                write_sample=tuning.write_sample if train.sample_tokens else None,
                save=self._saving(tuning, optimizers.state_tensors, journal.flush),
                device=torch.device(train.device),
                world=World(),
                flops_per_token=tuning.flops_per_token,
                peak_flops=tuning.peak_flops,
                loss_unit=tuning.loss_unit,
            )
            ended = run_loop(
                training,
                state,
                listeners=[*self.listeners, journal, *self.trackers],
                stop_requested=lambda: bool(caught),
            )
        signal = caught[0] if caught and not ended.finished else None
        return TrainedRun(self.run, ended.step, ended.finished, state.best_loss, signal=signal)

    def _restore(
        self, tuning: Tuning, load_optimizers: Callable[[Mapping[str, Tensor]], None]
    ) -> LoopState | None:
        """Load the newest whole checkpoint; None where the run has none yet."""
        folder = newest_whole(self.run, warn=self.warn)
        if folder is None:
            return None
        for damaged in newer_checkpoints(self.run, folder):
            self.warn(f"{set_aside(damaged)} holds what was damaged; it is no longer counted.")
        trainer = load_trainer(folder)
        refuse_other_origin(folder, trainer.values.get("belongs_to"), tuning.belongs_to)
        extra = {
            name.removeprefix(EXTRA): tensor
            for name, tensor in trainer.tensors.items()
            if name.startswith(EXTRA)
        }
        others = {n: t for n, t in trainer.tensors.items() if not n.startswith(EXTRA)}
        try:
            tuning.compute.load(tuning.read_trained(folder))
            tuning.compute.refresh()
            load_optimizers(others)
            if tuning.extra is not None:
                tuning.extra.load_state(extra, trainer.values.get("extra", {}))
            state = LoopState.from_values(trainer.values["loop"])
        except (RuntimeError, ValueError, KeyError, TypeError) as exc:
            raise CheckpointError(f"{folder}/trainer does not fit this run: {exc}") from exc
        link(self.run, folder, state)  # a kill may have come between the checkpoint and its links
        return state

    def _saving(
        self,
        tuning: Tuning,
        optimizer_tensors: Callable[[], dict[str, Tensor]],
        before_save: Callable[[], None],
    ) -> SaveCheckpoint:
        """Copies at once, and writes the copy to checkpoints/step-... while training goes on."""

        def save(state: LoopState) -> Callable[[], Path]:
            before_save()
            folder = self.run / CHECKPOINTS / f"step-{state.step:06}"
            taken = LoopState.from_values(state.to_values())
            write_model, card = tuning.snapshot(), tuning.card(taken)
            trainer = _trainer_state(tuning, optimizer_tensors(), taken)

            def write() -> Path:
                write_model(folder, trainer, card)
                link(self.run, folder, taken)
                prune(self.run, keep=tuning.options.train.keep)
                return folder

            return write

        return save

    @contextmanager
    def _journal(self, state: LoopState, tuning: Tuning) -> Iterator[Journal]:
        journal = Journal(self.run, from_step=state.step, warn=self.warn)
        try:
            yield journal
        except BaseException:
            with suppress(OSError):  # the disk may be full; what went wrong first is told
                journal.write_status("failed")
            raise
        finally:
            journal.close()
            close_trackers(self.trackers)
        finished = state.step >= state.plan.steps
        if finished and tuning.loss_unit and (said := _verdict(journal, tuning.loss_unit)):
            self.tell(Notice(said))


def _verdict(journal: Journal, unit: str) -> str | None:
    wording = Wording(unit, data="data", remedy="a lower --train.learning-rate")
    return judge(evaluations_in(journal.rows()), wording)


def begin_day(run: Path) -> datetime:
    """The present time, noted in the run folder as its beginning."""
    now = datetime.now().replace(microsecond=0)
    (run / BEGAN).write_text(f"{now.isoformat()}\n", encoding="utf-8")
    return now


def run_day(run: Path) -> datetime | None:
    """When the run began; None where that was not noted."""
    path = run / BEGAN
    return datetime.fromisoformat(path.read_text("utf-8").strip()) if path.is_file() else None


def refuse_other_origin(
    folder: Path, begun_with: Mapping[str, str] | None, found: Mapping[str, str]
) -> None:
    """RunError naming what is no longer what the run was begun with: its base, its data, ..."""
    known = begun_with or {}
    names = sorted({*known, *found})
    other = [name for name in names if known.get(name) != found.get(name)]
    if other:
        raise RunError(
            f"{folder} was trained with another {' and another '.join(other)}: put that back, or "
            "begin another run with --out"
        )


def _trainer_state(
    tuning: Tuning, optimizer: Mapping[str, Tensor], state: LoopState
) -> TrainerState:
    tensors = _copied(optimizer)
    values: dict[str, Any] = {
        "loop": state.to_values(),
        "belongs_to": dict(tuning.belongs_to),
    }
    if tuning.extra is not None:
        extra = _copied(tuning.extra.state_tensors())
        tensors |= {EXTRA + name: tensor for name, tensor in extra.items()}
        values["extra"] = tuning.extra.state_values()
    return TrainerState(tensors, values)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
