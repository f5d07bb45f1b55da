"""Which tokens a token may look at: those before it, near it, of its document, not the padding."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SHARED = -1
"""As a token's document: it belongs to every document of its row, as their common beginning."""


def allowed_pairs(
    time: int,
    *,
    documents: Int[Tensor, "batch time"] | None,
    device: torch.device,
    positions: Int[Tensor, "#batch time"] | None = None,
    causal: bool = True,
    window: int | None = None,
) -> Bool[Tensor, "#batch 1 time time"]:
    """True where a token (row) may look at another (column).

    Never at another document's (padding is a document of its own), but at a SHARED beginning; with
    `causal` not ahead; with a `window` at fewer than that many tokens' distance, so that a window
    of 1 is the token itself. Distances are those of `positions`, which a row with a shared
    beginning needs, or of places in the row.
    """
    places = torch.arange(time, device=device)
    back = places[:, None] - places[None]  # how far the column lies before the row
    allowed = back >= 0 if causal else torch.ones_like(back, dtype=torch.bool)
    allowed = allowed[None, None]
    if window is not None:
        if positions is not None:
            back = (positions[:, :, None] - positions[:, None])[:, None]
        allowed = allowed & (back.abs() < window)
    if documents is None:
        return allowed
    seen = documents[:, None, None, :]
    return allowed & ((documents[:, None, :, None] == seen) | (seen == SHARED))


def within_window(
    mask: Bool[Tensor, "batch 1 time keys"],
    positions: Int[Tensor, "batch time"],
    window: int | None,
) -> Bool[Tensor, "batch 1 time keys"]:
    """A cache's mask, narrowed to the last `window` tokens up to each position."""
    if window is None:
        return mask
    places = torch.arange(mask.shape[-1], device=mask.device)
    return mask & (places > positions[..., None] - window)[:, None]


def additive_bias(allowed: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """0 where allowed and -inf elsewhere, to be added to scores."""
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return bias.masked_fill(~allowed, float("-inf"))
