"""An evaluation that all processes share: each measures some of the windows."""

import json
from collections.abc import Callable

import numpy as np
from torch import nn

from cloche.data.batches import Tokens
from cloche.evaluation.likelihood import nats_of_windows
from cloche.training.distributed import World, even_share


def shared_mean_loss(
    model: nn.Module,
    tokens: Tokens,
    *,
    starts: np.ndarray,
    context: int,
    rows: int,
    world: World,
) -> float:
    """Mean cross-entropy in nats a token over the windows at `starts`, the same in all."""
    begin, size = even_share(len(starts), parts=world.data_size, number=world.data_rank)
    own = starts[begin : begin + size]
    nats, scored = nats_of_windows(model, tokens, starts=own, context=context, rows=rows)
    most = -(-len(starts) // world.data_size)
    for _ in range(-(-most // rows) - -(-size // rows)):
        # where the model lies in shards, its passes are passes of all: keep the others company
        nats_of_windows(model, tokens, starts=starts[:1], context=context, rows=rows)
    total, count = world.sum_numbers([nats, float(scored)])
    return total / count


def measured_by_first(
    evaluate: Callable[[nn.Module], dict[str, float]], world: World
) -> Callable[[nn.Module], dict[str, float]]:
    """The evaluation, made by the first process for all."""

    def told(model: nn.Module) -> dict[str, float]:
        return json.loads(world.first_text(lambda: json.dumps(evaluate(model))))

    return evaluate if world.size == 1 else told
