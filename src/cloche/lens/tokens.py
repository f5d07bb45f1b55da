"""A text as a model reads it: its tokens, where each stands, and how much each surprised the model.

The surprisal is the evaluator's own: a text longer than the context is read in windows that
overlap by half, and each token is scored once, with as much before it as its window has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cloche.data.batches import TokensInMemory
from cloche.errors import RequestError
from cloche.evaluation.likelihood import scored_tokens
from cloche.evaluation.measure import beginning, default_stride
from cloche.evaluation.offsets import TokenBytes, byte_ends
from cloche.lens.view import View, printable, provenance_of
from cloche.run import LM


@dataclass(frozen=True)
class SeenToken:
    """One token of a text, and what the model thought of it."""

    id: int
    text: str
    """Printable, as `Piece` has it."""
    data: bytes
    """What it stands for, in UTF-8; hexadecimal in JSON."""
    start: int
    """The first character of the text that it has a part of."""
    end: int
    """The one behind the last."""
    surprisal: float | None
    """-log of the probability it had, in nats; None for a first token that nothing predicts."""
    rank: int | None
    """1 where it was the likeliest; None where there is no surprisal, or it is not a number."""


@dataclass(frozen=True, eq=False)
class TokensView(View):
    """The tokens of a text."""

    name: ClassVar[str] = "tokens"
    tokens: tuple[SeenToken, ...]
    characters: int
    """Of the text, in Unicode."""
    utf8_bytes: int
    mean_surprisal: float | None
    """In nats a token; None where none was predicted."""
    vocab_size: int
    """Of the tokenizer."""
    context: int
    """What the model reads at once; a longer text is read in windows."""
    stride: int
    """Tokens from window to window."""


def see_tokens(lm: LM, text: str) -> TokensView:
    """The tokens of `text`, with the surprisal and rank of each, for a model of any family.

    RequestError for a text without a token; TokenizerError for a character that the tokenizer does
    not know.
    """
    tokens = read_tokens(lm, text, ids=lm.tokenizer.encode(text))
    context = lm.config.context
    return TokensView(
        provenance_of(lm, text=text),
        tokens,
        characters=len(text),
        utf8_bytes=len(text.encode("utf-8")),
        mean_surprisal=mean_surprisal(tokens),
        vocab_size=lm.tokenizer.vocab_size,
        context=context,
        stride=default_stride(context),
    )


def read_tokens(lm: LM, text: str, *, ids: Sequence[int]) -> tuple[SeenToken, ...]:
    """The tokens of a text that has these ids. RequestError where it has none."""
    if not ids:
        raise RequestError("there is no token to look at: give a text")
    array = np.asarray(ids, np.int64)
    known = TokenBytes(lm.tokenizer)
    shown = {token_id: printable(token_id, lm.tokenizer) for token_id in set(ids)}
    spans = _character_spans(byte_ends(known, array, text), text).tolist()
    return tuple(
        SeenToken(token_id, shown[token_id], data, start, end, nats, rank)
        for token_id, data, (start, end), (nats, rank) in zip(
            array.tolist(), known.data(array), spans, _scores(lm, array), strict=True
        )
    )


def mean_surprisal(tokens: Sequence[SeenToken]) -> float | None:
    """Nats a token, over those that were predicted; None where none was."""
    scored = [token.surprisal for token in tokens if token.surprisal is not None]
    return math.fsum(scored) / len(scored) if scored else None


def _scores(lm: LM, ids: np.ndarray) -> list[tuple[float | None, int | None]]:
    """Surprisal in nats and rank of each token."""
    bos, context = beginning(lm), lm.config.context
    found: list[tuple[float | None, int | None]] = [] if bos is not None else [(None, None)]
    tokens = TokensInMemory(ids, np.asarray([len(ids)]), separated=False)
    for scored in scored_tokens(
        lm.model, tokens, bos=bos, context=context, stride=default_stride(context)
    ):
        for nats, rank in zip(scored.nats.tolist(), scored.ranks.tolist(), strict=True):
            # nothing is likelier or less likely than what is not a number
            found.append((nats, None if math.isnan(nats) else rank))
    return found


def _character_spans(ends: np.ndarray, text: str) -> np.ndarray:
    """(tokens, 2) int64: the first character that each has a part of, and the end.

    Tokens that end at `ends` of the text's UTF-8; one without bytes is between two characters.
    """
    data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    begins_character = (data & 0b1100_0000) != 0b1000_0000
    begun = np.concatenate([[0], np.cumsum(begins_character)])  # before each byte, and at the end
    starts = np.concatenate([[0], ends[:-1]])
    # the first byte may be inside of a character, which has begun before it
    firsts = begun[np.minimum(starts + 1, len(data))] - 1
    stops = begun[ends]
    return np.stack([np.where(starts < ends, firsts, stops), stops], axis=1)
