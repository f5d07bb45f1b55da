"""What a training learns from: each context of a window, and the token that follows it.

A window of C tokens is C lessons at once: after its first token comes the second, after its first
two the third, and so on to the token behind the window. The windows are those of training
(`data/batches.py`), where each lies behind the one before it unless a stride says otherwise.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int

from cloche.data.batches import TokensInMemory, windows_at
from cloche.errors import RequestError, SettingError
from cloche.lens.view import Piece, Table, View, printable, provenance_of
from cloche.run import LM

MOST_TOGETHER = 2**24
"""Probabilities of windows that are read at once."""


@dataclass(frozen=True, eq=False)
class WindowsView(View):
    """Windows over a text, and how likely the model finds what follows each of their contexts."""

    name: ClassVar[str] = "windows"
    context: int
    """Tokens of a window."""
    stride: int
    """Tokens from the beginning of one window to that of the next."""
    text_tokens: int
    """Of the whole text."""
    fitting: int
    """Windows that fit in the text, the first ones of which are here."""
    starts: tuple[int, ...]
    """The place of each window's first token in the text."""
    windows: tuple[tuple[Piece, ...], ...]
    """The tokens of each, and the one behind it: `context` + 1."""
    probabilities: Table
    """(window, place): of the true next token, after the window's tokens up to this place."""
    likeliest: tuple[tuple[Piece | None, ...], ...]
    """The token that the model finds likeliest there; None where its numbers are none."""
    likeliest_probabilities: Table
    """(window, place)."""


def see_windows(
    lm: LM, text: str, *, context: int = 8, count: int = 8, stride: int | None = None
) -> WindowsView:
    """The first `count` windows of `context` tokens over `text`, or as many as fit.

    They lie end to end, or `stride` tokens apart. SettingError for numbers that no window has, or
    a context beyond the model's; RequestError where the text has no whole window and a next token.
    """
    stride = context if stride is None else stride
    _check(lm, context=context, count=count, stride=stride)
    ids = np.asarray(lm.tokenizer.encode(text), np.int64)
    room = len(ids) - 1 - context
    if room < 0:
        longest = len(ids) - 1
        shorter = f", or a context of {longest} or fewer" if longest > 0 else ""
        raise RequestError(
            f"the text has {len(ids)} tokens, and a window of {context} and its next token take "
            f"{context + 1}: give a longer text{shorter}"
        )
    fitting = room // stride + 1
    starts = np.arange(min(count, fitting), dtype=np.int64) * stride
    batch = windows_at(
        TokensInMemory(ids, np.asarray([len(ids)]), separated=False), starts, context=context
    )
    together = max(1, MOST_TOGETHER // (context * lm.config.vocab_size))
    parts = zip(batch.inputs.split(together), batch.targets.split(together), strict=True)
    found = [looked for part in parts for looked in _look(lm, *part)]
    texts = {int(token): printable(int(token), lm.tokenizer) for token in np.unique(ids)}
    return WindowsView(
        provenance_of(lm, text=text),
        context=context,
        stride=stride,
        text_tokens=len(ids),
        fitting=fitting,
        starts=tuple(starts.tolist()),
        windows=tuple(
            tuple(Piece(token, texts[token]) for token in ids[start : start + context + 1].tolist())
            for start in starts.tolist()
        ),
        probabilities=_table([each.true for each in found]),
        likeliest=tuple(each.likeliest for each in found),
        likeliest_probabilities=_table([each.highest for each in found]),
    )


@dataclass(frozen=True, eq=False)
class _Looked:
    """What the model thinks at each place of a window."""

    true: np.ndarray
    highest: np.ndarray
    likeliest: tuple[Piece | None, ...]


@torch.no_grad()
def _look(
    lm: LM, inputs: Int[torch.Tensor, "windows place"], targets: Int[torch.Tensor, "windows place"]
) -> list[_Looked]:
    """Some windows at a time: a large vocabulary times many windows would not fit."""
    logits = lm.model(inputs.to(next(lm.model.parameters()).device))
    probabilities = logits.float().softmax(dim=-1).cpu()
    true = probabilities.gather(-1, targets[..., None])[..., 0]
    # a model may have more rows than its tokenizer has ids
    highest, ids = probabilities[..., : lm.tokenizer.vocab_size].max(dim=-1)
    likeliest = [
        tuple(
            Piece(token_id, printable(token_id, lm.tokenizer)) if value == value else None
            for token_id, value in zip(*row, strict=True)
        )
        for row in zip(ids.tolist(), highest.tolist(), strict=True)
    ]
    rows = zip(true.numpy(), highest.numpy(), likeliest, strict=True)
    return [_Looked(*row) for row in rows]


def _table(rows: list[np.ndarray]) -> Table:
    return Table(np.stack(rows), ("window", "place"))


def _check(lm: LM, *, context: int, count: int, stride: int) -> None:
    for name, value in (("context", context), ("count", count), ("stride", stride)):
        if value < 1:
            raise SettingError(f"{name} must be at least 1, got {value}")
    if context > lm.config.context:
        raise SettingError(
            f"a window of {context:,} tokens is more than the model's context of "
            f"{lm.config.context:,}: give that or fewer"
        )
