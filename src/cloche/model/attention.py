"""Attention: each token gathers from the tokens it may see, weighted by how well they match.

Two ways to compute it give equal results. The plain one writes every step out: it can drop
weights, it can be watched, and for short contexts on a CPU it trains faster. The fused one is
PyTorch's kernel, which never builds the table of weights; its sibling in `flex.py` builds no table
of a sparse mask either. One head, many, or many that share few keys and values: `heads` and
`kv_heads` say which.

Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; grouped queries: Ainslie et al.
2023, https://arxiv.org/abs/2305.13245; normalised queries and keys: Henry et al. 2020,
https://arxiv.org/abs/2010.04245
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask

from cloche.model.cache import CacheView
from cloche.model.config import ModelConfig
from cloche.model.flex import (
    prefers_flex,
    sparse_attention,
    sparse_cached_mask,
    sparse_mask,
)
from cloche.model.masks import additive_bias, allowed_pairs, within_window
from cloche.model.norms import RMSNorm
from cloche.model.positions import rotate
from cloche.model.record import Record

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
    """0 where allowed, -inf elsewhere, in the compute dtype; for the plain path only."""
    dropout: float = 0.0
    """Share of attention weights dropped; 0 outside training."""
    rotary: tuple[Tensor, Tensor] | None = None
    """Cosines and sines in the compute dtype; None where positions are not rotary."""
    cache: CacheView | None = None
    blocks: BlockMask | None = None
    """The mask as a list of blocks where flex attention serves; `allowed` is then None."""


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

    `watched` says that someone wants to see the table of weights, `learns` that layers behind
    `hidden` may have gradients although it has none itself, as over a frozen embedding. `head_dim`
    lets flex attention be chosen, which does not take every length of a head. `positions` are
    needed where `documents` have a shared beginning, which in the row may lie far before what sees
    it.
    """
    if cache is not None and documents is not None:
        raise ValueError("a cache row holds one document: give `cache` or `documents`, not both")
    plain = prefers_plain(hidden, dropout=dropout, watched=watched, learns=learns)
    shared = AttentionInputs(plain, causal, None, None, dropout, rotary, cache)
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
        return replace(shared, blocks=blocks)
    if cache is not None:
        allowed = within_window(cache.mask, cache.positions, window)
    elif sparse or (causal and plain):
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
    return replace(
        shared, allowed=allowed, bias=additive_bias(allowed, hidden.dtype) if plain else None
    )


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
    plain = prefers_plain(hidden, dropout=dropout, watched=watched)
    bias = additive_bias(allowed, hidden.dtype) if plain and allowed is not None else None
    return AttentionInputs(plain, False, allowed, bias, dropout)


class MultiHead(nn.Module):
    """The projections into heads and back that self-attention and cross-attention share.

    `q_norm` and `k_norm` normalise each head's queries and keys where the configuration asks.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        query_width = config.heads * config.head_dim
        kv_width = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.width, query_width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.width, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.width, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query_width, config.width, bias=config.output_bias)
        self.q_norm = _head_norm(config)
        self.k_norm = _head_norm(config)

    def queries(
        self, hidden: Float[Tensor, "batch time dim"]
    ) -> Float[Tensor, "batch heads time head_dim"]:
        """What each token looks for, in each head."""
        return self.q_norm(self._split_heads(self.q_proj(hidden)))

    def project(
        self, memory: Float[Tensor, "batch keys dim"]
    ) -> tuple[
        Float[Tensor, "batch kv_heads keys head_dim"],
        Float[Tensor, "batch kv_heads keys head_dim"],
    ]:
        """Keys and values of the tokens that are looked at."""
        keys = self.k_norm(self._split_heads(self.k_proj(memory)))
        return keys, self._split_heads(self.v_proj(memory))

    def gather(
        self,
        queries: Float[Tensor, "batch heads time head_dim"],
        keys: Float[Tensor, "batch kv_heads keys head_dim"],
        values: Float[Tensor, "batch kv_heads keys head_dim"],
        shared: AttentionInputs,
        *,
        record: Record | None,
    ) -> Float[Tensor, "batch time dim"]:
        """What the queries find, by the path that `shared` names, projected back."""
        if shared.blocks is not None:
            gathered = sparse_attention(queries, keys, values, blocks=shared.blocks)
        elif shared.plain:
            gathered = plain_attention(
                queries, keys, values, bias=shared.bias, dropout=shared.dropout, record=record
            )
        else:
            gathered = fused_attention(
                queries,
                keys,
                values,
                allowed=shared.allowed,
                causal=shared.causal,
                dropout=shared.dropout,
            )
        return self.o_proj(gathered.transpose(1, 2).flatten(2))

    def _split_heads(
        self, projected: Float[Tensor, "batch time width"]
    ) -> Float[Tensor, "batch heads time head_dim"]:
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class Attention(MultiHead):
    """Self-attention: the tokens of one sequence look at one another.

    A decoder's or an encoder's, as the inputs say.
    """

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__(config)
        self.layer = layer

    def forward(
        self,
        hidden: Float[Tensor, "batch time dim"],
        shared: AttentionInputs,
        *,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """What is added to the residual stream."""
        queries = self.queries(hidden)
        keys, values = self.project(hidden)
        if shared.rotary is not None:
            queries, keys = rotate(queries, *shared.rotary), rotate(keys, *shared.rotary)
        if shared.cache is not None:
            keys, values = shared.cache.append(self.layer, keys, values)
        return self.gather(queries, keys, values, shared, record=record)


class CrossAttention(MultiHead):
    """The tokens of one sequence look at a memory, what an encoder made of another.

    `project(memory)` gives keys and values once for a memory, however many tokens look at it one
    after the other. Nothing is rotated: places in two sequences have no distance.

    Source: Vaswani et al. 2017, section 3.2.3, https://arxiv.org/abs/1706.03762
    """

    def forward(
        self,
        hidden: Float[Tensor, "batch time dim"],
        keys: Float[Tensor, "batch kv_heads keys head_dim"],
        values: Float[Tensor, "batch kv_heads keys head_dim"],
        shared: AttentionInputs,
        *,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """What is added to the residual stream of the tokens that look."""
        return self.gather(self.queries(hidden), keys, values, shared, record=record)


def plain_attention(
    queries: Float[Tensor, "batch heads time head_dim"],
    keys: Float[Tensor, "batch kv_heads keys head_dim"],
    values: Float[Tensor, "batch kv_heads keys head_dim"],
    *,
    bias: Float[Tensor, "#batch 1 #time keys"] | None,
    scale: float | None = None,
    dropout: float = 0.0,
    record: Record | None = None,
) -> Float[Tensor, "batch heads time head_dim"]:
    """The values gathered by each query, every step written out.

    Matches are multiplied by `scale`, 1 / sqrt(head_dim) when None. `bias` is added to them; None
    lets every query see every key. `record` is told `scores` (scaled), `masked_scores` and
    `weights`, each (batch, heads, time, keys); the weights are those before dropout.
    """
    groups = queries.shape[1] // keys.shape[1]
    factor: float = queries.shape[-1] ** -0.5 if scale is None else scale
    scaled = _fold_groups(queries * factor, groups)
    scores = _unfold_groups(scaled @ keys.transpose(-2, -1), groups)
    masked = scores if bias is None else scores + bias
    weights = masked.softmax(dim=-1)  # inside, it computes in float32 whatever comes and goes
    if record is not None:
        record("scores", scores)
        record("masked_scores", masked)
        record("weights", weights)
    weights = functional.dropout(weights, dropout)
    return _unfold_groups(_fold_groups(weights, groups) @ values, groups)


def fused_attention(
    queries: Float[Tensor, "batch heads time head_dim"],
    keys: Float[Tensor, "batch kv_heads keys head_dim"],
    values: Float[Tensor, "batch kv_heads keys head_dim"],
    *,
    allowed: Bool[Tensor, "#batch 1 #time keys"] | None,
    causal: bool,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads time head_dim"]:
    """The values gathered by each query, by PyTorch's kernel.

    `causal` counts where `allowed` is None: then each query sees the keys up to its own place, or
    without `causal` all of them.
    """
    return functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=allowed,
        dropout_p=dropout,
        is_causal=causal and allowed is None,
        scale=scale,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )


def prefers_plain(
    hidden: Float[Tensor, "batch time dim"],
    *,
    dropout: float,
    watched: bool,
    learns: bool = False,
) -> bool:
    """Whether a forward over `hidden` takes the plain path; `learns` as in `self_attention_inputs`.

    It must where someone watches the weights, or drops them on a CPU, whose fused kernel cannot.
    It may where it is faster: training on short contexts on a CPU.
    """
    on_cpu = hidden.device.type == "cpu"
    trains = torch.is_grad_enabled() and (learns or hidden.requires_grad)
    short = hidden.shape[1] <= PLAIN_TRAINING_CONTEXT.get(hidden.dtype, 0)
    return watched or (on_cpu and dropout > 0.0) or (on_cpu and trains and short)


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


def _head_norm(config: ModelConfig) -> nn.Module:
    if not config.qk_norm:
        return nn.Identity()
    return RMSNorm(config.head_dim, eps=config.norm_eps)


def _fold_groups(rows: Tensor, groups: int) -> Tensor:
    """(batch, heads, time, n) to (batch, kv_heads, groups x time, n).

    The query heads that share a key head become more rows of one product: no key is copied.
    """
    if groups == 1:
        return rows
    return rows.unflatten(1, (-1, groups)).flatten(2, 3)


def _unfold_groups(rows: Tensor, groups: int) -> Tensor:
    """(batch, kv_heads, groups x time, n) back to (batch, heads, time, n)."""
    if groups == 1:
        return rows
    return rows.unflatten(2, (groups, -1)).flatten(1, 2)
