"""What the attention of all layers of a forward is given: which path, which mask, which cache.

Computed once for layers that are alike; the paths themselves are in `attention.py`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from cloche.model.cache import CacheView
from cloche.model.flex import prefers_flex, sparse_cached_mask, sparse_mask
from cloche.model.masks import additive_bias, allowed_pairs, within_window

PLAIN_TRAINING_CONTEXT = {torch.bfloat16: 512, torch.float32: 64}
"""Longest context that the plain path trains faster on a CPU, whole training steps measured."""


@dataclass(frozen=True)
class AttentionInputs:
    """What layers of one forward share, computed once; made by `self_attention_inputs` and
    `cross_attention_inputs`.
    """

    plain: bool
    """Whether the plain path is taken, see `prefers_plain`."""
    causal: bool
    """Where `allowed` is None: whether a token sees itself and all before it, or every one."""
    allowed: Bool[Tensor, "#batch 1 #time keys"] | None
    """True where a token may look; None where `causal` says all there is to say."""
    bias: Float[Tensor, "#batch 1 #time keys"] | None
    """0 where allowed, -inf elsewhere, in the compute dtype: for the plain path, and for whoever
    watches; None elsewhere, and where every token may look everywhere.
    """
    dropout: float = 0.0
    """Share of attention weights dropped; 0 outside training."""
    rotary: tuple[Tensor, Tensor] | None = None
    """Cosines and sines in the compute dtype; None where positions are not rotary."""
    cache: CacheView | None = None
    blocks: BlockMask | None = None
    """The mask as a list of blocks where flex attention serves; `allowed` is then None."""
    watched: bool = False
    """Whether the table of weights is to be written out for a record, by whichever path."""


def self_attention_inputs(
    hidden: Float[Tensor, "batch time dim"],
    *,
    documents: Int[Tensor, "batch time"] | None = None,
    positions: Int[Tensor, "#batch time"] | None = None,
    causal: bool = True,
    window: int | None = None,
    dropout: float = 0.0,
    rotary: tuple[Tensor, Tensor] | None = None,
    cache: CacheView | None = None,
    watched: bool = False,
    learns: bool = False,
    head_dim: int | None = None,
) -> AttentionInputs:
    """Inputs for tokens that look at one another: a decoder's with `causal`, else an encoder's.

    `watched` says that someone wants to see the table of weights: it is then written out beside
    the path that is taken, which stays the same, so that watching changes no number. `learns` says
    that layers behind `hidden` may have gradients although it has none itself, as over a frozen
    embedding. `head_dim` lets flex attention be chosen, which does not take every length of a head.
    `positions` are needed where `documents` have a shared beginning, which in the row may lie far
    before what sees it.
    """
    if cache is not None and documents is not None:
        raise ValueError("a cache row holds one document: give `cache` or `documents`, not both")
    plain = prefers_plain(hidden, dropout=dropout, learns=learns)
    shared = AttentionInputs(plain, causal, None, None, dropout, rotary, cache, watched=watched)
    sparse = window is not None or documents is not None
    if sparse and not plain and prefers_flex(hidden, head_dim=head_dim, dropout=dropout):
        blocks = _blocks(
            hidden,
            documents=documents,
            positions=positions,
            causal=causal,
            window=window,
            cache=cache,
        )
        shared = replace(shared, blocks=blocks)
    tabled = plain or watched
    if cache is not None:
        allowed = within_window(cache.mask, cache.positions, window)
    elif sparse or (causal and tabled):
        allowed = allowed_pairs(
            hidden.shape[1],
            documents=documents,
            positions=None if documents is None else positions,
            device=hidden.device,
            causal=causal,
            window=window,
        )
    else:
        return shared
    bias = additive_bias(allowed, hidden.dtype) if tabled else None
    needed = (sparse or plain or cache is not None) and shared.blocks is None
    return replace(shared, allowed=allowed if needed else None, bias=bias)


def cross_attention_inputs(
    hidden: Float[Tensor, "batch time dim"],
    *,
    allowed: Bool[Tensor, "#batch 1 #time keys"] | None,
    dropout: float = 0.0,
    watched: bool = False,
) -> AttentionInputs:
    """Inputs for tokens (`hidden`, the target's) that look at a memory.

    `allowed` is True where a target token (or each, with 1 for the time) may look, that is, not at
    the memory's padding; None where it may look everywhere.
    """
    plain = prefers_plain(hidden, dropout=dropout)
    bias = None
    if (plain or watched) and allowed is not None:
        bias = additive_bias(allowed, hidden.dtype)
    return AttentionInputs(plain, False, allowed, bias, dropout, watched=watched)


def prefers_plain(
    hidden: Float[Tensor, "batch time dim"],
    *,
    dropout: float,
    learns: bool = False,
) -> bool:
    """Whether a forward over `hidden` takes the plain path; `learns` as in `self_attention_inputs`.

    It must where weights are dropped on a CPU, whose fused kernel cannot. It may where it is
    faster: training on short contexts on a CPU.
    """
    on_cpu = hidden.device.type == "cpu"
    trains = torch.is_grad_enabled() and (learns or hidden.requires_grad)
    short = hidden.shape[1] <= PLAIN_TRAINING_CONTEXT.get(hidden.dtype, 0)
    return on_cpu and (dropout > 0.0 or (trains and short))


def _blocks(
    hidden: Float[Tensor, "batch time dim"],
    *,
    documents: Int[Tensor, "batch time"] | None,
    positions: Int[Tensor, "#batch time"] | None,
    causal: bool,
    window: int | None,
    cache: CacheView | None,
) -> BlockMask:
    """The sparse mask of self-attention, with a cache or without."""
    if cache is not None:
        assert window is not None, "a cache without a window has a dense mask"
        return sparse_cached_mask(cache.positions, keys=cache.mask.shape[-1], window=window)
    batch, time, _ = hidden.shape
    return sparse_mask(
        batch,
        time,
        documents=documents,
        positions=None if documents is None or positions is None else positions.expand(batch, -1),
        causal=causal,
        window=window,
        device=hidden.device,
    )
