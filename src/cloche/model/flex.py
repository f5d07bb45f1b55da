"""Attention under a sparse mask, without a (time x time) table: PyTorch's flex attention.

For packed documents and windows on CUDA. The mask is a rule, kept as a list of the blocks that
hold any allowed pair; other blocks are never computed, so memory grows with the context and not
with its square. Both the list and the kernel are compiled at first use. The results are tested
against the plain path on a CPU, where PyTorch computes them unfused; speed and memory on CUDA are
not measured.

Source: Dong et al. 2024, https://arxiv.org/abs/2412.05496
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from cloche.model.masks import SHARED

SMALLEST_HEAD = 16
"""Shortest head that the compiled kernel takes."""
SHORTEST_QUERIES = 128
"""One block: below it there is nothing to leave out."""


def prefers_flex(
    hidden: Float[Tensor, "batch time dim"], *, head_dim: int | None, dropout: float
) -> bool:
    """Whether a forward over `hidden` under a sparse mask takes flex attention.

    On CUDA, in 16 bits (float32 is the exact path, and its kernels outgrow some cards), with heads
    of known length that the kernel takes, and no dropout, which it does not know.
    """
    return (
        hidden.device.type == "cuda"
        and hidden.dtype in (torch.bfloat16, torch.float16)
        and hidden.shape[1] >= SHORTEST_QUERIES
        and (head_dim or 0) >= SMALLEST_HEAD
        and dropout == 0.0
    )


def sparse_mask(
    batch: int,
    time: int,
    *,
    documents: Int[Tensor, "batch time"] | None,
    causal: bool,
    window: int | None,
    device: torch.device,
    positions: Int[Tensor, "batch time"] | None = None,
) -> BlockMask:
    """The rule of `masks.allowed_pairs` as a list of blocks."""

    def same_document(row: Tensor, query: Tensor, key: Tensor) -> Tensor | bool:
        if documents is None:
            return True
        seen = documents[row, key]
        return (documents[row, query] == seen) | (seen == SHARED)

    def near(row: Tensor, query: Tensor, key: Tensor) -> Tensor:
        if window is None or positions is None:
            return _near(query - key, causal=causal, window=window)
        distance = positions[row, query] - positions[row, key]
        ahead = _near(query - key, causal=causal, window=None)
        return ahead & _near(distance, causal=False, window=window)

    return _compiled(create_block_mask, device.type)(
        lambda row, head, query, key: (  # noqa: ARG005  all heads see alike
            near(row, query, key) & same_document(row, query, key)
        ),
        None if documents is None else batch,
        None,
        time,
        time,
        device=str(device),
    )


def sparse_cached_mask(
    positions: Int[Tensor, "batch time"], *, keys: int, window: int
) -> BlockMask:
    """The same for new tokens at `positions` of cache rows, whose place is their position."""

    batch, time = positions.shape
    return _compiled(create_block_mask, positions.device.type)(
        lambda row, head, query, key: _near(  # noqa: ARG005
            positions[row, query] - key, causal=True, window=window
        ),
        batch,
        None,
        time,
        keys,
        device=str(positions.device),
    )


def sparse_attention(
    queries: Float[Tensor, "batch heads time head_dim"],
    keys: Float[Tensor, "batch kv_heads keys head_dim"],
    values: Float[Tensor, "batch kv_heads keys head_dim"],
    *,
    blocks: BlockMask,
    scale: float | None = None,
) -> Float[Tensor, "batch heads time head_dim"]:
    """The values gathered by each query; equal to `plain_attention` under the same mask."""
    grouped = queries.shape[1] != keys.shape[1]
    attend = _compiled(flex_attention, queries.device.type)
    return attend(queries, keys, values, block_mask=blocks, scale=scale, enable_gqa=grouped)


def _near(back: Tensor, *, causal: bool, window: int | None) -> Tensor:
    """Whether a token may look `back` places."""
    if window is None:
        return back >= 0 if causal else back == back
    return ((back >= 0) & (back < window)) if causal else (back.abs() < window)


@cache
def _compiled(function: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    """The function compiled; as it is on a CPU, where it only serves tests."""
    return function if device_type == "cpu" else torch.compile(function)
