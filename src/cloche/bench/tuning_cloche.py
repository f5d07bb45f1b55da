"""cloche's side of `cloche bench tune`: `cloche.tune` itself, held by a listener.

python -m cloche.bench.tuning_cloche
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cloche.bench.tuners import Gate, TunerSetup, tune_on_request
from cloche.bench.tuning_records import SEED, SPLIT, step_sums, training_records
from cloche.data.example_order import Order
from cloche.text.saved import load_tokenizer
from cloche.training.events import Event, RunStarted, StepDone
from cloche.training.machine import keep_freed_memory
from cloche.tuning.base import choose_template
from cloche.tuning.start import tune
from cloche.weights.loading import tokenizer_folder
from cloche.weights.opening import folders_to_try


@dataclass
class Held:
    """A listener that passes through the gate after each step."""

    gate: Gate
    tokens: list[int]
    about: dict[str, Any] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """Hear what happens in the loop."""
        if isinstance(event, RunStarted):
            about = {"trained": event.parameters, "torch": torch.__version__, **self.about}
            self.gate.start(self.tokens, about)
        if isinstance(event, StepDone):
            self.gate.passed(event.loss)


def tune_held(setup: TunerSetup, gate: Gate) -> None:
    """Tune by LoRA as a user does, evaluations, answers and checkpoints left out."""
    torch.set_num_threads(setup.threads)
    keep_freed_memory()
    options = {
        "method.method": "lora",
        "lora.rank": setup.rank,
        "lora.alpha": float(setup.alpha),
        "tune.loss": "last",  # as TRL learns the completion of a prompt
        "data.split": SPLIT,
        "train.seed": SEED,
        "train.steps": setup.steps,
        "train.batch": setup.batch,
        "train.learning_rate": setup.learning_rate,
        "train.precision": setup.precision,
        "train.device": "cpu",
        "train.eval_every": 10 * setup.steps,
        "train.save_every": 10 * setup.steps,
        "train.sample_tokens": 0,
        "train.trackers": ("none",),
    }
    tokens = tokens_of_steps(setup)
    about = {"threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory(prefix="cloche-bench-") as folder:
        tune(
            setup.base,
            setup.records,
            out=Path(folder) / "run",
            options=options,
            listeners=[Held(gate, tokens, about)],
        )


def tokens_of_steps(setup: TunerSetup) -> list[int]:
    """The tokens of all records that each step learns from, as they are before packing."""
    folder = folders_to_try(Path(setup.base), "best", warn=_ignore)[0]
    template, tokenizer = choose_template("", folder), load_tokenizer(tokenizer_folder(folder))
    records = training_records(Path(setup.records))
    numbers = Order(len(records), seed=SEED).numbers(0, size=setup.steps * setup.batch)
    counts = {n: len(template.encode(records[n], tokenizer).ids) for n in set(numbers)}
    return step_sums([counts[number] for number in numbers], setup.batch)


def _ignore(_text: str) -> None:
    """Told again when the model is opened to be tuned."""


if __name__ == "__main__":
    tune_on_request(tune_held)
