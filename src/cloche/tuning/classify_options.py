"""The options of a tuning to tell classes apart. Loads no torch."""

from dataclasses import dataclass, field
from typing import Literal

from cloche.training.options import TrainOptions
from cloche.tuning.options import USUAL_TRAIN, TuneDataOptions

CLASSIFY_DATA = TuneDataOptions(split=(0.7, 0.1, 0.2), shuffle=True)
"""Tables of classes often lie sorted by class: their order is no good for a split."""
CLASSIFY_RATES = {"head": 5e-3, "last": 3e-4, "all": 5e-5}


@dataclass(frozen=True)
class ClassifyOptions:
    """Where texts and classes stand, and which weights learn."""

    text_column: str = "text"
    """The column or field of the texts; a number from 1 on in a table without names."""
    label_column: str = "label"
    """The column or field of the classes; a number where the texts' is one."""
    learn: Literal["head", "last", "all"] = "head"
    """head: the new score alone. last: the last block and the final norm, too. all: everything."""
    context: int | None = None
    """Most tokens of a text that are read, from its beginning; the model's context when not
    given."""
    epochs: float | None = None
    """Passes over the training rows, where train.steps is not given; 5 then."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.text_column == self.label_column:
            found.append(
                f"classify.text-column and classify.label-column are both {self.text_column!r}"
            )
        if self.text_column.isdecimal() != self.label_column.isdecimal():
            found.append(
                "classify.text-column and classify.label-column must both be names, or both be "
                f"numbers; got {self.text_column!r} and {self.label_column!r}"
            )
        if self.context is not None and self.context < 1:
            found.append(f"classify.context must be at least 1 token, got {self.context}")
        if self.epochs is not None and not self.epochs > 0:
            found.append(f"classify.epochs must be above 0, got {self.epochs}")
        return found


@dataclass(frozen=True)
class TuneClassifyOptions:
    """Everything a classifier is made of; stored, complete, as its config.toml."""

    kind: str = "classify"
    base: str = ""
    """The model that is tuned: a run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Tables or records with texts and classes."""
    classify: ClassifyOptions = field(default_factory=ClassifyOptions)
    data: TuneDataOptions = CLASSIFY_DATA
    train: TrainOptions = USUAL_TRAIN

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = []
        if self.classify.epochs is not None and self.train.steps is not None:
            found.append("classify.epochs and train.steps both say how long to train: give one")
        if self.classify.learn == "head" and self.train.optimizer == "muon":
            found.append(
                "train.optimizer muon moves the matrices of blocks, and only the score learns: "
                "leave it out"
            )
        found.extend(scoring_problems(self.train))
        for section in (self.classify, self.data, self.train):
            found.extend(section.problems())
        return found


def scoring_problems(train: TrainOptions) -> list[str]:
    """Options of a training that one of scores has no place for, one sentence each."""
    usual = TrainOptions()
    reasons = {
        "label_smoothing": "spreads probability over tokens, and scores are learned",
        "label_smoothing_over": "spreads probability over tokens, and scores are learned",
        "z_loss": "is for the logits of tokens, and scores are learned",
        "compile": "does not reach batches of many shapes",
    }
    found = [
        f"train.{name.replace('_', '-')} {reason}: leave it out"
        for name, reason in reasons.items()
        if getattr(train, name) not in (getattr(usual, name), "off")
    ]
    if train.sample_tokens not in (0, usual.sample_tokens):
        found.append("train.sample-tokens is for models that write: leave it out")
    return found
