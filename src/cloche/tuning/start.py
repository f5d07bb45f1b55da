"""`cloche.tune`: from a model that continues to a model that answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloche.data.example_order import ExampleOrder
from cloche.data.examples import ROW_TOKENS, Example, ExampleBatch
from cloche.data.order import mix
from cloche.planning.flops import flops_per_token
from cloche.run import load
from cloche.text.plurals import counted
from cloche.training.card import card_with
from cloche.training.distributed import World, share_of_step
from cloche.training.events import Listener, Sampled
from cloche.training.machine import allow_short_products, measure_machine
from cloche.training.objectives import NextToken, Objective, scoring_of
from cloche.training.options import TrainOptions
from cloche.training.prefetch import Prefetched
from cloche.training.recomputing import recompute_blocks
from cloche.training.start import TrainedRun
from cloche.training.state import LoopState
from cloche.tuning.answering import answer
from cloche.tuning.base import Base, context_for, open_base
from cloche.tuning.distilling import Distillation, require_same_tokens
from cloche.tuning.held_out import mean_answer_loss
from cloche.tuning.options import RATES, TuneOptions, with_alpha, with_usual_pace
from cloche.tuning.records import HeldRecords, describe_records, read_held_records
from cloche.tuning.session import Telling, Tuning, asked_options, run_tuning
from cloche.tuning.trainee import Trainee, make_trainee
from cloche.tuning.unknown import tell_unknown, tell_unknown_words

EVALUATED = 200
"""Examples of the validation part that an evaluation measures, and of the training part."""


def tune(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | TuneOptions | None = None,
    listeners: Sequence[Listener] | None = None,
) -> TrainedRun:
    """Tune a model on conversations, into a run folder that holds all of it.

    `base` is a run, a checkpoint or a Hugging Face folder; `sources` are files of records: Alpaca,
    ShareGPT, messages, or prompt and completion. `options` are dotted names (`{"lora.rank": 8}`)
    or a complete tree. `listeners` are told what happens; when not given, it is shown on standard
    error. With `resume`, the run in `out` goes on where it was. Raises ClocheError where something
    cannot be used.
    """
    run = Path(out) if out is not None else default_folder(base)
    asked = asked_options(run, TuneOptions(), options, resume=resume)
    if str(base):
        asked = replace(asked, base=str(base))
    if sources:
        asked = replace(asked, sources=tuple(map(str, sources)))
    return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=_prepare)


def default_folder(base: str | Path, *, ending: str = "tuned") -> Path:
    """`runs/NAME-tuned`, NAME from the base's folder; of a checkpoint, from its run's."""
    path = Path(base).absolute()
    if path.parent.name == "checkpoints":
        path = path.parent.parent
    return Path("runs") / f"{path.name}-{ending}"


def _prepare(options: TuneOptions, telling: Telling) -> Tuning:
    method = options.method
    base = open_base(
        options.base,
        template=options.tune.template,
        may_grow=method.method == "full",
        precision=method.bits if method.method == "qlora" else "float32",
        day=telling.day,
        warn=telling.warn,
    )
    context = context_for(base, options.tune.context, warn=telling.warn)
    held = read_held_records(
        options.sources,
        base,
        data=options.data,
        context=context,
        learned=options.tune.loss,
        seed=options.train.seed,
        telling=telling,
    )
    learned = [example.ids[example.learned] for example in held.train.examples]
    tell_unknown(learned, base.tokenizer, what="what is learned", telling=telling)
    tell_unknown_words(base.template, base.tokenizer, telling=telling)
    machine = measure_machine(options.train.device, options.train.precision)
    train = with_usual_pace(
        settled(options.train, device=machine.device, precision=machine.precision),
        records=len(held.train.examples),
        epochs=options.tune.epochs,
        rate=RATES[method.method],
    )
    tune_options = replace(options.tune, context=context, epochs=None)
    lora = with_alpha(method, options.lora)
    options = replace(options, tune=tune_options, lora=lora, train=train)
    allow_short_products(train.device, train.precision)
    trainee = make_trainee(base, method, options.lora, train)
    compute = trainee.compute(train)
    if train.checkpointing == "on":
        recompute_blocks(compute.model, dropout=base.config.dropout)
    for line in [*describe_records(held, context=context), *_describe(options, trainee, held)]:
        telling.say(line)
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=_objective(options, base),
        batches=example_batches(held.train.examples, train, packing=options.tune.packing),
        evaluate=_Evaluation(held, device=train.device, rows=options.tune.packing),
        snapshot=lambda: trainee.snapshot(compute),
        read_trained=trainee.read_trained,
        belongs_to={"base": base.hash, "data": held.hash, "template": base.template.source},
        card=lambda state: tuned_card(base, options, trainee, held, state),
        write_sample=_sampling(base, compute.model, held, train),
        loss_unit="nats a learned token",
        flops_per_token=flops_per_token(base.config),
        peak_flops=machine.flops_per_second,
    )


def _objective(options: TuneOptions, base: Base) -> Objective:
    """Cross-entropy of the learned tokens, beside a teacher where there is one."""
    scoring, distill = scoring_of(options.train), options.distill
    if not distill.teacher:
        return NextToken(scoring, base.config.balance)
    teacher = load(distill.teacher, precision="float32", device=options.train.device)
    require_same_tokens(
        base.tokenizer.fingerprint, teacher.tokenizer.fingerprint, teacher_name=distill.teacher
    )
    return Distillation(
        teacher.model.requires_grad_(False),
        share=distill.share,
        temperature=distill.temperature,
        scoring=scoring,
    )


def settled(train: TrainOptions, *, device: str, precision: str) -> TrainOptions:
    """The options with device, precision and compilation chosen."""
    found: Any = replace(train, device=device, precision=precision)  # pyright: ignore
    return replace(found, compile="off" if train.compile == "auto" else train.compile)


def example_batches(
    examples: Sequence[Example], train: TrainOptions, *, packing: bool
) -> Callable[[int, int], ExampleBatch]:
    """(step, part) -> examples, in an order that is a function of the seed alone."""
    order = ExampleOrder(examples, seed=train.seed, row_tokens=ROW_TOKENS if packing else 1)
    batch = train.batch
    assert batch is not None, "completed before"

    def batches(step: int, number: int) -> ExampleBatch:
        begin, size = share_of_step(
            batch, world=World(), accumulate=train.accumulate, number=number
        )
        return order.batch(step * batch + begin, size=size)

    return Prefetched(batches, parts=train.accumulate, device=torch.device(train.device))


@dataclass(frozen=True)
class _Evaluation:
    """Losses of both parts, in nats a learned token, on as many examples of one as of the other."""

    held: HeldRecords
    device: str
    rows: bool
    """Whether examples are packed into rows."""

    def __call__(self, model: nn.Module) -> dict[str, float]:
        validation = self.held.validation.examples[:EVALUATED]
        train = self.held.train.examples[: len(validation)]
        return {
            "eval/loss": self.mean(model, validation),
            "eval/train_loss": self.mean(model, train),
        }

    def mean(self, model: nn.Module, examples: Sequence[Example]) -> float:
        return mean_answer_loss(model, tuple(examples), device=self.device, packing=self.rows)


def _sampling(
    base: Base, model: nn.Module, held: HeldRecords, train: TrainOptions
) -> Callable[[int], Sampled]:
    """Answers a held-out question after a step, greedily."""

    def write(step: int) -> Sampled:
        records = held.validation.records
        record = records[mix(train.seed, step, 6) % len(records)]
        asked = record.conversation[:-1]
        text = answer(base, model, asked, max_tokens=train.sample_tokens)
        return Sampled(step, f"{asked[-1].content}\n→ ", text)

    return write


def _describe(options: TuneOptions, trainee: Trainee, held: HeldRecords) -> list[str]:
    train, base = options.train, trainee.base
    assert train.steps is not None, "completed before"
    assert train.batch is not None, "completed before"
    passes = train.steps * train.batch / len(held.train.examples)
    added = f" New tokens: {', '.join(base.added)}." if base.added else ""
    what = {"answers": "the answers", "last": "the last answers", "all": "all tokens"}
    return [
        f"Template: {base.template.name}.{added} Learned: {what[options.tune.loss]}, and the token "
        "that ends each.",
        f"Trained: {trainee.described}.",
        f"Plan: {counted(train.steps, 'step')} of {counted(train.batch, 'record')} "
        f"({passes:.1f} passes), "
        f"{train.optimizer} at {train.learning_rate:g}.",
    ]


def tuned_card(
    base: Base, options: TuneOptions, trainee: Trainee, held: HeldRecords, state: LoopState
) -> str:
    """The README.md of a checkpoint: what it was tuned from and on, all measured."""
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "tuned from": f"{Path(options.base).name} (SHA-256 {base.hash[:12]})",
        "trained": trainee.described,
        "records": f"{len(held.train.examples):,} to train on",
        "chat template": base.template.name.split("/")[-1],
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "learned tokens seen": f"{state.tokens:,}",
        "lowest validation loss": f"{best} nats a learned token (step {state.best_step})",
        "optimizer": f"{options.train.optimizer}, learning rate {options.train.learning_rate}",
        "seed": str(options.train.seed),
    }
    library = "transformers" if trainee.kept else "peft"
    return card_with(rows, library=library, about="It was tuned to answer; `cloche chat` asks it.")
