"""The options of a training, and of a whole run. Loads no torch."""

from dataclasses import dataclass, field, fields
from typing import Literal

from cloche.data.options import DataOptions
from cloche.model.config import ModelOptions
from cloche.model.presets import option_problems
from cloche.text.options import TextOptions
from cloche.training.tracking.names import tracker_problems

COUNTED = ("seed", "sample_tokens")
"""The options of a training that also mean something for a model that is counted."""
Schedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class TrainOptions:
    """How the model learns; whatever is not given is chosen from the text, machine and time."""

    steps: int | None = None
    """Number of optimizer steps; from the time when not given."""
    seed: int = 0
    """Seed of everything random: initial weights, order of the text, dropout, samples."""
    batch: int | None = None
    """Sequences in one optimizer step."""
    accumulate: int = 1
    """Parts a batch is computed in, one after the other: less memory, the same result."""
    learning_rate: float | None = None
    """Peak learning rate: of the matrices with muon, of all weights with adamw."""
    rest_rate: float = 0.15
    """With muon, the learning rate of all that it does not move, as a share of its own."""
    momentum: float | None = None
    """With muon, how much of its direction each step keeps; less in short runs, when not given."""
    optimizer: Literal["auto", "muon", "adamw"] = "auto"
    """muon moves the matrices of the blocks by Muon, the rest by AdamW; auto: where any are."""
    schedule: Schedule = "linear"
    """After the warm-up: cosine falls all the way; linear stays, then falls; constant stays."""
    warmup: float = 0.02
    """Share of the run in which the learning rate rises from zero."""
    decay: float | None = None
    """Share of the run in which it falls, with the linear schedule; 0.7 when not given."""
    weight_decay: float = 0.1
    """Share of a matrix that each step shrinks, times the learning rate."""
    clip: float = 1.0
    """Largest norm of the gradient; longer ones are scaled down to it. 0 turns it off."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread evenly over the vocabulary."""
    label_smoothing_over: Literal["all", "others"] = "all"
    """Whether the target has its part of what is spread (PyTorch's form) or the others alone."""
    z_loss: float = 0.0
    """Weight of the squared logarithm of the softmax's sum: keeps logits from growing."""
    average: float = 0.0
    """Moving average of the weights, evaluated and saved in their place: the share of the old at
    each step, such as 0.99. 0 turns it off."""
    patience: int | None = None
    """Evaluations without a lower validation loss after which the training ends; never when not
    given."""
    skip_nonfinite: int = 0
    """Steps in a row whose loss or gradient may be no number: they are left out, and told."""
    statistics_every: int = 0
    """Steps from one row of norms by layer to the next; 0: at evaluations."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the passes (weights stay float32); auto takes float32 or bfloat16, whichever is
    faster here. float16 is for GPUs without bfloat16: the loss is scaled, to keep within range."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the blocks; auto: on for CUDA, on a CPU where a trial says that it pays."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: a whole model in each (ddp), or a shard of every matrix (fsdp); auto
    takes fsdp where the former would not fit the device."""
    tensor_parallel: int = 1
    """Processes that share each sequence, each with some heads and neurons; needs fsdp."""
    checkpointing: Literal["off", "on"] = "off"
    """Compute what is inside a block again for its backward pass, rather than keep it: less
    memory, about a third more arithmetic, the same result."""
    eval_every: int | None = None
    """Steps from one evaluation to the next."""
    eval_first: bool = False
    """Evaluate and write a sample before the first step, too: what an untrained model knows."""
    eval_batches: int | None = None
    """Batches of fixed windows in an evaluation, of validation and training part each."""
    save_every: int | None = None
    """Steps from one checkpoint to the next; at each evaluation when not given."""
    keep: int = 2
    """How many of the newest checkpoints are kept, 2 at least; 0 keeps all. The best always is."""
    sample_tokens: int = 120
    """Length of the text written at each evaluation; 0 for none."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Who is told the figures besides metrics.jsonl: tensorboard, aim, trackio, wandb, mlflow,
    swanlab; none for nobody."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = [
            f"train.{name.replace('_', '-')} must be at least 1, got {value}"
            for name in (
                "steps",
                "batch",
                "accumulate",
                "eval_every",
                "eval_batches",
                "save_every",
                "patience",
            )
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.learning_rate is not None and not 0.0 < self.learning_rate < 10.0:
            found.append(
                f"train.learning-rate must be above 0 and below 10, got {self.learning_rate}"
            )
        for name in (
            "weight_decay",
            "clip",
            "sample_tokens",
            "z_loss",
            "skip_nonfinite",
            "statistics_every",
        ):
            if not (value := getattr(self, name)) >= 0:
                found.append(f"train.{name.replace('_', '-')} must not be negative, got {value}")
        if self.tensor_parallel < 1:
            found.append(f"train.tensor-parallel must be at least 1, got {self.tensor_parallel}")
        elif self.tensor_parallel > 1 and self.parallel == "ddp":
            found.append(
                f"train.tensor-parallel {self.tensor_parallel} splits matrices, and train.parallel "
                "ddp keeps them whole: leave train.parallel out, or give fsdp"
            )
        if not 0 <= self.seed < 1 << 63:
            found.append(f"train.seed must be from 0 to 2^63 - 1, got {self.seed}")
        found.extend(self._keeping_problems())
        found.extend(self._muon_problems())
        if not 0.0 <= self.average < 1.0:
            found.append(f"train.average must be in [0, 1), got {self.average}")
        if not 0.0 <= self.label_smoothing < 1.0:
            found.append(f"train.label-smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.batch is not None and self.accumulate >= 1 and self.batch % self.accumulate:
            found.append(
                f"train.batch {self.batch} cannot be computed in {self.accumulate} equal parts: "
                "train.accumulate must divide it"
            )
        return found + tracker_problems(self.trackers) + self._schedule_problems()

    def _keeping_problems(self) -> list[str]:
        if self.keep == 0 or self.keep > 1:
            return []
        return [
            "train.keep must be 0, for all checkpoints, or at least 2 (the one before stands in "
            f"for a damaged one), got {self.keep}"
        ]

    def _muon_problems(self) -> list[str]:
        found = []
        if not 0.0 < self.rest_rate <= 10.0:
            found.append(f"train.rest-rate must be above 0 and at most 10, got {self.rest_rate}")
        if self.momentum is not None and not 0.0 <= self.momentum < 1.0:
            found.append(f"train.momentum must be in [0, 1), got {self.momentum}")
        if self.optimizer == "adamw" and (
            self.momentum is not None or self.rest_rate != TrainOptions.rest_rate
        ):
            found.append(
                "train.momentum and train.rest-rate are muon's, and train.optimizer is adamw: "
                "leave them out"
            )
        return found

    def _schedule_problems(self) -> list[str]:
        found = [
            f"train.{name} is a share from 0 to 1, got {value}"
            for name in ("warmup", "decay")
            if (value := getattr(self, name)) is not None and not 0.0 <= value <= 1.0
        ]
        if self.decay is not None and self.schedule != "linear":
            found.append(f"train.decay has no meaning with train.schedule {self.schedule}")
        elif self.warmup + (self.decay or 0.0) > 1.0:
            found.append(
                f"train.warmup {self.warmup} and train.decay {self.decay or 0.0} are together more "
                "than the whole run"
            )
        return found


@dataclass(frozen=True)
class RunOptions:
    """Everything a run is made of; stored, complete, as its config.toml."""

    sources: tuple[str, ...] = ()
    """Texts: files, folders, globs, - for standard input, or a built-in text by name."""
    minutes: float | None = None
    """Time for the whole run; 5 when neither this nor train.steps is given."""
    text: TextOptions = field(default_factory=TextOptions)
    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    train: TrainOptions = field(default_factory=TrainOptions)

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = []
        if self.minutes is not None and not 0.0 < self.minutes < 60 * 24 * 365:
            found.append(f"minutes must be above 0, got {self.minutes}")
        if self.minutes is not None and self.train.steps is not None:
            found.append("minutes and train.steps both say how long to train: give one of them")
        if self.model.family == "bigram" and self.train.optimizer == "muon":
            found.append(
                "train.optimizer muon moves the matrices of blocks, and a bigram has none: "
                "leave it out"
            )
        if self.model.family == "ngram":
            found.extend(self._meaningless_for_counting())
        found.extend(self._meaningless_for_pairs())
        found.extend(option_problems(self.model))
        for section in (self.text, self.data, self.train):
            found.extend(section.problems())
        return found

    def _meaningless_for_pairs(self) -> list[str]:
        """Options of running text that were given for pairs, and the other way round."""
        translates = self.model.family == "seq2seq"
        data, text = DataOptions(), TextOptions()
        names = ("windows", "stride", "split_by", "clean")
        if not translates:
            names = ("pair_columns", "long_pairs")
        given = [
            f"data.{name}" for name in names if getattr(self.data, name) != getattr(data, name)
        ]
        if translates and self.text.column != text.column:
            given.append("text.column")
        reason = (
            "which learns from pairs (see data.pair-columns)"
            if translates
            else "which learns from running text"
        )
        return [
            f"{name.replace('_', '-')} has no meaning with model.family {self.model.family}, "
            f"{reason}: leave it out"
            for name in given
        ]

    def _meaningless_for_counting(self) -> list[str]:
        names = ["minutes"] if self.minutes is not None else []
        for section, default, heeded in (
            (self.train, TrainOptions(), COUNTED),
            (self.data, DataOptions(), ("split", "split_by", "clean")),
        ):
            prefix = "train" if section is self.train else "data"
            names += [
                f"{prefix}.{field.name.replace('_', '-')}"
                for field in fields(section)
                if field.name not in heeded
                and getattr(section, field.name) != getattr(default, field.name)
            ]
        return [
            f"{name} has no meaning with model.family ngram, which is counted and not trained: "
            "leave it out"
            for name in names
        ]
