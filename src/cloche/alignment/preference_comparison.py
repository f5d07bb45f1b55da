"""A base and what preferences made of it, on records that neither learned from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from cloche.alignment.preference_batches import EncodedPair, EncodedVote
from cloche.alignment.preference_encoding import AnswerWriter
from cloche.alignment.preference_evaluation import pair_logprobs
from cloche.alignment.preference_options import DpoOptions
from cloche.alignment.preference_parts import read_parts
from cloche.errors import RunError
from cloche.run import load
from cloche.tuning.base import open_base
from cloche.tuning.session import Telling, read_tuning_options, run_day


@dataclass(frozen=True)
class PreferenceComparison:
    """Shares of held-out choices that a model meets, before and after."""

    part: str
    """test, or validation where the split has no test records."""
    records: int
    before: float | None
    """Of pairs: in so many is the chosen answer the likelier one for the base. None for votes."""
    after: float
    """Of pairs, the same for the trained model. Of votes, the share of good answers that have
    become likelier and of bad ones that have not."""


def compare_preferences(run: Path) -> PreferenceComparison:
    """Measure the held-out records of a finished run. RunError where the run has not begun."""
    options = read_tuning_options(run, DpoOptions())
    if options is None:
        raise RunError(f"{run} holds no training on preferences")
    base = open_base(
        options.base,
        template=options.align.template,
        may_grow=options.method.method == "full",
        day=run_day(run),
        warn=_ignore,
    )
    context = min(options.align.context or base.config.context, base.config.context)
    writer = AnswerWriter(base.template, base.tokenizer, context)
    held = read_parts(options, writer, telling=Telling(_ignore, _ignore)).held
    part, name = (held.validation, "validation") if held.test is None else (held.test, "test")
    trained = load(run, precision="float32", device="cpu", warn=_ignore).model
    records = [item.examples for item in part.items]
    before, after = pair_logprobs(base.model, records), pair_logprobs(trained, records)
    pairs = [item for item in part.items if isinstance(item, EncodedPair)]
    if pairs:
        shares = [_share(values[:, 0] > values[:, 1]) for values in (before, after)]
        return PreferenceComparison(name, len(records), *shares)
    good = torch.tensor([item.good for item in part.items if isinstance(item, EncodedVote)])
    gained = after[:, 0] > before[:, 0]
    return PreferenceComparison(name, len(records), None, _share(gained == good))


def _share(met: Bool[Tensor, " records"]) -> float:
    return float(met.float().mean())


def _ignore(_text: str) -> None:
    """For what was told already."""
