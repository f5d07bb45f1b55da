"""A run of the counted family: count, evaluate, write, save. One step, and no loop.

It leaves the same folder as a training. An interrupted one has nothing to save, as half a count
is none: it begins anew, from the tokens that are prepared.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cloche.data.batches import require_length
from cloche.data.prepare import PreparedText
from cloche.errors import CheckpointError, RunError
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.ngram import NGram
from cloche.model.presets import MAX_NGRAMS, complete
from cloche.training.assemble import newest_trainer, sample
from cloche.training.card import counted_card
from cloche.training.counted_model import count_model, mean_nats
from cloche.training.counting import Watch
from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Listener,
    Notice,
    RunEnded,
    RunStarted,
)
from cloche.training.folder import write_options
from cloche.training.journal import Journal
from cloche.training.options import RunOptions
from cloche.training.schedule import Plan
from cloche.training.snapshots import learned_special_ids, link
from cloche.training.state import LoopState
from cloche.weights.checkpoint import TrainerState, save_checkpoint


class StopRequestedError(Exception):
    """Ends the counting where a signal asked for it."""


def count_run(
    run: Path,
    options: RunOptions,
    prepared: PreparedText,
    *,
    begun: bool,
    listeners: Sequence[Listener],
    stop_requested: Callable[[], bool],
) -> LoopState:
    """Count the training part and save the model in the run's folder; where the run then stands.

    Its step is 1 when the model is saved, and 0 when it was stopped before. A run that is
    finished already stays as it is. Raises ClocheError where something cannot be used.
    """
    config = complete(
        options.model, vocab_size=prepared.tokenizer.vocab_size, layers=1, width=1, context=1
    )
    for part, tokens in (("training", prepared.train), ("validation", prepared.validation)):
        require_length(tokens, context=1, part=part)
    options = complete_counted_options(options, config)
    write_options(run, options)
    return _Count(run, options, prepared, listeners, stop_requested).run_all(config, begun=begun)


def complete_counted_options(options: RunOptions, config: ModelConfig) -> RunOptions:
    """The options with all that was chosen, for config.toml."""
    model = ModelOptions(
        family="ngram",
        context=config.context,
        order=config.order,
        smoothing=config.smoothing,
        max_ngrams=options.model.max_ngrams or MAX_NGRAMS,
    )
    return replace(options, model=model)


class _Count:
    """One sitting: holds what its stages pass on to each other."""

    def __init__(
        self,
        run: Path,
        options: RunOptions,
        prepared: PreparedText,
        listeners: Sequence[Listener],
        stop_requested: Callable[[], bool],
    ) -> None:
        self.run, self.options, self.prepared = run, options, prepared
        self.listeners = list(listeners)
        self.stop_requested = stop_requested
        self.began = time.monotonic()
        self.watch = Watch(tell=self._say, check=self._check)

    def run_all(self, config: ModelConfig, *, begun: bool) -> LoopState:
        stored = self._finished() if begun else None
        state = stored or LoopState(plan=Plan(steps=1))
        journal = Journal(self.run, from_step=state.step, warn=self._warn)
        # the terminal would announce a training of so many parameters, and none are known yet
        journal(RunStarted(state.step, 1, sum(config.ngrams), "cpu", "float32"))
        self.listeners.append(journal)
        try:
            with _told_of_full_disks(self.run), suppress(StopRequestedError):
                if stored is None:
                    self._count(config, state, before_save=journal.flush)
                else:
                    self._say(f"This run is already finished, at step {state.step}.")
            finished = state.step == 1
            self._tell(RunEnded(state.step, finished, state.seconds))
        except BaseException:
            with suppress(OSError):  # the disk may be full; what went wrong first is told
                journal.write_status("failed")
            raise
        finally:
            journal.close()
        return state

    def _count(
        self, config: ModelConfig, state: LoopState, *, before_save: Callable[[], None]
    ) -> None:
        tokens, limit = len(self.prepared.train), self.options.model.max_ngrams
        assert limit is not None, "the options are completed before the counting starts"
        self._say(
            f"Model: ngram of order {config.order}, {config.smoothing} smoothing, counted over "
            f"{tokens:,} tokens; at most {limit:,} n-grams are kept."
        )
        with _temporary_folder(self.run) as folder:
            model = count_model(
                config, self.prepared.train, max_ngrams=limit, folder=folder, watch=self.watch
            )
        stored = sum(model.config.ngrams)
        self._say(f"Counted {stored:,} n-grams in {time.monotonic() - self.began:.1f} seconds.")
        model.eval()
        metrics = self._evaluate(model)
        state.step, state.tokens, state.seconds = 1, tokens, time.monotonic() - self.began
        state.best_loss, state.best_step, state.evaluated_step = metrics["eval/loss"], 1, 1
        self._tell(Evaluated(1, metrics, best=True))
        if self.options.train.sample_tokens:
            self._tell(sample(model, self.prepared, options=self.options.train, step=1))
        before_save()
        self._save(model, state)

    def _evaluate(self, model: NGram) -> dict[str, float]:
        """Losses over the whole validation part, and over as much of the training part."""
        validation, train = self.prepared.validation, self.prepared.train
        count = len(validation) - 1
        loss = mean_nats(model, validation, count=count, watch=self.watch)
        train_loss = mean_nats(model, train, count=count, watch=self.watch)
        tokens_per_byte = len(validation) / validation.metadata.utf8_bytes
        return {
            "eval/loss": loss,
            "eval/train_loss": train_loss,
            "eval/bits_per_byte": loss / math.log(2) * tokens_per_byte,
        }

    def _save(self, model: NGram, state: LoopState) -> None:
        folder = self.run / "checkpoints" / f"step-{state.step:06}"
        sources = list(self.prepared.train.metadata.sources)
        save_checkpoint(
            folder,
            model=model,
            config=model.config,
            tokenizer=self.prepared.tokenizer,
            trainer=TrainerState(values={"loop": state.to_values(), "sources": sources}),
            card=counted_card(model.config, self.prepared, state),
            special_ids=learned_special_ids(self.prepared),
        )
        link(self.run, folder, state)
        self._tell(CheckpointSaved(state.step, folder, best=True))

    def _finished(self) -> LoopState | None:
        """Where an earlier sitting saved the model, its state."""
        found = newest_trainer(self.run, self.prepared, warn=self._warn)
        if found is None:
            return None
        folder, trainer = found
        try:
            state = LoopState.from_values(trainer.values["loop"])
        except (KeyError, TypeError) as exc:
            raise CheckpointError(f"{folder}/trainer does not fit this run: {exc}") from exc
        link(self.run, folder, state)  # a kill may have come between the checkpoint and its links
        return state

    def _check(self) -> None:
        if self.stop_requested():
            raise StopRequestedError

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def _say(self, text: str) -> None:
        self._tell(Notice(text))

    def _warn(self, text: str) -> None:
        self._tell(Notice(text, warning=True))


@contextmanager
def _temporary_folder(run: Path) -> Iterator[Path]:
    """A folder for the counting; named so that `sweep` removes what a killed process leaves."""
    folder = run / f".counting.{os.getpid()}.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _told_of_full_disks(run: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise RunError(
            f"{run} cannot be written: {exc}. Counting needs about 16 bytes a token there for a "
            "while: make room, or name another folder with --out"
        ) from exc
