"""Attention: each token gathers from the tokens it may see, weighted by how well they match.

Two ways to compute it give equal results. The plain one writes every step out: it can drop
weights, it can be watched, and for short contexts on a CPU it trains faster. The fused one is
PyTorch's kernel, which never builds the table of weights.

Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; grouped queries: Ainslie et al.
2023, https://arxiv.org/abs/2305.13245; normalised queries and keys: Henry et al. 2020,
https://arxiv.org/abs/2010.04245
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.cache import CacheView
from cloche.model.config import ModelConfig
from cloche.model.norms import RMSNorm
from cloche.model.positions import rotate

PLAIN_TRAINING_CONTEXT = {torch.bfloat16: 512, torch.float32: 64}
"""Longest context that the plain path trains faster on a CPU, whole training steps measured."""

Record = Callable[[str, Tensor], None]
"""Is told each named number of a forward, in the order they arise."""


@dataclass(frozen=True)
class AttentionInputs:
    """What all layers of one forward share, computed once."""

    plain: bool
    """Whether the plain path is taken, see `prefers_plain`."""
    allowed: Bool[Tensor, "#batch 1 time keys"] | None
    """True where a token may look; None when every token sees itself and all before it."""
    bias: Float[Tensor, "#batch 1 time keys"] | None
    """0 where allowed, -inf elsewhere, in the compute dtype; for the plain path only."""
    dropout: float
    """Share of attention weights dropped; 0 outside training."""
    rotary: tuple[Tensor, Tensor] | None
    """Cosines and sines in the compute dtype; None where positions are not rotary."""
    cache: CacheView | None


class Attention(nn.Module):
    """Multi-head attention with causal masking; fewer key and value heads than query heads or not.

    `q_norm` and `k_norm` normalise each head's queries and keys where the configuration asks.
    """

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        query_width = config.heads * config.head_dim
        kv_width = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.width, query_width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.width, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.width, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(query_width, config.width, bias=config.output_bias)
        self.q_norm = _head_norm(config)
        self.k_norm = _head_norm(config)

    def forward(
        self,
        hidden: Float[Tensor, "batch time dim"],
        shared: AttentionInputs,
        *,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """What is added to the residual stream."""
        queries = self.q_norm(self._split_heads(self.q_proj(hidden)))
        keys = self.k_norm(self._split_heads(self.k_proj(hidden)))
        values = self._split_heads(self.v_proj(hidden))
        if shared.rotary is not None:
            queries, keys = rotate(queries, *shared.rotary), rotate(keys, *shared.rotary)
        if shared.cache is not None:
            keys, values = shared.cache.append(self.layer, keys, values)
        if shared.plain:
            assert shared.bias is not None
            gathered = plain_attention(
                queries, keys, values, bias=shared.bias, dropout=shared.dropout, record=record
            )
        else:
            gathered = fused_attention(
                queries, keys, values, allowed=shared.allowed, dropout=shared.dropout
            )
        return self.o_proj(gathered.transpose(1, 2).flatten(2))

    def _split_heads(
        self, projected: Float[Tensor, "batch time width"]
    ) -> Float[Tensor, "batch heads time head_dim"]:
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


def plain_attention(
    queries: Float[Tensor, "batch heads time head_dim"],
    keys: Float[Tensor, "batch kv_heads keys head_dim"],
    values: Float[Tensor, "batch kv_heads keys head_dim"],
    *,
    bias: Float[Tensor, "#batch 1 time keys"],
    dropout: float = 0.0,
    record: Record | None = None,
) -> Float[Tensor, "batch heads time head_dim"]:
    """The values gathered by each query, every step written out; softmax in float32.

    `record` is told `scores` (scaled), `masked_scores` and `weights`, each (batch, heads, time,
    keys); the weights are those before dropout.
    """
    groups = queries.shape[1] // keys.shape[1]
    scaled = _fold_groups(queries * queries.shape[-1] ** -0.5, groups)
    scores = _unfold_groups(scaled @ keys.transpose(-2, -1), groups)
    masked = scores + bias
    weights = masked.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
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
    allowed: Bool[Tensor, "#batch 1 time keys"] | None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads time head_dim"]:
    """The values gathered by each query, by PyTorch's kernel; causal where `allowed` is None."""
    return functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=allowed,
        dropout_p=dropout,
        is_causal=allowed is None,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )


def prefers_plain(
    hidden: Float[Tensor, "batch time dim"], *, dropout: float, watched: bool
) -> bool:
    """Whether a forward over `hidden` takes the plain path.

    It must where someone watches the weights, or drops them on a CPU, whose fused kernel cannot.
    It may where it is faster: training on short contexts on a CPU.
    """
    on_cpu = hidden.device.type == "cpu"
    trains = torch.is_grad_enabled() and hidden.requires_grad
    short = hidden.shape[1] <= PLAIN_TRAINING_CONTEXT.get(hidden.dtype, 0)
    return watched or (on_cpu and dropout > 0.0) or (on_cpu and trains and short)


def allowed_pairs(
    time: int, *, documents: Int[Tensor, "batch time"] | None, device: torch.device
) -> Bool[Tensor, "#batch 1 time time"]:
    """True where a token (row) may look at another (column): not ahead, nor at other documents."""
    causal = torch.ones(time, time, dtype=torch.bool, device=device).tril()[None, None]
    if documents is None:
        return causal
    return causal & (documents[:, None, :, None] == documents[:, None, None, :])


def additive_bias(allowed: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """0 where allowed and -inf elsewhere, to be added to scores."""
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return bias.masked_fill(~allowed, float("-inf"))


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
