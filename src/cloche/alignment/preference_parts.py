"""What a training on preferences learns from: pairs or votes, and what goes with either kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cloche.alignment.preference_batches import EncodedPair, lay_out_pairs, lay_out_votes
from cloche.alignment.preference_data import (
    Pairs,
    Votes,
    chosen_loss,
    hold_pairs,
    hold_votes,
    read_held_preferences,
)
from cloche.alignment.preference_encoding import AnswerWriter
from cloche.alignment.preference_evaluation import HeldOutPairs, HeldOutVotes, Measure
from cloche.alignment.preference_objectives import PreferredAnswers, VotedAnswers
from cloche.alignment.preference_options import DpoOptions, PreferenceOptions
from cloche.data.example_order import Order
from cloche.data.examples import ROW_TOKENS, Example, ExampleBatch
from cloche.errors import SettingError, join_problems
from cloche.text.messages import Conversation
from cloche.training.distributed import World, share_of_step
from cloche.training.options import TrainOptions
from cloche.training.prefetch import Prefetched
from cloche.tuning.session import Telling

EVALUATED = 200
"""Records of the validation part that an evaluation measures, at most."""


@dataclass(frozen=True, eq=False)
class PairParts:
    """Pairs, for DPO and IPO."""

    held: Pairs
    objective: PreferredAnswers

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return self.objective.loss

    def batch(self, numbers: Sequence[int], reference: Float[Tensor, "records 2"]) -> ExampleBatch:
        """The training pairs of these numbers, with their reference log probabilities."""
        items = [self.held.train.items[number] for number in numbers]
        return lay_out_pairs(items, reference, row_tokens=ROW_TOKENS)

    def measure(self, reference: Float[Tensor, "records 2"]) -> Measure:
        """Measures on the first EVALUATED validation pairs, whose reference is given."""
        items: Sequence[EncodedPair] = self.held.validation.items[:EVALUATED]
        return HeldOutPairs(items, reference, self.objective)


@dataclass(frozen=True, eq=False)
class VoteParts:
    """Votes, for KTO."""

    held: Votes
    objective: VotedAnswers

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return "kto"

    def batch(self, numbers: Sequence[int], reference: Float[Tensor, "records 2"]) -> ExampleBatch:
        """The training votes of these numbers, with their reference log probabilities."""
        items = [self.held.train.items[number] for number in numbers]
        return lay_out_votes(items, reference, row_tokens=ROW_TOKENS)

    def measure(self, reference: Float[Tensor, "records 2"]) -> Measure:
        """Measures on the first EVALUATED validation votes, whose reference is given."""
        return HeldOutVotes(self.held.validation.items[:EVALUATED], reference, self.objective)


Parts = PairParts | VoteParts


def compared_answers(parts: Parts) -> list[tuple[Example, Example]]:
    """Both answers of all records that are compared with a reference: those to train on, then
    those that `measure` measures."""
    items = [*parts.held.train.items, *parts.held.validation.items[:EVALUATED]]
    return [item.examples for item in items]


def held_out_prompts(parts: Parts) -> list[Conversation]:
    """The different prompts of the validation part, in their order."""
    return list(dict.fromkeys(record.prompt for record in parts.held.validation.records))


def read_parts(options: DpoOptions, writer: AnswerWriter, *, telling: Telling) -> Parts:
    """The preferences in the options' files, and what learns from them.

    Raises ClocheError where they cannot be used, or not with the loss that is asked for.
    """
    align, seed = options.align, options.train.seed
    found = read_held_preferences(options.sources, options.data, telling=telling)
    loss = chosen_loss(align.loss, found)
    if problems := align.meaningless_with(loss):
        raise SettingError(join_problems(problems))
    if loss == "kto":
        votes = hold_votes(found, writer, options.data, seed=seed, telling=telling)
        return VoteParts(votes, _vote_objective(align))
    pairs = hold_pairs(found, writer, options.data, seed=seed, telling=telling)
    smoothing = align.label_smoothing
    return PairParts(pairs, PreferredAnswers(loss, align.beta, smoothing, align.sft_weight))


def preference_batches(
    parts: Parts, reference: Float[Tensor, "records 2"], train: TrainOptions
) -> Callable[[int, int], ExampleBatch]:
    """(step, part) -> training records, in an order that is a function of the seed alone."""
    order = Order(len(parts.held.train.items), seed=train.seed)
    batch = train.batch
    assert batch is not None, "completed before"

    def batches(step: int, number: int) -> ExampleBatch:
        begin, size = share_of_step(
            batch, world=World(), accumulate=train.accumulate, number=number
        )
        numbers = order.numbers(step * batch + begin, size=size)
        return parts.batch(numbers, reference[torch.tensor(numbers)])

    return Prefetched(batches, parts=train.accumulate, device=torch.device(train.device))


def _vote_objective(align: PreferenceOptions) -> VotedAnswers:
    return VotedAnswers(
        align.beta,
        desirable_weight=align.desirable_weight,
        undesirable_weight=align.undesirable_weight,
    )
