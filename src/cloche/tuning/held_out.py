"""A base and what it was tuned to, side by side on records that neither learned from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cloche.data.batches import on_device
from cloche.data.examples import ROW_TOKENS, Example, lay_out
from cloche.errors import RunError, SettingError
from cloche.evaluation.likelihood import evaluation_mode
from cloche.run import load
from cloche.training.objectives import NextToken
from cloche.tuning.answering import answer_all
from cloche.tuning.base import Base, context_for, open_base
from cloche.tuning.options import TuneOptions
from cloche.tuning.records import HeldRecords, read_held_records
from cloche.tuning.session import Telling, read_tuning_options, run_day

ANSWER_TOKENS = 160


@dataclass(frozen=True)
class AnswerPair:
    """One held-out question, and what was answered."""

    question: str
    expected: str
    """The record's own answer."""
    before: str
    after: str


@dataclass(frozen=True)
class HeldOutComparison:
    """Held-out records under the base and under the tuned model."""

    part: str
    """test, or validation where the split has no test records."""
    records: int
    before: float
    """Mean loss of the learned tokens, in nats a token."""
    after: float
    answers: tuple[AnswerPair, ...]

    @property
    def change(self) -> float:
        """How the loss changed, as a share of what it was."""
        return self.after / self.before - 1.0


def compare_held_out(run: Path, *, answers: int) -> HeldOutComparison:
    """Measure a finished run's held-out records, greedy answers to the first `answers` of them.

    RunError where the run has not begun.
    """
    if answers < 0:
        raise SettingError(f"the number of answers to compare must not be negative, got {answers}")
    stored = read_tuning_options(run, TuneOptions())
    if stored is None:
        raise RunError(f"{run} holds no tuning")
    base, held = encoded_for(stored, Telling(_ignore, _ignore, day=run_day(run)))
    part, name = (held.test, "test") if held.test.examples else (held.validation, "validation")
    writers = (base.writer(), load(run, precision="float32", device="cpu", warn=_ignore))
    before, after = (mean_answer_loss(lm.model, part.examples) for lm in writers)
    conversations = [record.conversation for record in part.records[:answers]]
    asked = [conversation[:-1] for conversation in conversations]
    first, second = (
        answer_all(lm, base.template, asked, max_tokens=ANSWER_TOKENS) for lm in writers
    )
    pairs = tuple(
        AnswerPair(
            question="\n".join(filter(None, (question[-1].content, question[-1].input))),
            expected=whole[-1].content,
            before=one,
            after=other,
        )
        for whole, question, one, other in zip(conversations, asked, first, second, strict=True)
    )
    return HeldOutComparison(name, len(part.examples), before, after, pairs)


def encoded_for(options: TuneOptions, telling: Telling | None = None) -> tuple[Base, HeldRecords]:
    """The base in float32 and the records, as the options ask for them."""
    telling = telling or Telling(_ignore, _ignore)
    base = open_base(
        options.base,
        template=options.tune.template,
        may_grow=options.method.method == "full",
        day=telling.day,
        warn=telling.warn,
    )
    held = read_held_records(
        options.sources,
        base,
        data=options.data,
        context=context_for(base, options.tune.context, warn=telling.warn),
        learned=options.tune.loss,
        seed=options.train.seed,
        telling=telling,
    )
    return base, held


def mean_answer_loss(
    model: nn.Module,
    examples: tuple[Example, ...],
    *,
    device: str = "cpu",
    packing: bool = True,
    rows: int = 8,
) -> float:
    """The mean cross-entropy of the learned tokens of examples, in nats a token."""
    objective, nats, count = NextToken(), 0.0, 0
    ordered = sorted(examples, key=lambda example: len(example.ids))
    with evaluation_mode(model):
        for begin in range(0, len(ordered), rows):
            batch = lay_out(ordered[begin : begin + rows], row_tokens=ROW_TOKENS if packing else 1)
            term = objective(model, on_device(batch, torch.device(device))).terms["loss"]
            nats += float(term.sum)
            count += term.count
    return nats / count


def _ignore(_text: str) -> None:
    """For what was told already."""
