"""Continued pretraining: a model goes on with new text, some old text among it.

A model that learns new text alone forgets the old. A small share of old windows among the new
keeps most of it. Source: Ibrahim et al. 2024, https://arxiv.org/abs/2403.08763
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cloche.data.batches import Batch, SeededWindows, fixed_starts, training_windows
from cloche.data.order import mix
from cloche.data.prepare import PreparedText
from cloche.errors import DataError
from cloche.evaluation.likelihood import mean_loss
from cloche.planning.flops import flops_per_token
from cloche.text.plurals import counted
from cloche.training.card import card_with
from cloche.training.distributed import World, share_of_step
from cloche.training.events import Listener
from cloche.training.machine import allow_short_products, measure_machine
from cloche.training.objectives import NextToken, scoring_of
from cloche.training.options import RunOptions, TrainOptions
from cloche.training.prefetch import Prefetched
from cloche.training.preparing import Places, Preparation
from cloche.training.recomputing import recompute_blocks
from cloche.training.start import TrainedRun
from cloche.training.state import LoopState
from cloche.tuning.base import Base, context_for, open_base
from cloche.tuning.options import RATES, with_alpha, with_usual_pace
from cloche.tuning.session import Telling, Tuning, asked_options, run_tuning
from cloche.tuning.start import default_folder, settled
from cloche.tuning.text_options import TuneTextOptions
from cloche.tuning.trainee import Trainee, make_trainee
from cloche.tuning.unknown import tell_unknown

EVALUATED = 64
"""Windows of each validation part that an evaluation measures."""
_REPLAY_SEED = 9
_CHUNK = 1 << 22  # tokens looked at at a time
REPLAY = "replay"
"""The folder in a run with the old text's tokens."""


def tune_on_text(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | TuneTextOptions | None = None,
    listeners: Sequence[Listener] | None = None,
    places: Places | None = None,
) -> TrainedRun:
    """Train a model on with plain text, into a run folder that holds all of it.

    `replay.sources` of the options are texts of the old kind, of which `replay.share` comes among
    the new. See `cloche.tune` for the rest. Raises ClocheError where something cannot be used.
    """
    run = Path(out) if out is not None else default_folder(base, ending="text")
    asked = asked_options(run, TuneTextOptions(), options, resume=resume)
    if str(base):
        asked = replace(asked, base=str(base))
    if sources:
        asked = replace(asked, sources=tuple(map(str, sources)))

    def prepare(given: TuneTextOptions, telling: Telling) -> Tuning:
        return _prepare(run, given, places or Places(), telling)

    return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=prepare)


def _prepare(run: Path, options: TuneTextOptions, places: Places, telling: Telling) -> Tuning:
    method = options.method
    base = open_base(
        options.base,
        template="",
        may_grow=False,
        needs_template=False,
        precision=method.bits if method.method == "qlora" else "float32",
        warn=telling.warn,
    )
    context = context_for(base, options.tune.context, warn=telling.warn)
    new = _tokens(run, base, options, options.sources, places, telling)
    old = None
    if options.replay.sources:
        old = _tokens(run / REPLAY, base, options, options.replay.sources, places, telling)
    require_windows(new, old, context=context)
    stretches = (new.train.tokens[at : at + _CHUNK] for at in range(0, len(new.train), _CHUNK))
    tell_unknown(stretches, base.tokenizer, what="the new text", telling=telling)
    machine = measure_machine(options.train.device, options.train.precision)
    windows = max(1, len(new.train) // context)
    if old is not None:
        windows = round(windows / (1.0 - options.replay.share))
    train = with_usual_pace(
        settled(options.train, device=machine.device, precision=machine.precision),
        records=windows,
        epochs=options.tune.epochs or 1.0,
        rate=RATES[method.method],
    )
    kept = replace(options.tune, context=context, epochs=None)
    lora = with_alpha(method, options.lora)
    options = replace(options, tune=kept, lora=lora, train=train)
    allow_short_products(train.device, train.precision)
    trainee = make_trainee(base, method, options.lora, train)
    compute = trainee.compute(train)
    if train.checkpointing == "on":
        recompute_blocks(compute.model, dropout=base.config.dropout)
    for line in _describe(options, trainee, old):
        telling.say(line)
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=NextToken(scoring_of(train), base.config.balance),
        batches=replayed_batches(new, old, options, context=context),
        evaluate=_evaluation(new, old, context=context),
        snapshot=lambda: trainee.snapshot(compute),
        read_trained=trainee.read_trained,
        belongs_to={"base": base.hash, "text": _hash(new), "replayed text": _hash(old)},
        card=lambda state: _card(base, options, trainee, state),
        flops_per_token=flops_per_token(base.config),
        peak_flops=machine.flops_per_second,
    )


def require_windows(new: PreparedText, old: PreparedText | None, *, context: int) -> None:
    """DataError naming each part of either text that has no window and a next token."""
    parts = [("the new text's training part", new.train)]
    parts += [("the new text's validation part", new.validation)]
    if old is not None:
        parts += [("the replayed text's training part", old.train)]
        parts += [("the replayed text's validation part", old.validation)]
    short = [
        f"{name} has {len(part.tokens):,} tokens, and a window of {context} needs {context + 1:,}"
        for name, part in parts
        if len(part.tokens) <= context
    ]
    if short:
        raise DataError(
            f"too little text: {'; '.join(short)}. Use a smaller --tune.context, another "
            "--data.split, or more text"
        )


def replayed_batches(
    new: PreparedText, old: PreparedText | None, options: TuneTextOptions, *, context: int
) -> Callable[[int, int], Batch]:
    """(step, part) -> windows of new text, with the share of old ones evenly among them."""
    train, data = options.train, options.data
    batch = train.batch
    assert batch is not None, "completed before"
    fresh = training_windows(new.train, context=context, seed=train.seed, options=data)
    replayed = None
    if old is not None:
        seed = mix(train.seed, _REPLAY_SEED) >> 1
        replayed = training_windows(old.train, context=context, seed=seed, options=data)

    def batches(step: int, number: int) -> Batch:
        begin, size = share_of_step(
            batch, world=World(), accumulate=train.accumulate, number=number
        )
        first = step * batch + begin
        if replayed is None:
            return fresh.batch(first, size=size)
        return _mixed(fresh, replayed, first, size=size, share=options.replay.share)

    return Prefetched(batches, parts=train.accumulate, device=torch.device(train.device))


def _mixed(
    fresh: SeededWindows, replayed: SeededWindows, first: int, *, size: int, share: float
) -> Batch:
    """Samples first .. first + size - 1, of which so many up to each are old as the share says."""
    old_before = int(np.floor(first * share))
    old = int(np.floor((first + size) * share)) - old_before
    parts = []
    if size > old:
        parts.append(fresh.batch(first - old_before, size=size - old))
    if old:
        parts.append(replayed.batch(old_before, size=old))
    return joined(parts)


def joined(parts: Sequence[Batch]) -> Batch:
    """The rows of several batches of one length, one below the other."""
    if len(parts) == 1:
        return parts[0]
    apart = any(part.documents is not None for part in parts)
    counted = torch.arange(parts[0].inputs.shape[1])

    def rows(given: Tensor | None, usual: Tensor, part: Batch) -> Tensor:
        return usual.expand_as(part.inputs) if given is None else given

    return Batch(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat([rows(p.positions, counted, p) for p in parts]) if apart else None,
        torch.cat([rows(p.documents, counted * 0, p) for p in parts]) if apart else None,
    )


def _tokens(
    folder: Path,
    base: Base,
    options: TuneTextOptions,
    sources: tuple[str, ...],
    places: Places,
    telling: Telling,
) -> PreparedText:
    """The text by the base's tokenizer, in `folder`/tokens."""
    text = replace(options.text, tokenizer=str(base.lm.folder.absolute()))
    run_options = RunOptions(sources=sources, text=text, data=options.data)
    folder.mkdir(parents=True, exist_ok=True)
    preparation = Preparation(folder, run_options, places, telling.say, telling.warn)
    return preparation.prepare(begun=telling.resumed)


def _evaluation(
    new: PreparedText, old: PreparedText | None, *, context: int
) -> Callable[[nn.Module], dict[str, float]]:
    """Losses on new text of both parts, and on old text that was not replayed: what is lost."""

    def measured(model: nn.Module, tokens: Any) -> float:
        starts = fixed_starts(tokens, context=context, count=EVALUATED)
        return mean_loss(model, tokens, starts=starts, context=context, rows=8)

    def evaluate(model: nn.Module) -> dict[str, float]:
        found = {
            "eval/loss": measured(model, new.validation),
            "eval/train_loss": measured(model, new.train),
        }
        if old is not None:
            found["eval/replay_loss"] = measured(model, old.validation)
        return found

    return evaluate


def _describe(options: TuneTextOptions, trainee: Trainee, old: PreparedText | None) -> list[str]:
    train, share = options.train, options.replay.share
    replay = f", {share:.0%} of them of old text" if old is not None else ""
    lines = [
        f"Trained: {trainee.described}.",
        f"Plan: {counted(train.steps or 1, 'step')} of {counted(train.batch or 1, 'window')} of "
        f"{options.tune.context} tokens"
        f"{replay}, {train.optimizer} at {train.learning_rate:g}.",
    ]
    if old is None:
        lines.append(
            "No old text is replayed, so what the model knew may be forgotten: --replay.sources "
            "names some."
        )
    return lines


def _hash(prepared: PreparedText | None) -> str:
    if prepared is None:
        return ""
    return " ".join(source["utf8_sha256"] for source in prepared.train.metadata.sources)


def _card(base: Base, options: TuneTextOptions, trainee: Trainee, state: LoopState) -> str:
    train: TrainOptions = options.train
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "trained on from": f"{Path(options.base).name} (SHA-256 {base.hash[:12]})",
        "trained": trainee.described,
        "old text replayed": f"{options.replay.share:.0%}" if options.replay.sources else "none",
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "tokens seen": f"{state.tokens:,}",
        "lowest validation loss": f"{best} nats a token (step {state.best_step})",
        "optimizer": f"{train.optimizer}, learning rate {train.learning_rate}",
        "seed": str(train.seed),
    }
    return card_with(rows, library="transformers" if trainee.kept else "peft")
