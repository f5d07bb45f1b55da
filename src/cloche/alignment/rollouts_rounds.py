"""Rounds: answers that were written together, and learned from in several optimizer steps.

A round is kept with each checkpoint, so that a run that is killed in its middle goes on with the
same answers. The next one is a function of the weights, the seed and its number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cloche.alignment.policy_options import RoundPlan
from cloche.alignment.rollouts import example_order
from cloche.data.examples import ROW_TOKENS, Example, ExampleBatch, lay_out
from cloche.data.order import mix, shuffled
from cloche.training.distributed import World, share_of_step

_MINIBATCHES = 13  # keeps this order apart from others that mix the same seed


@dataclass(frozen=True, kw_only=True)
class RolloutBatch(ExampleBatch):
    """Answers to learn from. All tensors are (learned,), in the batch's order."""

    old_logprobs: Tensor
    """Of the policy that wrote the answers, in nats."""
    reference_logprobs: Tensor
    advantages: Tensor
    returns: Tensor
    """What the value model should have expected; zeros where there is none."""
    old_values: Tensor
    told: Mapping[str, float]
    """What is reported of the round."""


@dataclass(frozen=True, eq=False)
class AnswerTokens:
    """Numbers for each token of a round's answers, answer after answer."""

    old_logprobs: Float[Tensor, " tokens"]
    reference_logprobs: Float[Tensor, " tokens"]
    advantages: Float[Tensor, " tokens"]
    returns: Float[Tensor, " tokens"]
    old_values: Float[Tensor, " tokens"]

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, eq=False)
class Round:
    """The answers of one round."""

    number: int
    examples: tuple[Example, ...]
    tokens: AnswerTokens
    told: Mapping[str, float]

    def batch(self, numbers: Sequence[int]) -> RolloutBatch:
        """The answers of these numbers."""
        laid = lay_out([self.examples[number] for number in numbers], row_tokens=ROW_TOKENS)
        ends = np.cumsum([int(example.learned.sum()) for example in self.examples])
        begins = np.concatenate([[0], ends])
        chosen = torch.cat([torch.arange(begins[number], ends[number]) for number in numbers])
        places = torch.empty_like(chosen)
        places[example_order(laid)] = chosen
        given: dict[str, Any] = {each.name: getattr(laid, each.name) for each in fields(laid)}
        given |= {name: values[places] for name, values in self.tokens.tensors().items()}
        return RolloutBatch(**given, told=self.told)

    def state_tensors(self) -> dict[str, Tensor]:
        """All of it but the number and what is told."""
        return {
            "ids": torch.from_numpy(np.concatenate([each.ids for each in self.examples])),
            "learned": torch.from_numpy(np.concatenate([each.learned for each in self.examples])),
            "lengths": torch.tensor([len(each.ids) for each in self.examples]),
            **self.tokens.tensors(),
        }


def restore_round(
    tensors: Mapping[str, Tensor], *, number: int, told: Mapping[str, float]
) -> Round:
    """The round that `state_tensors` gave."""
    ids: Int[Tensor, " all"] = tensors["ids"]
    learned: Bool[Tensor, " all"] = tensors["learned"]
    lengths = tensors["lengths"].tolist()
    parts = zip(ids.split(lengths), learned.split(lengths), strict=True)
    examples = tuple(Example(some.numpy(), marks.numpy()) for some, marks in parts)
    names = [each.name for each in fields(AnswerTokens)]
    return Round(number, examples, AnswerTokens(**{n: tensors[n] for n in names}), told)


class Rounds:
    """(step, part) -> answers to learn from; a new round is made when one has been learned from."""

    def __init__(
        self, make: Callable[[int], Round], plan: RoundPlan, *, seed: int, accumulate: int
    ) -> None:
        self._make = make
        self._plan = plan
        self._seed = seed
        self._accumulate = accumulate
        self.current: Round | None = None
        self.steps_done = 0
        """As far as is known here: a step that is under way counts as done."""

    def __call__(self, step: int, part: int) -> RolloutBatch:
        """The answers of that part of the step."""
        number, within = divmod(step, self._plan.steps)
        if self.current is None or self.current.number != number:
            self.current = self._make(number)
        self.steps_done = step + 1
        return self.current.batch(self.numbers(number, within, part))

    def numbers(self, number: int, within: int, part: int) -> list[int]:
        """Which answers of the round: each once in an epoch, in an order of the seed's."""
        plan = self._plan
        epoch, minibatch = divmod(within, plan.answers // plan.batch)
        begin, size = share_of_step(
            plan.batch, world=World(), accumulate=self._accumulate, number=part
        )
        first = minibatch * plan.batch + begin
        places = np.arange(first, first + size, dtype=np.int64)
        key = mix(self._seed, number, epoch, _MINIBATCHES)
        return shuffled(places, size=plan.answers, key=key).tolist()

    def state_tensors(self) -> dict[str, Tensor]:
        """The answers of the present round."""
        return {} if self.current is None else self.current.state_tensors()

    def state_values(self) -> dict[str, Any]:
        """Its number, what is told of it, and how far the training is."""
        found: dict[str, Any] = {"steps_done": self.steps_done}
        if self.current is not None:
            found |= {"number": self.current.number, "told": dict(self.current.told)}
        return found

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on with the round that the other two gave."""
        self.steps_done = values["steps_done"]
        self.current = None
        if "number" in values:
            self.current = restore_round(tensors, number=values["number"], told=values["told"])
