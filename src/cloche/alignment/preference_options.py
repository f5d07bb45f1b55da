"""The options of a training on preferences. Loads no torch."""

import math
from dataclasses import dataclass, field
from typing import Literal

from cloche.training.options import TrainOptions
from cloche.tuning.options import LoraOptions, MethodOptions, TuneDataOptions, method_problems

USUAL_PREFERENCE_TRAIN = TrainOptions(
    optimizer="adamw", weight_decay=0.0, warmup=0.1, eval_first=True
)
"""Few and careful steps, from a model that answers already; what it knew at first is measured."""
PREFERENCE_RATES = {"full": 5e-6, "lora": 5e-5, "qlora": 5e-5}
PREFERENCE_EPOCHS = 1.0


@dataclass(frozen=True)
class PreferenceOptions:
    """What is minimised, and what is reported."""

    loss: Literal["auto", "dpo", "ipo", "kto"] = "auto"
    """dpo and ipo learn from pairs, kto from single votes (a pair is two of them); auto: dpo for
    pairs, kto for votes."""
    beta: float = 0.1
    """How dear it is to leave the model before the training: the larger, the closer to it."""
    label_smoothing: float = 0.0
    """With dpo: share of the choices that are taken to be mistaken."""
    sft_weight: float = 0.0
    """With dpo and ipo: weight of the chosen answer's own surprise a token, to keep it likely."""
    desirable_weight: float = 1.0
    """With kto: weight of good votes."""
    undesirable_weight: float = 1.0
    """With kto: weight of bad votes."""
    template: str = ""
    """chatml, brief, alpaca, or a Jinja file; when not given the model's own, else chatml."""
    context: int | None = None
    """Longest prompt with answer in tokens, longer ones are cut; the model's when not given."""
    epochs: float | None = None
    """Passes over the training records, where train.steps is not given; 1 then."""
    answers: int = 8
    """Held-out prompts answered at each evaluation, to measure KL, length and entropy; 0: none."""
    answer_tokens: int = 64
    """Longest of these answers in tokens."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = self._loss_problems()
        if self.context is not None and self.context < 2:
            found.append(f"align.context must be at least 2 tokens, got {self.context}")
        if self.epochs is not None and not 0.0 < self.epochs < math.inf:
            found.append(f"align.epochs must be above 0, got {self.epochs}")
        if self.answers < 0:
            found.append(f"align.answers must not be negative, got {self.answers}")
        if self.answer_tokens < 1:
            found.append(f"align.answer-tokens must be at least 1, got {self.answer_tokens}")
        return found

    def _loss_problems(self) -> list[str]:
        found = []
        if not 0.0 < self.beta < math.inf:
            found.append(f"align.beta must be above 0, got {self.beta}")
        if not 0.0 <= self.label_smoothing < 0.5:
            found.append(
                "align.label-smoothing is a share of mistaken choices, from 0 to below 0.5, got "
                f"{self.label_smoothing}"
            )
        if not 0.0 <= self.sft_weight < math.inf:
            found.append(f"align.sft-weight must not be negative, got {self.sft_weight}")
        for name in ("desirable_weight", "undesirable_weight"):
            if not 0.0 < (value := getattr(self, name)) < math.inf:
                found.append(f"align.{name.replace('_', '-')} must be above 0, got {value}")
        return found + self.meaningless_with(self.loss)

    def meaningless_with(self, loss: str) -> list[str]:
        """What is set and another loss than this one heeds, one sentence each."""
        owners = {
            "label_smoothing": ("dpo",),
            "sft_weight": ("dpo", "ipo"),
            "desirable_weight": ("kto",),
            "undesirable_weight": ("kto",),
        }
        return [
            f"align.{name.replace('_', '-')} is {' and '.join(losses)}'s, and align.loss is {loss}"
            for name, losses in owners.items()
            if loss not in ("auto", *losses)
            and getattr(self, name) != getattr(PreferenceOptions, name)
        ]


@dataclass(frozen=True)
class DpoOptions:
    """Everything a training on preferences is made of; stored, complete, as its config.toml."""

    kind: str = "dpo"
    base: str = ""
    """The model that is trained: a run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Files with preferences."""
    align: PreferenceOptions = field(default_factory=PreferenceOptions)
    method: MethodOptions = field(default_factory=MethodOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    data: TuneDataOptions = field(default_factory=TuneDataOptions)
    train: TrainOptions = USUAL_PREFERENCE_TRAIN

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = method_problems(self.method, self.lora, self.train)
        if self.align.epochs is not None and self.train.steps is not None:
            found.append("align.epochs and train.steps both say how long to train: give one")
        usual = TrainOptions()
        for name in ("label_smoothing", "label_smoothing_over", "z_loss"):
            if getattr(self.train, name) != getattr(usual, name):
                found.append(
                    f"train.{name.replace('_', '-')} is for cross-entropy, and preferences have "
                    "losses of their own: leave it out"
                )
        for section in (self.align, self.method, self.lora, self.data, self.train):
            found.extend(section.problems())
        return found
