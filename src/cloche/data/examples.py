"""Examples to tune on: sequences of tokens of which some are learned, packed into rows.

A batch is always a number of examples. How they lie in rows, several behind one another or each
alone, changes no number of it: a token sees its own example only, and positions begin anew with
each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


def lay_out(examples: Sequence[Example], *, row_tokens: int = ROW_TOKENS) -> ExampleBatch:
    """The examples, packed into rows of at most the longest one's tokens, or of `row_tokens`.

    What all of them begin with, such as a template's system message, stands once in each row, for
    all examples in it. With `row_tokens` 1 each example has a row of its own. The numbers of
    `documents` are the places in `examples`, whatever row an example lies in.
    """
    packed = row_tokens > 1
    begun = common_beginning(examples) if packed else 0
    lengths = [len(example.ids) - 1 - begun for example in examples]
    rows = pack(lengths, row_tokens - begun) if packed else [[n] for n in range(len(examples))]
    width = begun + max(sum(lengths[number] for number in row) for row in rows)
    shape = (len(rows), width)
    inputs = np.zeros(shape, np.int64)
    targets = np.full(shape, IGNORED, np.int64)
    positions = np.zeros(shape, np.int64)
    documents = np.full(shape, len(examples), np.int64)
    inputs[:, :begun], documents[:, :begun] = examples[0].ids[:begun], SHARED
    positions[:, :begun] = np.arange(begun)
    for place, row in enumerate(rows):
        begin = begun
        for number in row:
            example, span = examples[number], slice(begin, begin + lengths[number])
            ids, learned = example.ids[begun:], example.learned[begun:]
            inputs[place, span] = ids[:-1]
            targets[place, span] = np.where(learned[1:], ids[1:], IGNORED)
            positions[place, span] = np.arange(begun, begun + lengths[number])
            documents[place, span] = number
            begin += lengths[number]
    return ExampleBatch(
        *map(torch.from_numpy, (inputs, targets, positions, documents)), count=len(examples)
    )


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
