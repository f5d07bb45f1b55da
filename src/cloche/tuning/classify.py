"""`cloche tune --task classify`: from a model that continues to one that tells classes apart.

The score of a class is read at a text's last token. Source of the published use, a spam filter
over GPT-2: Raschka, Build a Large Language Model (From Scratch), chapter 6.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from cloche.data.batches import Batch
from cloche.data.examples import Example, ExampleBatch
from cloche.errors import CheckpointError, DataError, RunError, SettingError
from cloche.model.decoder import Decoder
from cloche.model.scorer import make_scorer
from cloche.planning.flops import flops_per_token
from cloche.plots.charts import confusion_chart
from cloche.run import LM, load
from cloche.text.plurals import counted
from cloche.training.events import Listener
from cloche.training.machine import allow_short_products, measure_machine
from cloche.training.objectives import Losses, Term
from cloche.training.start import TrainedRun
from cloche.training.state import LoopState
from cloche.tuning.classify_data import LabelledExamples, read_examples, text_encoder
from cloche.tuning.classify_model import (
    Prompting,
    choose_learned,
    open_scorer,
    read_trained_scorer,
    scorer_card,
    scorer_writer,
    tuned_scorer,
)
from cloche.tuning.classify_options import CLASSIFY_RATES, TuneClassifyOptions
from cloche.tuning.classify_report import ClassReport, describe_classes, make_report
from cloche.tuning.classify_scoring import (
    labels_of,
    score_examples,
    scored_example,
    scores_of,
    tokens_in,
)
from cloche.tuning.options import with_usual_pace
from cloche.tuning.session import (
    Telling,
    Tuning,
    asked_options,
    read_tuning_options,
    run_tuning,
)
from cloche.tuning.start import default_folder, example_batches, settled
from cloche.tuning.unknown import tell_unknown
from cloche.weights.identity import model_hash
from cloche.weights.prompting import load_chat_template, load_special_ids

EVALUATED = 500
"""Rows of the validation part that an evaluation measures, and of the training part."""
EPOCHS = 5.0
REPORT = "classes.json"
CHART = "confusion.png"
_NAMED = 10


@dataclass(frozen=True)
class Classified:
    """What a classifier makes of a text."""

    label: str
    probability: float
    probabilities: dict[str, float]
    """Of all classes."""


@dataclass(frozen=True)
class RightClass:
    """Cross-entropy of each text's class, in nats; term `loss`, over texts."""

    def counts(self, batch: Batch) -> dict[str, int]:
        """Number of texts; and of tokens, which the speed is told by."""
        assert isinstance(batch, ExampleBatch), "texts are numbered"
        return {"loss": batch.count, "tokens": tokens_in(batch)}

    def __call__(self, model: nn.Module, batch: Batch) -> Losses:
        """The summed loss of the texts."""
        assert isinstance(batch, ExampleBatch), "texts are numbered"
        scores, labels = scores_of(model, batch), labels_of(batch)
        counts = self.counts(batch)
        terms = {
            "loss": Term(F.cross_entropy(scores, labels, reduction="sum"), counts["loss"]),
            "tokens": Term(scores.new_zeros(()), counts["tokens"], weight=0.0),
        }
        right = (scores.detach().argmax(dim=-1) == labels).float().mean()
        return Losses(terms, {"train/accuracy": float(right)})


def tune_classify(
    base: str | Path,
    *sources: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | TuneClassifyOptions | None = None,
    listeners: Sequence[Listener] | None = None,
) -> TrainedRun:
    """Train a classifier on texts with a class each, into a run folder that holds all of it.

    As `tune`; `sources` are CSV, TSV, JSON, JSONL or Parquet files. Raises ClocheError where
    something cannot be used. `held_out_classes` then tells how good it is.
    """
    run = Path(out) if out is not None else default_folder(base, ending="classify")
    asked = asked_options(run, TuneClassifyOptions(), options, resume=resume)
    if str(base):
        asked = replace(asked, base=str(base))
    if sources:
        asked = replace(asked, sources=tuple(map(str, sources)))
    return run_tuning(run, asked, resume=resume, listeners=listeners, prepare=_prepare)


def held_out_classes(run: str | Path) -> ClassReport:
    """How the best checkpoint of a run does on its test rows, validation rows where it has none.

    Also written into the run folder, as classes.json and confusion.png.
    """
    folder = Path(run)
    options = read_tuning_options(folder, TuneClassifyOptions())
    if options is None:
        raise RunError(f"{run} holds no classifier")
    found = open_scorer(folder, device=options.train.device, warn=_ignore)
    held = read_examples(options, text_encoder(found.folder, found.tokenizer))
    part, name = (held.test, "test") if held.test else (held.validation, "validation")
    scores = score_examples(found.opened.scorer, part)
    report = make_report(
        [int(example.ids[-1]) for example in part],
        scores.argmax(dim=-1).tolist(),
        found.opened.labels,
        part=name,
        commonest=held.commonest,
    )
    text = json.dumps(report.to_values(), ensure_ascii=False, indent=2) + "\n"
    (folder / REPORT).write_text(text, encoding="utf-8")
    title = f"{folder.name}: {report.accuracy:.1%} of {report.texts:,} {name} texts"
    confusion_chart(report.confusion, folder / CHART, classes=report.classes, title=title)
    return report


def classify(source: str | Path, texts: Sequence[str], *, device: str = "cpu") -> list[Classified]:
    """The class of each text by the classifier in a run, a checkpoint or a folder.

    A text is read from its beginning, as far as the model's context goes. Raises CheckpointError
    for a model that tells no classes apart, DataError for an empty text.
    """
    found = open_scorer(source, device=device, warn=_ignore)
    if len(found.opened.labels) < 2:
        raise CheckpointError(f"{source} holds a reward model, which tells no classes apart")
    empty = [number for number, text in enumerate(texts) if not text.strip()]
    if empty:
        raise DataError(f"text {empty[0] + 1} of {len(texts)} is empty: it has no class")
    encode, context = text_encoder(found.folder, found.tokenizer), found.opened.config.context
    examples = [scored_example(encode(text)[:context]) for text in texts]
    shares = score_examples(found.opened.scorer, examples).softmax(dim=-1)
    return [
        Classified(
            found.opened.labels[int(row.argmax())],
            float(row.max()),
            dict(zip(found.opened.labels, row.tolist(), strict=True)),
        )
        for row in shares
    ]


def _prepare(options: TuneClassifyOptions, telling: Telling) -> Tuning:
    lm, decoder = _open_base(options.base, warn=telling.warn)
    context = min(options.classify.context or lm.config.context, lm.config.context)
    options = replace(options, classify=replace(options.classify, context=context))
    held = read_examples(options, text_encoder(lm.folder, lm.tokenizer))
    texts = [example.ids[:-1] for example in held.train]  # the last number is the class
    tell_unknown(texts, lm.tokenizer, what="the texts", telling=telling)
    machine = measure_machine(options.train.device, options.train.precision)
    train = with_usual_pace(
        settled(options.train, device=machine.device, precision=machine.precision),
        records=len(held.train),
        epochs=options.classify.epochs or EPOCHS,
        rate=CLASSIFY_RATES[options.classify.learn],
    )
    train = replace(train, sample_tokens=0)  # what scores writes nothing
    options = replace(options, classify=replace(options.classify, epochs=None), train=train)
    allow_short_products(train.device, train.precision)
    scorer = make_scorer(decoder, len(held.classes), seed=train.seed)
    trained = choose_learned(scorer.to(torch.device(train.device)), options.classify.learn)
    compute = tuned_scorer(scorer, train, dropout=lm.config.dropout)
    for line in _describe(options, held, trained):
        telling.say(line)
    prompting = Prompting(
        lm.tokenizer,
        load_special_ids(lm.folder),
        lm.stop_ids,
        lm.begins_with_bos,
        load_chat_template(lm.folder),
    )
    base_hash = model_hash(lm.folder)
    return Tuning(
        options=options,
        steps=train.steps or 1,
        compute=compute,
        objective=RightClass(),
        batches=example_batches(held.train, train, packing=True),
        evaluate=_Evaluation(held),
        snapshot=lambda: scorer_writer(compute, prompting, labels=held.classes),
        read_trained=read_trained_scorer,
        belongs_to={"base": base_hash, "data": held.hash},
        card=lambda state: _card(options, held, base_hash, trained, state),
        flops_per_token=flops_per_token(lm.config),
        peak_flops=machine.flops_per_second,
        loss_unit="nats a text",
    )


@dataclass(frozen=True)
class _Evaluation:
    """Loss, in nats a text, and accuracy on as many rows of one part as of the other."""

    held: LabelledExamples

    def __call__(self, model: nn.Module) -> dict[str, float]:
        validation = self.held.validation[:EVALUATED]
        loss, accuracy = self.measure(model, validation)
        train_loss, train_accuracy = self.measure(model, self.held.train[: len(validation)])
        return {
            "eval/loss": loss,
            "eval/train_loss": train_loss,
            "eval/accuracy": accuracy,
            "eval/train_accuracy": train_accuracy,
        }

    def measure(self, model: nn.Module, examples: Sequence[Example]) -> tuple[float, float]:
        scores = score_examples(model, examples)
        labels = torch.tensor([int(example.ids[-1]) for example in examples])
        right = (scores.argmax(dim=-1) == labels).float().mean()
        return float(F.cross_entropy(scores, labels)), float(right)


def _open_base(source: str, *, warn: Callable[[str], None]) -> tuple[LM, Decoder]:
    if not source:
        raise SettingError("name the model to tune: a run, a checkpoint or a Hugging Face folder")
    lm = load(source, precision="float32", device="cpu", warn=warn)
    if not isinstance(lm.model, Decoder):
        raise CheckpointError(
            f"{source} holds a {lm.config.family} model, which has no state that a class could be "
            "read from: take a model with attention, such as any that cloche train grows by default"
        )
    return lm, lm.model


def _describe(options: TuneClassifyOptions, held: LabelledExamples, trained: str) -> list[str]:
    train = options.train
    cut = (
        f" {held.cut:,} texts are longer than {options.classify.context:,} tokens and read only so "
        "far."
        if held.cut
        else ""
    )
    return [
        f"Rows: {len(held.train):,} to train on, {len(held.validation):,} to validate on, "
        f"{len(held.test):,} to test with.{cut}",
        *describe_classes([row.label for row in held.rows], held.classes),
        f"Trained: {trained}.",
        f"Plan: {counted(train.steps or 1, 'step')} of {counted(train.batch or 1, 'text')}, "
        f"{train.optimizer} at "
        f"{train.learning_rate:g}.",
    ]


def _card(
    options: TuneClassifyOptions,
    held: LabelledExamples,
    base_hash: str,
    trained: str,
    state: LoopState,
) -> str:
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "tuned from": f"{Path(options.base).name} (SHA-256 {base_hash[:12]})",
        "classes": ", ".join(held.classes[:_NAMED]) + (" ..." if held.classes[_NAMED:] else ""),
        "trained": trained,
        "texts": f"{len(held.train):,} to train on",
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "lowest validation loss": f"{best} nats a text (step {state.best_step})",
        "seed": str(options.train.seed),
    }
    return scorer_card(rows, about="It tells classes of texts apart.")


def _ignore(_text: str) -> None:
    """For what was told when the run began."""
