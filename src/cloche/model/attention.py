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

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.attention_inputs import AttentionInputs
from cloche.model.config import ModelConfig
from cloche.model.flex import sparse_attention
from cloche.model.norms import RMSNorm
from cloche.model.positions import rotate
from cloche.model.record import Record


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
        """What the queries find, by the path that `shared` names, projected back.

        Where someone watches, `record` is told `queries`, `keys` and `values` (as they meet:
        turned by their positions), what `plain_attention` tells, and the `gathered` values.
        """
        watcher = record if shared.watched else None
        if watcher is not None:
            _tell(queries, keys, values, shared, record=watcher)
        if shared.blocks is not None:
            gathered = sparse_attention(queries, keys, values, blocks=shared.blocks)
        elif shared.plain:
            gathered = plain_attention(
                queries, keys, values, bias=shared.bias, dropout=shared.dropout, record=watcher
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
        if watcher is not None:
            watcher("gathered", gathered)
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


def _tell(
    queries: Float[Tensor, "batch heads time head_dim"],
    keys: Float[Tensor, "batch kv_heads keys head_dim"],
    values: Float[Tensor, "batch kv_heads keys head_dim"],
    shared: AttentionInputs,
    *,
    record: Record,
) -> None:
    """Tell what meets, and the table of weights where the path taken writes none."""
    record("queries", queries)
    record("keys", keys)
    record("values", values)
    if not shared.plain:
        plain_attention(queries, keys, values, bias=shared.bias, record=record)


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
