"""What flows through the layers: how long its vectors are, and what each layer would say of them.

The residual stream of a token starts as its embedding; each block adds what its attention and its
MLP found. The logit lens reads it before its time: the final norm and the output head, which were
learned for the last layer, are applied after every one.

Source: nostalgebraist 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.lens.attention_maps import MOST_NUMBERS
from cloche.lens.capture import Capture, capture, check_length, ending_in, require_decoder
from cloche.lens.view import Piece, Table, View, pieces_of, printable, provenance_of
from cloche.model.decoder import Decoder
from cloche.run import LM

LAST = 16
"""Positions at the end of a text whose predictions are read, where nothing else is asked for."""
NO_TOKEN = -1
_ROWS = 16
"""Positions whose logits are read together."""
EMBEDDING = "embedding"


@dataclass(frozen=True, eq=False)
class ResidualView(View):
    """The residual stream of a text, by place and position.

    A place is the embedding (with its positions, where those are added) or a block, by its number.
    Norms are Euclidean, of all positions; the lens reads the last of them, `positions`.
    """

    name: ClassVar[str] = "residual"
    pieces: tuple[Piece, ...]
    """The tokens that were read."""
    places: tuple[str, ...]
    """`embedding`, then the blocks `0`, `1`, ...: after each the stream is looked at."""
    norms: Table
    """("place", "position")."""
    attention_norms: Table
    """("layer", "position"): of what the attention of each block adds."""
    mlp_norms: Table
    """("layer", "position"): of what its MLP adds."""
    positions: tuple[int, ...]
    """Those that the tables below are about, counted from 0."""
    top_ids: Table
    """("place", "position", "rank"): the likeliest next tokens, the likeliest first; -1 where the
    model gives no numbers."""
    top_probabilities: Table
    texts: dict[int, str]
    """How the tokens of `top_ids` read."""
    actual_rank: Table
    """("place", "position"): of the token that did come next, 1 where it was the likeliest.
    Not-a-number for the last position of the text, behind which nothing stands."""
    actual_probability: Table
    divergence: Table
    """("place", "position"): KL divergence in nats of the model's own prediction from the one read
    here, sum of p ln(p / q) with the model's p. 0 after the last block, but for rounding."""


def see_residual(lm: LM, text: str, *, top: int = 5, positions: int | None = LAST) -> ResidualView:
    """The residual stream as the model reads `text`, and what each layer would say comes next.

    `top` tokens for each of the last `positions`, or for all when None. Raises SettingError for a
    `top` or `positions` out of range, RequestError for a model without layers and for a text that
    is empty, or too long for the model or for memory.
    """
    model = require_decoder(lm, "residual stream")
    if not 1 <= top <= lm.config.vocab_size:
        raise SettingError(f"top must be from 1 to {lm.config.vocab_size:,}, got {top}")
    if positions is not None and positions < 1:
        raise SettingError(f"positions must be at least 1, got {positions}; None for all")
    ids = lm.prompt_ids(text) if text else ()
    check_length(lm, ids)
    _check_room(lm, len(ids))
    told = capture(lm, ids, wanted=_wanted)
    seen = tuple(range(len(ids)))[-(positions or len(ids)) :]
    streams = [_named(told, place) for place in _names(lm)]
    final = _final(told, seen)
    readings = [_read(model, stream, final, top=top) for stream in streams]
    top_ids = np.stack([reading.top_ids for reading in readings])
    known = sorted({int(each) for each in top_ids.flat} - {NO_TOKEN})
    table = ("place", "position")
    return ResidualView(
        provenance_of(lm, text=text),
        tuple(pieces_of(ids, lm.tokenizer)),
        (EMBEDDING, *(str(layer) for layer in range(lm.config.layers))),
        Table(_norms(streams), table),
        Table(_norms(_outputs(told, "attention", lm)), ("layer", "position")),
        Table(_norms(_outputs(told, "mlp", lm)), ("layer", "position")),
        seen,
        Table(top_ids, (*table, "rank")),
        Table(np.stack([each.top_probabilities for each in readings]), (*table, "rank")),
        {each: _text_of(each, lm) for each in known},
        Table(np.stack([each.actual_rank for each in readings]), table),
        Table(np.stack([each.actual_probability for each in readings]), table),
        Table(np.stack([each.divergence for each in readings]), table),
    )


@torch.no_grad()
def logits_of(model: Decoder, stream: Float[Tensor, "time dim"]) -> Float[Tensor, "time vocab"]:
    """What the model would say from a residual stream: the final norm, then the head; float32."""
    weight = model.norm.weight
    assert isinstance(weight, Tensor)
    return model.head(model.norm(stream.to(weight)[None]))[0].float().cpu()


@dataclass(frozen=True, eq=False)
class _Reading:
    """What one place says, for each position that is looked at."""

    top_ids: np.ndarray
    top_probabilities: np.ndarray
    actual_rank: np.ndarray
    actual_probability: np.ndarray
    divergence: np.ndarray


@dataclass(frozen=True, eq=False)
class _Final:
    """What the model itself says at the positions that are looked at, for all places alike."""

    where: list[int]
    probs: Float[Tensor, "row vocab"]
    surprise: Float[Tensor, " row"]
    """Sum of p ln p over the tokens."""
    impossible: Tensor | None
    """(row, vocab) bool: where the probability is 0; None where that is nowhere."""
    actual: list[int]
    """The tokens that did come next, of all rows but of the text's last position."""


def _read(model: Decoder, stream: Tensor, final: _Final, *, top: int) -> _Reading:
    """A few positions at a time, so that a large vocabulary takes little memory."""
    size = max(1, MOST_NUMBERS // 8 // final.probs.shape[1])
    parts = [
        _read_some(logits, final, begin + inner, top=top)
        for begin in range(0, len(final.where), size)
        for inner, logits in _in_rows(
            logits_of(model, stream[final.where[begin : begin + size]]), rows=_ROWS
        )
    ]
    return _Reading(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in _Reading.__dataclass_fields__
        )
    )


def _final(told: Capture, seen: Sequence[int]) -> _Final:
    where = list(seen)
    log_probs = told.logits[where].log_softmax(dim=-1)
    impossible = log_probs.isneginf()
    known = bool(impossible.any())
    actual = [told.ids[position + 1] for position in where if position + 1 < len(told.ids)]
    probs = log_probs.exp()
    return _Final(
        where,
        probs,
        -torch.special.entr(probs.double()).sum(dim=-1),
        impossible if known else None,
        actual,
    )


def _in_rows(logits: Tensor, *, rows: int) -> Iterator[tuple[int, Tensor]]:
    """So few rows of logits together that they stay in the processor's cache; with their place."""
    return zip(range(0, len(logits), rows), logits.split(rows), strict=True)


def _read_some(logits: Tensor, final: _Final, begin: int, *, top: int) -> _Reading:
    """What the rows from `begin` on say."""
    rows = slice(begin, begin + len(logits))
    log_probs = logits.log_softmax(dim=-1)  # faster than the sum of exponentials by itself
    broken = log_probs[:, 0].isnan()  # one number that is none makes all of its row none
    said = log_probs  # what has no probability adds nothing, whatever is read there
    if final.impossible is not None:
        said = log_probs.masked_fill(final.impossible[rows], 0.0)
    expected = torch.linalg.vecdot(final.probs[rows], said)
    found = log_probs.topk(top, dim=-1)
    actual_rank = torch.full((len(logits),), float("nan"))
    actual_probability = actual_rank.clone()
    if actual := final.actual[rows]:
        count = len(actual)
        of_actual = logits[:count].gather(-1, torch.tensor(actual)[:, None])
        likelier = np.count_nonzero((logits[:count] > of_actual).numpy(), axis=-1)
        ranks = torch.from_numpy(1.0 + likelier)
        actual_rank[:count] = ranks.masked_fill(broken[:count], float("nan"))
        of_actual = log_probs[:count].gather(-1, torch.tensor(actual)[:, None])
        actual_probability[:count] = of_actual[:, 0].exp()
    return _Reading(
        found.indices.masked_fill(broken[:, None], NO_TOKEN).numpy(),
        found.values.exp().numpy(),
        actual_rank.numpy(),
        actual_probability.numpy(),
        (final.surprise[rows] - expected).float().numpy(),
    )


def _check_room(lm: LM, time: int) -> None:
    """RequestError where a forward that is watched would write too large a table of attention."""
    if (numbers := lm.config.heads * time * time) > MOST_NUMBERS:
        raise RequestError(
            f"the text has {time:,} tokens, and the attention of one layer over them is "
            f"{numbers * 4 / 2**30:,.1f} GiB, more than is written out: give a shorter text"
        )


def _names(lm: LM) -> tuple[str, ...]:
    """What a forward calls the stream, place by place."""
    return (EMBEDDING, *(f"layers.{layer}.residual" for layer in range(lm.config.layers)))


def _outputs(told: Capture, branch: str, lm: LM) -> list[Tensor]:
    return [_named(told, f"layers.{layer}.{branch}.output") for layer in range(lm.config.layers)]


def _named(told: Capture, name: str) -> Tensor:
    return told.numbers[name]


def _norms(vectors: Sequence[Tensor]) -> Float[np.ndarray, "place position"]:
    return torch.stack([each.norm(dim=-1) for each in vectors]).numpy()


def _text_of(token_id: int, lm: LM) -> str:
    """How a token reads; one of the model's alone, which the tokenizer never writes, its number."""
    return (
        printable(token_id, lm.tokenizer) if token_id < lm.tokenizer.vocab_size else f"#{token_id}"
    )


_wanted = ending_in(EMBEDDING, "residual", "attention.output", "mlp.output")
