"""Texts as examples to be scored: each is read to its last token, where its score is taken.

A class is a text's next "token": the example ends with it, and it is all that is learned of it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cloche.data.batches import IGNORED, on_device
from cloche.data.examples import ROW_TOKENS, Example, ExampleBatch, lay_out
from cloche.evaluation.likelihood import evaluation_mode

BATCH_TOKENS = 4096
"""Tokens that are scored together, unless a single text is longer."""


def scored_example(ids: Sequence[int], *, label: int = 0, number: int = 0) -> Example:
    """An example of which the score after its last id is wanted."""
    assert len(ids) >= 1, "a score is read at a token"
    learned = np.zeros(len(ids) + 1, bool)
    learned[-1] = True
    return Example(np.array([*ids, label], np.int64), learned, number)


def scores_of(model: nn.Module, batch: ExampleBatch) -> Float[Tensor, "examples labels"]:
    """The scores of the batch's examples, in their order, in float32."""
    return model(
        batch.inputs,
        read=batch.targets != IGNORED,
        positions=batch.positions,
        documents=batch.documents,
    )


def labels_of(batch: ExampleBatch) -> Tensor:
    """(examples,) int64: the label of each example, in their order."""
    assert batch.documents is not None, "examples are numbered"
    read = batch.targets != IGNORED
    return batch.targets[read][batch.documents[read].argsort()]


def tokens_in(batch: ExampleBatch) -> int:
    """How many tokens the batch reads, without padding."""
    assert batch.documents is not None, "examples are numbered"
    return int((batch.documents < batch.count).sum())


@torch.no_grad()
def score_examples(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    tell: Callable[[int], None] = lambda done: None,  # noqa: ARG005
) -> Float[Tensor, "examples labels"]:
    """The scores of any number of examples, in their order, on the CPU, in float32.

    The model is in evaluation mode meanwhile. `tell` hears how many are done.
    """
    device = next(model.parameters()).device
    found: list[Tensor] = []
    done = 0
    with evaluation_mode(model):
        for group in _groups(examples):
            batch = on_device(lay_out(group, row_tokens=ROW_TOKENS), device)
            found.append(scores_of(model, batch).cpu())
            done += len(group)
            tell(done)
    return torch.cat(found) if found else torch.zeros(0, 1)


def _groups(examples: Sequence[Example]) -> list[Sequence[Example]]:
    """The examples in order, in pieces of at most BATCH_TOKENS tokens."""
    groups, begin, held = [], 0, 0
    for place, example in enumerate(examples):
        if held + len(example.ids) > BATCH_TOKENS and place > begin:
            groups.append(examples[begin:place])
            begin, held = place, 0
        held += len(example.ids)
    return [*groups, examples[begin:]] if len(examples) > begin else groups
