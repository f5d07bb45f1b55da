"""From counts to the counted model, and what a text costs it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cloche.data.batches import Tokens, fixed_starts, windows_at
from cloche.model.config import ModelConfig
from cloche.model.ngram import NGram
from cloche.training.counting import NONE_KEPT, CountingOptions, OrderCounts, Watch, count_ngrams
from cloche.training.smoothing import SmoothedOrder, smooth

SPAN_TOKENS = 1 << 13
"""Tokens evaluated at once."""


def count_model(
    config: ModelConfig,
    tokens: Tokens,
    *,
    max_ngrams: int,
    folder: Path,
    watch: Watch | None = None,
) -> NGram:
    """The model that `config` describes, counted from the tokens; its config has the sizes.

    `folder` is for temporary files. `watch` is told about each order.
    """
    assert config.order is not None
    assert config.smoothing is not None
    watch = watch or Watch()
    options = CountingOptions(
        order=config.order,
        vocab_size=config.vocab_size,
        smoothing=config.smoothing,
        max_ngrams=max_ngrams,
    )
    state: dict[str, Tensor] = {}
    sizes: list[int] = []
    for counts in count_ngrams(tokens, options, folder=folder, watch=watch):
        order = len(sizes) + 1
        smoothed = smooth(counts, config.smoothing, vocab_size=config.vocab_size)
        if order == 1:
            state["embed_tokens.weight"] = _alone(smoothed)
        else:
            watch.tell(_told(order, counts))
            state |= _tables(f"orders.{order}", counts, smoothed)
        sizes.append(len(counts.keys))
    with torch.device("meta"):  # no memory for tables that are replaced at once
        model = NGram(replace(config, ngrams=tuple(sizes)))
    model.load_state_dict(state, assign=True)
    return model


def _alone(smoothed: SmoothedOrder) -> Tensor:
    """(vocab, 1): each token's probability by itself, the rest spread over all alike."""
    probabilities = smoothed.shares + smoothed.backoffs[0] / len(smoothed.shares)
    return torch.from_numpy(probabilities.astype(np.float32))[:, None]


def _tables(prefix: str, counts: OrderCounts, smoothed: SmoothedOrder) -> dict[str, Tensor]:
    return {
        f"{prefix}.keys": torch.from_numpy(counts.keys),
        f"{prefix}.shares": torch.from_numpy(smoothed.shares.astype(np.float32)),
        f"{prefix}.backoffs": torch.from_numpy(smoothed.backoffs.astype(np.float32)),
    }


def _told(order: int, counts: OrderCounts) -> str:
    if not counts.pruned:
        return f"Order {order}: {len(counts.keys):,} different n-grams."
    if counts.rarest == NONE_KEPT:
        return f"Order {order}: no n-gram is kept, model.max-ngrams leaves no room for any."
    return (
        f"Order {order}: {len(counts.keys):,} different n-grams kept, those that occur at least "
        f"{counts.rarest:,} times; {counts.pruned:,} rarer ones went, to stay within "
        "model.max-ngrams."
    )


def mean_nats(model: NGram, tokens: Tokens, *, count: int, watch: Watch | None = None) -> float:
    """Mean negative log probability of `count` tokens or a few more, in nats.

    They are spread over the text; where it has no more, they are all but the first. Unlike in a
    training's evaluation, each token has all of its context before it, and no other token's
    probability is computed.
    """
    watch = watch or Watch()
    total, scored = 0.0, 0
    with torch.no_grad():
        for start, span in _spans(tokens, count=count):
            watch.check()
            nats = _nats(model, tokens, start=start, span=span)
            total, scored = total + float(nats.sum(dtype=torch.float64)), scored + len(nats)
    return total / scored


def _spans(tokens: Tokens, *, count: int) -> list[tuple[int, int]]:
    """(start, length) of the stretches to be scored."""
    last = len(tokens.tokens) - 1  # so many tokens have another before them
    if count < last - SPAN_TOKENS:
        starts = fixed_starts(tokens, context=SPAN_TOKENS, count=-(-count // SPAN_TOKENS))
        return [(start, SPAN_TOKENS) for start in starts.tolist()]
    starts = range(0, last, SPAN_TOKENS)
    return [(start, min(SPAN_TOKENS, last - start)) for start in starts]


def _nats(model: NGram, tokens: Tokens, *, start: int, span: int) -> Tensor:
    """Of the tokens after the places start, start + 1, ...; `span` of them."""
    begin = max(0, start - model.order)  # before the span, for the context of its first tokens
    batch = windows_at(tokens, np.array([begin]), context=start - begin + span)
    found = model.hidden(batch.inputs, documents=batch.documents)
    return -model.likelihoods(found, batch.targets)[0, start - begin :].log()
