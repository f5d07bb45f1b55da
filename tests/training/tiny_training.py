"""A training of a few thousand weights, whose events, saves and broken numbers can be ruled."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from cloche.data.batches import Batch
from cloche.errors import CheckpointError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training.average import WeightAverage
from cloche.training.events import Event, Listener
from cloche.training.job import Training
from cloche.training.loop import run_loop
from cloche.training.loss_scale import LossScale
from cloche.training.machine import dtype_of
from cloche.training.objectives import NextToken, scoring_of
from cloche.training.optim import build_optimizers
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel
from cloche.training.schedule import Plan
from cloche.training.state import LoopState

VOCAB, CONTEXT = 11, 6
Weights = dict[str, Tensor]
Told = TypeVar("Told", bound=Event)


class TinyTraining:
    """Trains in memory: `saved` has the weights of each save by its step."""

    def __init__(self, *, dropout: float = 0.0, batches=None, **options) -> None:
        settings: dict[str, Any] = {
            "batch": 8,
            "eval_every": 100,
            "save_every": 100,
            "learning_rate": 0.02,
            "optimizer": "adamw",
            "precision": "float32",
            **options,
        }
        self.options = TrainOptions(**settings)
        config = complete(
            ModelOptions(dropout=dropout), vocab_size=VOCAB, layers=2, width=32, context=CONTEXT
        )
        self.model = build_model(config)
        initialise(self.model, seed=0)
        self.compute = ComputeModel(self.model, dtype=dtype_of(self.options.precision))
        self.optimizers = build_optimizers(
            self.model, self.options, learning_rate=self.options.learning_rate or 0.0
        )
        self.average = (
            WeightAverage(self.model, share=self.options.average) if self.options.average else None
        )
        self.make = batches or random_batch
        self.step = 0
        """The step that is being computed, counted from 1."""
        self.losses = iter([1.0] * 1000)
        self.evaluated: list[Weights] = []
        """What was evaluated, each time."""
        self.events: list[Event] = []
        self.saved: dict[int, Weights] = {}
        self.before_write: Callable[[int], None] = lambda step: None
        """Called with the step by each save, where it writes."""
        self.state = LoopState(Plan(steps=0))

    def run(self, steps: int | LoopState, *, listeners: Collection[Listener] = (), **settings):
        """Run the loop for so many steps, or on from a state."""
        scale = LossScale() if self.options.precision == "float16" else None
        self.state = (
            LoopState(Plan(steps=steps), loss_scale=scale) if isinstance(steps, int) else steps
        )
        training = Training(
            compute=self.compute,
            objective=NextToken(scoring_of(self.options)),
            batches=self._batches,
            optimizers=self.optimizers,
            options=self.options,
            evaluate=self._evaluate,
            write_sample=None,
            save=self._save,
            device=torch.device("cpu"),
            average=self.average,
        )
        return run_loop(
            training, self.state, listeners=[self.events.append, *listeners], **settings
        )

    def resumed(self) -> "TinyTraining":
        """Another training that holds what a checkpoint would bring back, and no more."""
        options = {name: value for name, value in vars(self.options).items() if value is not None}
        other = TinyTraining(batches=self.make, **options)
        other.model.load_state_dict(self.model.state_dict())
        other.compute.refresh()
        other.optimizers.load_state_tensors(self.optimizers.state_tensors())
        other.state = LoopState.from_values(self.state.to_values())
        return other

    def told(self, kind: type[Told]) -> list[Told]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def weights(self) -> Weights:
        """A copy of the masters."""
        return {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def break_output(self, module: str, steps: Collection[int]) -> None:
        """Have a part of the model give nan in these steps."""

        def broken(_module, _inputs, output):
            return output * float("nan") if self.step in steps else None

        self.compute.model.get_submodule(module).register_forward_hook(broken)

    def break_gradient(self, name: str, steps: Collection[int], *, value: float) -> None:
        """Have a weight's gradient be `value` in these steps."""

        def broken(gradient):
            return torch.full_like(gradient, value) if self.step in steps else gradient

        dict(self.compute.model.named_parameters())[name].register_hook(broken)

    def _batches(self, step: int, part: int) -> Batch:
        self.step = step + 1
        return self.make(step, part, self.options)

    def _evaluate(self, model) -> dict[str, float]:
        self.evaluated.append(
            {name: weight.detach().clone() for name, weight in model.named_parameters()}
        )
        return {"eval/loss": next(self.losses)}

    def _save(self, state: LoopState) -> Callable[[], Path]:
        taken, weights = replace(state), self.weights()

        def write() -> Path:
            self.before_write(taken.step)
            self.saved[taken.step] = weights
            return Path(f"step-{taken.step}")

        return write


def disk_full(*steps: int) -> Callable[[int], None]:
    """A `before_write` whose disk is full for the saves of these steps, or of all."""

    def write(step: int) -> None:
        if not steps or step in steps:
            raise CheckpointError(f"step {step}: the disk is full")

    return write


def random_batch(step: int, part: int, options: TrainOptions) -> Batch:
    """Samples are a function of their global index alone, as in a real run."""
    assert options.batch is not None
    size = options.batch // options.accumulate
    first = step * options.batch + part * size
    rows = []
    for sample in range(first, first + size):
        generator = torch.Generator().manual_seed(sample)
        rows.append(torch.randint(VOCAB, (CONTEXT + 1,), generator=generator))
    tokens = torch.stack(rows)
    # copied: of a single row, both would be views of the same numbers
    return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone())


def assert_equal_weights(one: Weights, other: Weights) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name
