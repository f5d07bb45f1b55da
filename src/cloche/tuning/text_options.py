"""The options of going on with plain text. Loads no torch."""

from dataclasses import dataclass, field

from cloche.data.options import DataOptions
from cloche.text.options import TextOptions
from cloche.training.options import TrainOptions
from cloche.tuning.options import USUAL_TRAIN, LoraOptions, MethodOptions, method_problems


@dataclass(frozen=True)
class ReplayOptions:
    """Old text among the new, against forgetting."""

    sources: tuple[str, ...] = ()
    """Texts of the kind the model learned from before."""
    share: float = 0.1
    """Share of the windows that come from them."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        if not 0.0 < self.share < 1.0:
            return [f"replay.share must be between 0 and 1, got {self.share}; 0.1 is usual"]
        if not self.sources and self.share != ReplayOptions.share:
            return ["replay.share says how much of replay.sources comes in: name them, too"]
        return []


@dataclass(frozen=True)
class GoOnOptions:
    """How long, and in which windows, a model goes on with plain text."""

    context: int | None = None
    """Tokens of a window; the model's context when not given."""
    epochs: float | None = None
    """Passes over the training part, where train.steps is not given; 1 then."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.context is not None and self.context < 2:
            found.append(f"tune.context must be at least 2 tokens, got {self.context}")
        if self.epochs is not None and not self.epochs > 0:
            found.append(f"tune.epochs must be above 0, got {self.epochs}")
        return found


@dataclass(frozen=True)
class TuneTextOptions:
    """Everything that going on with plain text is made of; stored as its config.toml."""

    kind: str = "text"
    base: str = ""
    """The model that goes on: a run, a checkpoint or a Hugging Face folder."""
    sources: tuple[str, ...] = ()
    """Texts: files, folders, globs, or a built-in text by name."""
    tune: GoOnOptions = field(default_factory=GoOnOptions)
    replay: ReplayOptions = field(default_factory=ReplayOptions)
    method: MethodOptions = field(default_factory=MethodOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    text: TextOptions = field(default_factory=TextOptions)
    data: DataOptions = field(default_factory=DataOptions)
    train: TrainOptions = USUAL_TRAIN

    def problems(self) -> list[str]:
        """What contradicts between the sections, and each section's own problems."""
        found = method_problems(self.method, self.lora, self.train)
        if self.tune.epochs is not None and self.train.steps is not None:
            found.append("tune.epochs and train.steps both say how long to train: give one")
        usual = TextOptions()
        found += [
            f"text.{name.replace('_', '-')} has no meaning here: the model keeps its tokenizer"
            for name in ("tokenizer", "vocab_size", "rule", "pattern", "unknown")
            if getattr(self.text, name) != getattr(usual, name)
        ]
        sections = (self.tune, self.replay, self.method, self.lora, self.text, self.data)
        for section in (*sections, self.train):
            found.extend(section.problems())
        return found
