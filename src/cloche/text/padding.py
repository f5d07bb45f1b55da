"""Rows of ids of different lengths as one rectangle: padding, and cutting where it is allowed.

The outcome is that of `transformers`' padding: ids filled up with the pad token, and a mask that
says which ids are real.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from cloche.errors import TokenizerError
from cloche.text.tokenizer import Tokenizer

Side = Literal["left", "right"]
"""Where something is added or taken away."""

Truncation = Literal["error", "left", "right"]
"""What happens to a row that is too long: refused, or cut on that side."""


@dataclass(frozen=True)
class Padded:
    """A batch of rows of one length."""

    ids: Int64[np.ndarray, "batch time"]
    mask: Bool[np.ndarray, "batch time"]
    """True where an id is real, False where it is padding."""
    lengths: Int64[np.ndarray, " batch"]
    """Real ids of each row."""


def pad(
    rows: Sequence[Sequence[int] | NDArray[np.integer[Any]]],
    *,
    pad_id: int,
    length: int | None = None,
    multiple: int = 1,
    side: Side = "right",
    truncate: Truncation = "error",
) -> Padded:
    """The rows as one batch, filled up with `pad_id` on `side`.

    The batch is `length` ids wide, or as wide as its longest row, then rounded up to a `multiple`.
    Longer rows are refused unless `truncate` names the side to cut them on. Raises TokenizerError.
    """
    _check(side=side, truncate=truncate, length=length, multiple=multiple, pad_id=pad_id)
    arrays = [_row(row, number) for number, row in enumerate(rows)]
    longest = max(map(len, arrays), default=0)
    width = longest if length is None else length
    if longest > width and truncate == "error":
        number = next(n for n, array in enumerate(arrays) if len(array) > width)
        raise TokenizerError(
            f"row {number} has {len(arrays[number])} ids, more than the length of {width}; give a "
            f'greater length, or allow cutting with truncate="right" or truncate="left"'
        )
    cut = [_cut(array, width, side=truncate) for array in arrays]
    width += -width % multiple
    ids = np.full((len(cut), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(cut), width), dtype=np.bool_)
    for number, array in enumerate(cut):
        start = 0 if side == "right" else width - len(array)
        ids[number, start : start + len(array)] = array
        mask[number, start : start + len(array)] = True
    return Padded(ids=ids, mask=mask, lengths=mask.sum(axis=1, dtype=np.int64))


def find_pad_id(tokenizer: Tokenizer) -> int:
    """The id to pad with: that of the pad token, or of the eos token where there is none.

    Padding is masked, so any id would do; the end token is what the field uses for it. Raises
    TokenizerError where the tokenizer has neither.
    """
    special = tokenizer.special_ids
    for found in (special.pad, special.eos):
        if found is not None:
            return found
    raise TokenizerError(
        "this tokenizer has neither a pad nor an eos token to pad with; name one in its "
        "tokenizer_config.json (pad_token), or give a pad_id"
    )


def _check(*, side: str, truncate: str, length: int | None, multiple: int, pad_id: int) -> None:
    problems = {
        f"side must be left or right, got {side!r}": side not in get_args(Side),
        f"truncate must be error, left or right, got {truncate!r}": (
            truncate not in get_args(Truncation)
        ),
        f"length must be at least 1, got {length}": length is not None and length < 1,
        f"multiple must be at least 1, got {multiple}": multiple < 1,
        f"pad_id must be an id, 0 or more, got {pad_id}": pad_id < 0,
    }
    found = [problem for problem, holds in problems.items() if holds]
    if found:
        raise TokenizerError("; ".join(found))


def _row(row: Sequence[int] | NDArray[np.integer[Any]], number: int) -> NDArray[np.int64]:
    array = np.asarray(row)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise TokenizerError(f"row {number} is no row of ids: it must be one-dimensional integers")
    return array.astype(np.int64)


def _cut(array: NDArray[np.int64], width: int, *, side: str) -> NDArray[np.int64]:
    if len(array) <= width:
        return array
    return array[len(array) - width :] if side == "left" else array[:width]
