"""The view `two`: two models read one text, and their weights are held against each other.

For a model before and after tuning, or two checkpoints of a run. Adapters need no care of their
own: a run of adapters is opened merged into its base, so what they add is found as any change is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError
from cloche.lens.capture import logits_of_text
from cloche.lens.two_weights import WeightChanges, weight_changes
from cloche.lens.view import Piece, Provenance, Table, View, pieces_of, provenance_of
from cloche.run import LM
from cloche.text.tokenizer import Tokenizer

ROWS = 64
"""Positions that are compared at a time: their probabilities are doubles."""


@dataclass(frozen=True)
class Move:
    """A token whose probability moved."""

    token: Piece
    first: float
    """Its probability under the first model."""
    second: float


@dataclass(frozen=True)
class Moves:
    """What moved most in what comes after one position."""

    position: int
    rose: list[Move]
    """Most risen first; fewer where fewer rose."""
    fell: list[Move]


@dataclass(frozen=True, eq=False)
class TwoView(View):
    """Two models on one text; `provenance` is the first one's."""

    name: ClassVar[str] = "two"
    second: Provenance
    pieces: list[Piece]
    """The text's tokens."""
    divergence: Table
    """KL(second || first) in nats, of the token after each position: (position)."""
    variation: Table
    """Total variation, the probability that moved, from 0 to 1: (position)."""
    surprisal: Table
    """-ln of each token's own probability, in nats: (model, position); of the first token, which
    nothing was before, not-a-number."""
    moves: list[Moves]
    """Of every position, in the order of the text."""
    added: Table
    """Probability of tokens that only one model knows, by model: (model, position). The other
    figures but surprisal are of the tokens that both know, whose probabilities sum to 1 again."""
    weights: WeightChanges


@torch.no_grad()
def see_two(first: LM, second: LM, text: str, *, top: int = 6) -> TwoView:
    """Where the probabilities moved from one model to the other, and by how much their weights.

    `top` is how many tokens are named that rose, and that fell, at each position. RequestError
    where the tokenizers do not agree but for added special tokens, or where a model cannot read
    the text at once.
    """
    if top < 1:
        raise RequestError(f"top must be at least 1, got {top}")
    shared = shared_tokens(first.tokenizer, second.tokenizer)
    ids = list(first.prompt_ids(text))
    if list(second.prompt_ids(text)) != ids:
        raise RequestError(
            "the two models read this text as different tokens: they must have been trained with "
            "the same tokenizer, and both or neither begin texts with a token of their own"
        )
    logits = [logits_of_text(lm, ids) for lm in (first, second)]
    compared = [
        _compare(logits[0][begin : begin + ROWS], logits[1][begin : begin + ROWS], shared, top)
        for begin in range(0, len(ids), ROWS)
    ]
    likeliest = [move for part in compared for move in part.moves]
    return TwoView(
        provenance_of(first, text=text),
        provenance_of(second, text=text),
        pieces_of(ids, first.tokenizer),
        Table(np.concatenate([part.divergence for part in compared]), ("position",)),
        Table(np.concatenate([part.variation for part in compared]), ("position",)),
        Table(np.stack([_surprisal(each, ids) for each in logits]), ("model", "position")),
        [
            Moves(place, _named(rose, first.tokenizer), _named(fell, first.tokenizer))
            for place, (rose, fell) in enumerate(likeliest)
        ],
        Table(np.concatenate([part.added for part in compared], axis=1), ("model", "position")),
        weight_changes(first.model, second.model),
    )


def shared_tokens(first: Tokenizer, second: Tokenizer) -> int:
    """How many ids, from 0 on, mean the same to both.

    What one has beyond them are special tokens: RequestError for any other difference.
    """
    shared = min(first.vocab_size, second.vocab_size)
    for token_id in range(shared if first.fingerprint != second.fingerprint else 0):
        one, other = first.token_bytes(token_id), second.token_bytes(token_id)
        if one != other:
            raise RequestError(
                f"the two models have different tokenizers: {token_id} is {_shown(one)} to the "
                f"first and {_shown(other)} to the second. Compare models of one tokenizer"
            )
    larger = max(first, second, key=lambda tokenizer: tokenizer.vocab_size)
    for token_id in range(shared, larger.vocab_size):
        if added := larger.token_bytes(token_id):
            raise RequestError(
                f"the two models have different tokenizers: only one knows {token_id}, "
                f"{_shown(added)}, which is no special token. Compare models of one tokenizer"
            )
    return shared


Moved = tuple[list[tuple[int, float, float]], list[tuple[int, float, float]]]
"""(id, probability under the first, under the second): those that rose, those that fell."""


@dataclass(frozen=True, eq=False)
class _Compared:
    """Some positions' figures."""

    divergence: np.ndarray
    variation: np.ndarray
    added: np.ndarray
    moves: list[Moved]


def _compare(
    first: Float[Tensor, "time vocab"], second: Float[Tensor, "time other"], shared: int, top: int
) -> _Compared:
    """The distributions after some positions, in doubles."""
    logs = [logits[:, :shared].double().log_softmax(-1) for logits in (first, second)]
    before, after = (each.exp() for each in logs)
    # what has no probability adds nothing, even where its logarithm is infinite
    terms = (after * (logs[1] - logs[0])).masked_fill(after == 0, 0.0)
    added = [
        logits[:, shared:].double().logsumexp(-1) - logits.double().logsumexp(-1)
        if logits.shape[1] > shared
        else torch.full((len(logits),), -torch.inf, dtype=torch.float64)
        for logits in (first, second)
    ]
    change = after - before
    return _Compared(
        terms.sum(-1).numpy(),
        (change.abs().sum(-1) / 2).numpy(),
        torch.stack(added).exp().numpy(),
        list(_most_moved(before, after, change, min(top, shared))),
    )


def _most_moved(
    before: Float[Tensor, "time shared"],
    after: Float[Tensor, "time shared"],
    change: Float[Tensor, "time shared"],
    top: int,
) -> Iterator[Moved]:
    for place in range(len(change)):
        found = []
        for amounts in (change[place], -change[place]):
            most = amounts.topk(top)
            found.append(
                [
                    (token_id, float(before[place, token_id]), float(after[place, token_id]))
                    for amount, token_id in zip(
                        most.values.tolist(), most.indices.tolist(), strict=True
                    )
                    if amount > 0  # neither what stayed nor what is no number
                ]
            )
        yield found[0], found[1]


def _surprisal(logits: Float[Tensor, "time vocab"], ids: list[int]) -> np.ndarray:
    """-ln p of each token: (time)."""
    found = np.full(len(ids), np.nan)
    for begin in range(1, len(ids), ROWS):
        told = torch.tensor(ids[begin : begin + ROWS])
        rows = logits[begin - 1 : begin - 1 + len(told)].double().log_softmax(-1)
        found[begin : begin + len(told)] = -rows.gather(1, told[:, None])[:, 0].numpy()
    return found


def _named(moved: list[tuple[int, float, float]], tokenizer: Tokenizer) -> list[Move]:
    pieces = pieces_of([token_id for token_id, _, _ in moved], tokenizer)
    return [Move(piece, *found[1:]) for piece, found in zip(pieces, moved, strict=True)]


def _shown(token: bytes) -> str:
    return repr(token.decode("utf-8", errors="replace")) if token else "a special token"
