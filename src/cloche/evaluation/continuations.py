"""How likely a model finds continuations of contexts: many at once, in bounded memory.

Contexts are padded at the right: what follows a token has no influence on it in a model that reads
from left to right. Requests that read the same tokens (the answers of a multiple choice, where
each is one token) are read once. Logits are made a few rows at a time, of continuations alone.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from cloche.evaluation.likelihood import evaluation_mode
from cloche.planning.activations import SCORED_NUMBERS
from cloche.run import LM

TOKENS_AT_ONCE = 8192
"""Most tokens in a batch, padding included; a single longer row is read nevertheless."""


def score_continuations(
    lm: LM,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    rows: int,
    progress: Callable[[int], object],
) -> list[tuple[float, bool]]:
    """Log probability of each continuation after its context, and whether it is the likeliest.

    The likeliest means that greedy decoding would write it, token by token. Contexts are cut at
    the left where both together are more than the model reads. `rows` are read at a time, and
    `progress` is told how many pairs have been scored.
    """
    most = lm.config.context + 1  # the last token is predicted, not read
    targets: dict[tuple[int, ...], list[int]] = {}
    for number, (context, continuation) in enumerate(pairs):
        if not 1 <= len(continuation) < most or not context:
            raise ValueError("a continuation has 1 to `context` tokens, with one before them")
        read = tuple([*context, *continuation][-most:-1])
        targets.setdefault(read, []).append(number)
    found = [(0.0, True)] * len(pairs)
    with evaluation_mode(lm.model):
        for batch in _batches(sorted(targets, key=_longest_first), rows=rows):
            numbers = [(row, number) for row, read in enumerate(batch) for number in targets[read]]
            scored = _score(lm, batch, [(row, pairs[number][1]) for row, number in numbers])
            for (_, number), result in zip(numbers, scored, strict=True):
                found[number] = result
            progress(len(numbers))
    return found


def _longest_first(ids: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    return -len(ids), ids


def _batches(reads: Sequence[tuple[int, ...]], *, rows: int) -> Iterator[list[tuple[int, ...]]]:
    """The rows in batches of equal or similar length; the longest come first."""
    begin = 0
    while begin < len(reads):
        count = max(1, min(rows, TOKENS_AT_ONCE // len(reads[begin])))
        yield list(reads[begin : begin + count])
        begin += count


def _score(
    lm: LM, batch: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, Sequence[int]]]
) -> list[tuple[float, bool]]:
    """The results of continuations, each of which ends one after its row of the batch."""
    device = next(lm.model.parameters()).device
    longest = len(batch[0])
    padded = [[*ids, *[0] * (longest - len(ids))] for ids in batch]
    hidden = lm.model.hidden(torch.tensor(padded, device=device))
    places = [
        (owner, row, len(batch[row]) - len(continuation) + step, token)
        for owner, (row, continuation) in enumerate(wanted)
        for step, token in enumerate(continuation)
    ]
    totals = torch.zeros(len(wanted), dtype=torch.float64)
    missed = torch.zeros(len(wanted), dtype=torch.int64)
    few = max(1, SCORED_NUMBERS // lm.config.vocab_size)
    for begin in range(0, len(places), few):
        owners, *where = torch.tensor(places[begin : begin + few], device=device).unbind(1)
        logprobs, likeliest = _score_tokens(lm, hidden, *where)
        totals.index_add_(0, owners.cpu(), logprobs.double().cpu())
        missed.index_add_(0, owners.cpu(), (~likeliest).long().cpu())
    return list(zip(totals.tolist(), (missed == 0).tolist(), strict=True))


def _score_tokens(
    lm: LM, hidden: Tensor, rows: Tensor, steps: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Log probability of a token after each place, and whether it is the likeliest there."""
    logits = lm.model.head(hidden[rows, steps]).float()
    logprobs = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]
    return logprobs, logits.argmax(dim=-1) == tokens
