"""The options of a tuning. Loads no torch."""

from dataclasses import dataclass, field, replace
from typing import Literal

from cloche.training.options import TrainOptions

PARTS = 3
"""A split names at most so many: training, validation, test."""

USUAL_ALPHA = 2.0
"""What alpha is, for each of the rank, where it is not given."""


@dataclass(frozen=True)
class LoraOptions:
    """Which adapters are trained, where a tuning trains adapters."""

    rank: int = 16
    """Width of the two thin matrices beside each matrix of the model."""
    alpha: float | None = None
    """The adapter's output is multiplied by alpha / rank; twice the rank when not given."""
    dropout: float = 0.0
    """Share of an adapter's inputs that is dropped at each step."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead, which keeps large ranks learning."""
    dora: bool = False
    """Learn the length of each output's weights apart from their direction."""
    targets: tuple[str, ...] = ()
    """Names of the layers, such as q_proj; every linear layer of the blocks when not given."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.rank < 1:
            found.append(f"lora.rank must be at least 1, got {self.rank}")
        if self.alpha is not None and not self.alpha > 0:
            found.append(f"lora.alpha must be above 0, got {self.alpha}")
        if not 0.0 <= self.dropout < 1.0:
            found.append(f"lora.dropout must be in [0, 1), got {self.dropout}")
        return found


@dataclass(frozen=True)
class MethodOptions:
    """Which weights of the model are trained."""

    method: Literal["full", "lora", "qlora"] = "full"
    """full: all of them. lora: adapters over frozen weights. qlora: over weights in 8 or 4 bits."""
    bits: Literal["int4", "int8"] = "int4"
    """Of qlora: how the frozen weights are kept."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        if self.method != "qlora" and self.bits != MethodOptions.bits:
            return ["method.bits says how qlora keeps frozen weights: give --method.method qlora"]
        return []


@dataclass(frozen=True)
class TuneDataOptions:
    """Which records are learned from, and which are held out."""

    records: str = ""
    """A slice of the records, as 1000:5001: from 0, the end not among them; all when not given."""
    split: tuple[float, ...] = (0.85, 0.05, 0.1)
    """Shares of training, validation and test records; two shares leave the test out."""
    shuffle: bool = False
    """Split at random, by train.seed, and not in the order of the file."""
    drop_duplicates: bool = False
    """Leave out records that come a second time."""
    encoding: str = "auto"
    """Of text files; detected when not given."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        shares = self.split
        if not 2 <= len(shares) <= PARTS or min(shares) < 0 or shares[0] <= 0 or shares[1] <= 0:
            return [
                "data.split takes the shares of training, validation and, if wanted, test, such "
                f"as 0.85 0.05 0.1, the first two above 0; got {' '.join(map(str, shares))}"
            ]
        if abs(sum(shares) - 1.0) > 1e-6:
            return [f"data.split must add up to 1, got {' '.join(map(str, shares))}"]
        return []


@dataclass(frozen=True)
class InstructOptions:
    """What of a conversation is learned, and how it is laid out."""

    template: str = ""
    """chatml, brief, alpaca, or a Jinja file; when not given the model's own, else chatml."""
    loss: Literal["answers", "last", "all"] = "answers"
    """Learn all answers, only the last of each conversation, or every token."""
    context: int | None = None
    """Longest conversation in tokens, longer ones are cut; the model's context when not given."""
    epochs: float | None = None
    """Passes over the training records, where train.steps is not given; 3 then."""
    packing: bool = True
    """Whether several records lie in one row, which is faster: each sees itself alone, and the
    result is the same."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.context is not None and self.context < 2:
            found.append(f"tune.context must be at least 2 tokens, got {self.context}")
        if self.epochs is not None and not self.epochs > 0:
            found.append(f"tune.epochs must be above 0, got {self.epochs}")
        return found


@dataclass(frozen=True)
class DistillOptions:
    """A larger model whose probabilities are learned beside the right tokens."""

    teacher: str = ""
    """A run, a checkpoint or a Hugging Face folder, of the same tokenizer; none when not given."""
    share: float = 0.5
    """The teacher's weight in the loss; the right tokens have the rest."""
    temperature: float = 2.0
    """Softens the probabilities of both, so that unlikely tokens are heard, too."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if not 0.0 < self.share <= 1.0:
            found.append(f"distill.share must be above 0 and at most 1, got {self.share}")
        if not self.temperature > 0:
            found.append(f"distill.temperature must be above 0, got {self.temperature}")
        if not self.teacher and self != DistillOptions():
            found.append("the distill options are for a teacher: name one by --distill.teacher")
        return found


USUAL_TRAIN = TrainOptions(optimizer="adamw", weight_decay=0.01, warmup=0.05)
"""What a tuning begins with: few steps, from a model that has learned already."""


@dataclass(frozen=True)
class TuneOptions:
    """Everything a tuning on conversations is made of; stored, complete, as its config.toml."""

    kind: str = "tune"
    base: str = ""
    """The model that is tuned: a run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Files with conversations."""
    tune: InstructOptions = field(default_factory=InstructOptions)
    method: MethodOptions = field(default_factory=MethodOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    data: TuneDataOptions = field(default_factory=TuneDataOptions)
    distill: DistillOptions = field(default_factory=DistillOptions)
    train: TrainOptions = USUAL_TRAIN

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = method_problems(self.method, self.lora, self.train)
        if self.tune.epochs is not None and self.train.steps is not None:
            found.append("tune.epochs and train.steps both say how long to train: give one")
        sections = (self.tune, self.method, self.lora, self.data, self.distill, self.train)
        for section in sections:
            found.extend(section.problems())
        return found


def method_problems(method: MethodOptions, lora: LoraOptions, train: TrainOptions) -> list[str]:
    """Options that the way of training gives no meaning, one sentence each."""
    found = []
    if method.method == "full" and lora != LoraOptions():
        found.append("the lora options are for adapters: give --lora (or --method.method lora)")
    if method.method != "full" and train.optimizer == "muon":
        found.append(
            "train.optimizer muon moves whole matrices, and adapters are two thin ones: leave it "
            "out"
        )
    return found


def with_alpha(method: MethodOptions, lora: LoraOptions) -> LoraOptions:
    """The options of adapters with the alpha that was chosen; as they are where none are trained.

    The epochs need no such thing: they have become train.steps.
    """
    if method.method == "full" or lora.alpha is not None:
        return lora
    return replace(lora, alpha=USUAL_ALPHA * lora.rank)


RATES = {"full": 5e-5, "lora": 2e-4, "qlora": 2e-4}
BATCH = 8


def with_usual_pace(
    train: TrainOptions, *, records: int, epochs: float | None, rate: float, batch: int = BATCH
) -> TrainOptions:
    """The options with length, batch, rate and pauses filled in where they were left open."""
    batch = train.batch or batch
    steps = train.steps or max(1, round((epochs or 3.0) * records / batch))
    every = train.eval_every or max(1, -(-steps // 10))
    return replace(
        train,
        steps=steps,
        batch=batch,
        learning_rate=rate if train.learning_rate is None else train.learning_rate,
        optimizer="adamw" if train.optimizer == "auto" else train.optimizer,
        eval_every=every,
        save_every=train.save_every or every,
    )
