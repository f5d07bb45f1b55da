"""How well a model predicts a text: cross-entropy over windows, in evaluation mode.

Nats per token depend on the tokenizer; nats per character and bits per byte do not, so models
with different tokenizers are compared by them.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cloche.data.batches import IGNORED, Batch, Tokens, on_device, windows_at
from cloche.evaluation.cross_entropy import summed_cross_entropy


@dataclass(frozen=True)
class Likelihood:
    """What a text costs a model."""

    nats: float
    """Summed negative log probability of all tokens."""
    tokens: int
    characters: int
    utf8_bytes: int
    unknown_tokens: int = 0
    """How many of the tokens stand for what the vocabulary lacks: they say nothing of what stood
    there, so that nats a character and bits a byte are too good to be true where there are any."""

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy of a token, in nats."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp of the nats per token: the number of equally likely choices it amounts to."""
        return math.exp(self.nats_per_token)

    @property
    def nats_per_character(self) -> float:
        """Nats for each Unicode character of the text."""
        return self.nats / self.characters

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of the text in UTF-8."""
        return self.nats / math.log(2) / self.utf8_bytes


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off and no gradients inside; the model's own mode comes back after."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def mean_loss(
    model: nn.Module, tokens: Tokens, *, starts: np.ndarray, context: int, rows: int
) -> float:
    """Mean cross-entropy in nats a token over the windows at `starts`, `rows` at a time."""
    total, count = nats_of_windows(model, tokens, starts=starts, context=context, rows=rows)
    return total / count


def nats_of_windows(
    model: nn.Module, tokens: Tokens, *, starts: np.ndarray, context: int, rows: int
) -> tuple[float, int]:
    """Summed cross-entropy in nats over the windows at `starts`, and over how many tokens."""
    total, count = 0.0, 0
    with evaluation_mode(model):
        for begin in range(0, len(starts), rows):
            batch = windows_at(tokens, starts[begin : begin + rows], context=context)
            nats, scored = _summed_loss(model, batch)
            total, count = total + nats, count + scored
    return total, count


def summed_nats(
    model: nn.Module, tokens: Tokens, *, bos: int | None, context: int, stride: int, rows: int = 16
) -> float:
    """Negative log probability of every token, in nats, the first one after `bos`.

    Where `bos` is None, the first token has nothing before it and is not scored.

    A window of `context` tokens moves by `stride`; each token is scored once, in the first window
    that holds it, so all but the first window's have at least context - stride before them.
    """
    if not 1 <= stride <= context:
        raise ValueError(f"stride must be from 1 to the context {context}, got {stride}")
    last = len(tokens.tokens) - 1  # this many tokens have another before them in the text
    total = 0.0
    with evaluation_mode(model):
        if bos is not None:
            first = torch.from_numpy(tokens.tokens[:1].astype(np.int64))[None]
            total, _ = _summed_loss(model, Batch(inputs=torch.tensor([[bos]]), targets=first))
        if last == 0:
            return total
        context = min(context, last)
        stride = min(stride, context)
        starts = np.append(np.arange(0, last - context, stride), last - context)
        scored_until = np.concatenate([[0], starts[:-1] + context])
        for begin in range(0, len(starts), rows):
            chunk = slice(begin, begin + rows)
            batch = windows_at(tokens, starts[chunk], context=context)
            already = torch.from_numpy(scored_until[chunk] - starts[chunk])[:, None]
            batch.targets[torch.arange(context) < already] = IGNORED
            total += _summed_loss(model, batch)[0]
    return total


def _summed_loss(model: nn.Module, batch: Batch) -> tuple[float, int]:
    batch = on_device(batch, next(model.parameters()).device)
    hidden = model.hidden(  # pyright: ignore[reportCallIssue]  every model's contract
        batch.inputs, positions=batch.positions, documents=batch.documents
    )
    total = summed_cross_entropy(model, hidden, batch.targets)
    return float(total), int((batch.targets != IGNORED).sum())
