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
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from cloche.data.batches import IGNORED, Batch, Tokens, on_device, windows_at
from cloche.evaluation.cross_entropy import summed_cross_entropy
from cloche.model.build import LanguageModel
from cloche.planning.activations import SCORED_NUMBERS

LARGEST_EXPONENT = 709.0
"""exp of more is beyond a float."""
HEAD_NUMBERS = 1 << 24
"""Logits that the head makes at a time: enough for a fast product, 64 MB in float32."""


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
        return perplexity_of(self.nats_per_token)

    @property
    def nats_per_character(self) -> float:
        """Nats for each Unicode character of the text."""
        return self.nats / self.characters

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of the text in UTF-8."""
        return self.nats / math.log(2) / self.utf8_bytes


@dataclass(frozen=True, eq=False)
class ScoredTokens:
    """Tokens of a text, one after the other, each with what the model made of it."""

    ids: np.ndarray
    """(tokens,) int64."""
    nats: np.ndarray
    """(tokens,) float64: negative log probability of each."""
    ranks: np.ndarray
    """(tokens,) int64: 1 where it was the likeliest. Of equally likely ones, the lower id leads."""
    confidences: np.ndarray
    """(tokens,) float64: probability of the likeliest token in its place."""
    alternatives: np.ndarray
    """(tokens, k) int64: the k likeliest tokens in its place, the likeliest first."""
    alternative_nats: np.ndarray
    """(tokens, k) float64: their negative log probabilities."""

    def __len__(self) -> int:
        return len(self.ids)


def perplexity_of(nats_per_token: float) -> float:
    """exp of the mean cross-entropy; infinite where a float holds no such number."""
    return math.exp(nats_per_token) if nats_per_token < LARGEST_EXPONENT else math.inf


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
    total = 0.0
    with evaluation_mode(model):
        for batch in _text_batches(tokens, bos=bos, context=context, stride=stride, rows=rows):
            total += _summed_loss(model, batch)[0]
    return total


def scored_tokens(
    model: LanguageModel,
    tokens: Tokens,
    *,
    bos: int | None,
    context: int,
    stride: int,
    rows: int = 16,
    alternatives: int = 0,
) -> Iterator[ScoredTokens]:
    """Every token's own result, in the text's order; their nats add up to `summed_nats`.

    Comes in pieces, one for `rows` windows, and no table of logits is whole in memory, so that a
    text of any length can be gone through. `alternatives` likeliest tokens are told for each.
    """
    for batch in _text_batches(tokens, bos=bos, context=context, stride=stride, rows=rows):
        with evaluation_mode(model):  # for each piece: a reader may train between two of them
            found = _scored(model, batch, alternatives=alternatives)
        yield found


def _text_batches(
    tokens: Tokens, *, bos: int | None, context: int, stride: int, rows: int
) -> Iterator[Batch]:
    """Windows over a text, in order, every token but perhaps the first a target exactly once."""
    if not 1 <= stride <= context:
        raise ValueError(f"stride must be from 1 to the context {context}, got {stride}")
    last = len(tokens.tokens) - 1  # this many tokens have another before them in the text
    if bos is not None:
        first = torch.from_numpy(tokens.tokens[:1].astype(np.int64))[None]
        yield Batch(inputs=torch.tensor([[bos]]), targets=first)
    if last == 0:
        return
    context = min(context, last)
    stride = min(stride, context)
    starts = np.append(np.arange(0, last - context, stride), last - context)
    scored_until = np.concatenate([[0], starts[:-1] + context])
    for begin in range(0, len(starts), rows):
        chunk = slice(begin, begin + rows)
        batch = windows_at(tokens, starts[chunk], context=context)
        already = torch.from_numpy(scored_until[chunk] - starts[chunk])[:, None]
        batch.targets[torch.arange(context) < already] = IGNORED
        yield batch


def _summed_loss(model: nn.Module, batch: Batch) -> tuple[float, int]:
    hidden, targets = _read(model, batch)
    total = summed_cross_entropy(model, hidden, targets)
    return float(total), int((targets != IGNORED).sum())


def _read(
    model: nn.Module, batch: Batch
) -> tuple[Num[Tensor, "batch time dim"], Int[Tensor, "batch time"]]:
    """What the model makes of a batch, ready for its head, and the targets beside it."""
    batch = on_device(batch, next(model.parameters()).device)
    hidden = model.hidden(  # pyright: ignore[reportCallIssue]  every model's contract
        batch.inputs, positions=batch.positions, documents=batch.documents
    )
    return hidden, batch.targets


def _scored(model: LanguageModel, batch: Batch, *, alternatives: int) -> ScoredTokens:
    hidden, targets = _read(model, batch)
    counted = targets != IGNORED
    vectors, wanted = hidden[counted], targets[counted]
    many = max(1, HEAD_NUMBERS // model.config.vocab_size)
    few = max(1, SCORED_NUMBERS // model.config.vocab_size)
    pieces: list[tuple[Tensor, ...]] = []
    for begin in range(0, len(vectors), many):
        logits = model.head(vectors[begin : begin + many][None])[0]
        own = wanted[begin : begin + many]
        for row in range(0, len(logits), few):
            rows = slice(row, row + few)
            pieces.append(_score_rows(logits[rows], own[rows], alternatives=alternatives))
    nats, ranks, confidences, best, best_nats = (
        torch.cat(column).cpu().numpy() for column in zip(*pieces, strict=True)
    )
    return ScoredTokens(
        ids=wanted.cpu().numpy(),
        nats=nats.astype(np.float64),
        ranks=ranks,
        confidences=confidences.astype(np.float64),
        alternatives=best,
        alternative_nats=best_nats.astype(np.float64),
    )


def _score_rows(
    logits: Float[Tensor, "rows classes"], targets: Int[Tensor, " rows"], *, alternatives: int
) -> tuple[Tensor, ...]:
    """Nats, rank, the likeliest one's probability, and the likeliest ids with their nats."""
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    own = log_probabilities.gather(1, targets[:, None])
    lower_ids = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    ahead = (log_probabilities > own) | ((log_probabilities == own) & lower_ids)
    count = min(alternatives, logits.shape[1])
    likeliest, ids = log_probabilities.topk(max(1, count), dim=-1)
    return (
        -own[:, 0],
        1 + ahead.sum(dim=-1),
        likeliest[:, 0].exp(),
        ids[:, :count],
        -likeliest[:, :count],
    )
