"""The options of a reward model's training. Loads no torch."""

import math
from dataclasses import dataclass, field

from cloche.training.options import TrainOptions
from cloche.tuning.classify_options import scoring_problems
from cloche.tuning.options import (
    USUAL_TRAIN,
    LoraOptions,
    MethodOptions,
    TuneDataOptions,
    method_problems,
)

REWARD_RATES = {"full": 1e-5, "lora": 1e-4}
REWARD_EPOCHS = 1.0
"""A reward model learns its pairs by heart soon. Source: InstructGPT, appendix C.2,
https://arxiv.org/abs/2203.02155"""


@dataclass(frozen=True)
class RewardLossOptions:
    """What is minimised, and how answers are laid out."""

    center: float = 0.0
    """Weight of the squared sum of a pair's scores, which keeps them about zero: 0.01 does."""
    together: int = 1
    """Records of the file, one behind the other, that are learned in the same batch, such as the
    questions about one text: what they begin with alike is read once. It divides the batch."""
    template: str = ""
    """chatml, brief, alpaca, or a Jinja file; when not given the model's own, else chatml."""
    context: int | None = None
    """Longest prompt with answer in tokens; groups with a longer one are left out. The model's
    context when not given."""
    epochs: float | None = None
    """Passes over the training records, where train.steps is not given; 1 then."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if not 0.0 <= self.center < math.inf:
            found.append(f"align.center must not be negative, got {self.center}")
        if self.together < 1:
            found.append(f"align.together must be at least 1 record, got {self.together}")
        if self.context is not None and self.context < 2:
            found.append(f"align.context must be at least 2 tokens, got {self.context}")
        if self.epochs is not None and not 0.0 < self.epochs < math.inf:
            found.append(f"align.epochs must be above 0, got {self.epochs}")
        return found


@dataclass(frozen=True)
class RewardOptions:
    """Everything a reward model is made of; stored, complete, as its config.toml."""

    kind: str = "reward"
    base: str = ""
    """The model that it begins with: a run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Files with pairs or rankings."""
    align: RewardLossOptions = field(default_factory=RewardLossOptions)
    method: MethodOptions = field(default_factory=MethodOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    data: TuneDataOptions = field(default_factory=TuneDataOptions)
    train: TrainOptions = USUAL_TRAIN

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = method_problems(self.method, self.lora, self.train)
        if self.method.method == "qlora":
            found.append(
                "method.method qlora keeps weights in few bits, and a reward model is saved whole: "
                "use lora"
            )
        if self.align.epochs is not None and self.train.steps is not None:
            found.append("align.epochs and train.steps both say how long to train: give one")
        found.extend(together_problems(self.align.together, self.train))
        found.extend(scoring_problems(self.train))
        for section in (self.align, self.method, self.lora, self.data, self.train):
            found.extend(section.problems())
        return found


def together_problems(together: int, train: TrainOptions) -> list[str]:
    """What is wrong with a batch, where it is known, that is to hold so many records together."""
    if train.batch is None or train.batch % (max(1, together) * train.accumulate) == 0:
        return []
    return [
        f"align.together {together} must divide the records of a part of the batch: train.batch is "
        f"{train.batch} in {train.accumulate}"
    ]
