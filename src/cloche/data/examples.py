"""Examples to tune on: sequences of tokens of which some are learned, packed into rows.

A batch is always a number of examples. How they lie in rows, several behind one another or each
alone, changes no number of it: a token sees its own example only, and positions begin anew with
each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor

from cloche.data.batches import IGNORED, Batch
from cloche.model.masks import SHARED

ROW_TOKENS = 384
"""Rows are at least so long where that packs better: attention's cost is that of the square, short
rows leave much padding beside one long example, and each row repeats what its examples share."""


@dataclass(frozen=True, eq=False)
class Example:
    """One sequence to learn from."""

    ids: np.ndarray
    """(tokens,) int64; at least two."""
    learned: np.ndarray
    """(tokens,) bool: whether the token is to be predicted from those before. Never the first."""
    number: int = 0
    """Of the record that it was made of, from 0."""

    def __post_init__(self) -> None:
        assert self.ids.shape == self.learned.shape, "one mark for each token"
        assert len(self.ids) >= 2, "something must be read before something is predicted"
        assert not self.learned[0], "nothing stands before the first token"


@dataclass(frozen=True, kw_only=True)
class ExampleBatch(Batch):
    """Examples in rows; `documents` numbers them from 0, and is `count` where padding stands.

    It is SHARED where all examples of the row begin alike.
    """

    count: int
    """Examples in the batch."""


@dataclass(frozen=True)
class _Row:
    """Examples that lie behind one another, after what all of them begin with."""

    begun: int
    """Inputs that stand once, for all."""
    numbers: Sequence[int]
    """Places of the examples."""


def lay_out(examples: Sequence[Example], *, row_tokens: int = ROW_TOKENS) -> ExampleBatch:
    """The examples, packed into rows of at most the longest one's tokens, or of `row_tokens`.

    What all examples of a row begin with, such as a template's system message, or the prompt of
    several answers, stands in it once, for all of them. With `row_tokens` 1 each example has a row
    of its own. The numbers of `documents` are the places in `examples`, whatever row an example
    lies in.
    """
    inputs = [len(example.ids) - 1 for example in examples]
    if row_tokens == 1:
        rows = [_Row(0, [number]) for number in range(len(examples))]
    else:
        together = _rows_of(examples, range(len(examples)), row_tokens)
        apart = [
            row for family in families(examples) for row in _rows_of(examples, family, row_tokens)
        ]
        rows = min(together, apart, key=lambda rows: len(rows) * _width(rows, inputs))
    shape = (len(rows), _width(rows, inputs))
    laid = ExampleBatch(
        torch.zeros(shape, dtype=torch.int64),
        torch.full(shape, IGNORED),
        torch.zeros(shape, dtype=torch.int64),
        torch.full(shape, len(examples)),
        count=len(examples),
    )
    for place, row in enumerate(rows):
        _fill(laid, place, row, examples)
    return laid


def families(examples: Sequence[Example]) -> list[list[int]]:
    """Places of the examples, in groups that have half of their inputs in common, or more.

    As the answers to one prompt have. An example that is like no other is a group by itself.
    """
    order = sorted(range(len(examples)), key=lambda number: examples[number].ids.tolist())
    found = [[order[0]]]
    for before, number in pairwise(order):
        pair = [examples[before], examples[number]]
        shorter = min(len(example.ids) - 1 for example in pair)
        if 2 * common_beginning(pair) >= shorter:
            found[-1].append(number)
        else:
            found.append([number])
    alone = [group[0] for group in found if len(group) == 1]
    several = [group for group in found if len(group) > 1]
    return [*several, alone] if alone else several


def _rows_of(examples: Sequence[Example], numbers: Sequence[int], row_tokens: int) -> list[_Row]:
    """Some of the examples in rows, each of which has the beginning that all of them share."""
    begun = common_beginning([examples[number] for number in numbers])
    lengths = [len(examples[number].ids) - 1 - begun for number in numbers]
    packed = pack(lengths, max(1, row_tokens - begun))
    return [_Row(begun, [numbers[place] for place in row]) for row in packed]


def _width(rows: Sequence[_Row], inputs: Sequence[int]) -> int:
    """Tokens of the longest row."""
    return max(row.begun + sum(inputs[n] - row.begun for n in row.numbers) for row in rows)


def _fill(laid: ExampleBatch, place: int, row: _Row, examples: Sequence[Example]) -> None:
    """Write a row's examples into its place."""
    assert laid.positions is not None, "made by lay_out"
    assert laid.documents is not None, "made by lay_out"
    begun = row.begun
    laid.inputs[place, :begun] = torch.from_numpy(examples[row.numbers[0]].ids[:begun])
    laid.positions[place, :begun] = torch.arange(begun)
    laid.documents[place, :begun] = SHARED
    begin = begun
    for number in row.numbers:
        ids, learned = examples[number].ids[begun:], examples[number].learned[begun:]
        end = begin + len(ids) - 1
        laid.inputs[place, begin:end] = torch.from_numpy(ids[:-1])
        laid.targets[place, begin:end] = torch.from_numpy(np.where(learned[1:], ids[1:], IGNORED))
        laid.positions[place, begin:end] = torch.arange(begun, begun + len(ids) - 1)
        laid.documents[place, begin:end] = number
        begin = end


def common_beginning(examples: Sequence[Example]) -> int:
    """How many inputs all examples begin with from which nothing is learned yet.

    At least one input of each is left, and of a single example all are.
    """
    if len(examples) < 2:
        return 0
    first = examples[0].ids
    limit = min(_first_learned(example) - 1 for example in examples)
    for example in examples[1:]:
        differs = (example.ids[:limit] != first[:limit]).nonzero()[0]
        limit = int(differs[0]) if len(differs) else limit
    return limit


def _first_learned(example: Example) -> int:
    """The place of the first token to be predicted; the last one's where there is none."""
    found = example.learned.nonzero()[0]
    return int(found[0]) if len(found) else len(example.ids) - 1


def pack(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Numbers of what goes into each row: the longest first, each where it just fits.

    Source: best fit decreasing, Johnson et al. 1974, https://doi.org/10.1137/0203025
    """
    width = max(row_tokens, max(lengths))
    rows: list[list[int]] = []
    left: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        fitting = [row for row, room in enumerate(left) if room >= lengths[number]]
        if fitting:
            row = min(fitting, key=lambda row: left[row])
            rows[row].append(number)
            left[row] -= lengths[number]
        else:
            rows.append([number])
            left.append(width - lengths[number])
    return rows


def sequence_sums(values: Num[Tensor, " learned"], batch: ExampleBatch) -> Num[Tensor, " examples"]:
    """The sum over each example of one value for each of the batch's learned targets.

    `values` come in the order of `batch.targets[batch.targets != IGNORED]`.
    """
    assert batch.documents is not None, "examples are numbered"
    owners = batch.documents[batch.targets != IGNORED]
    return values.new_zeros(batch.count).index_add(0, owners, values)
