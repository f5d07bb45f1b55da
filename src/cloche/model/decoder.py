"""The decoder-only Transformer: the whole model, read from the ids to the logits.

One class serves the default family (Qwen3's layout), its mixture of experts, Llama, Qwen2, GPT-2
and the textbooks' GPT: the configuration says which norm, positions, attention and MLP the blocks
are made of. Modules bear Hugging Face's names.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cloche.model.attention import Attention
from cloche.model.attention_inputs import AttentionInputs, self_attention_inputs
from cloche.model.cache import CacheView
from cloche.model.config import ModelConfig
from cloche.model.embedding import Embedding
from cloche.model.mlp import build_mlp
from cloche.model.norms import build_norm
from cloche.model.positions import rotary_of, sinusoidal_positions
from cloche.model.record import Record, RouterRecord, watches_attention, with_prefix


class Block(nn.Module):
    """Attention, then the MLP, each reading a normalised copy of the residual stream."""

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer=layer)
        self.mlp = build_mlp(config)
        self.input_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.post_attention_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.record_prefix = f"layers.{layer}."

    def forward(
        self,
        residual: Float[Tensor, "batch time dim"],
        shared: AttentionInputs,
        *,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """The residual stream after this block."""
        told = record
        if not isinstance(record, RouterRecord):
            # a router's record asks for no layer, and a name that holds one has torch.compile
            # build a graph of its own for each layer
            told = with_prefix(record, self.record_prefix)
        attended = self.self_attn(
            self.input_layernorm(residual), shared, record=with_prefix(told, "attention.")
        )
        middle = residual + self.dropout(attended)
        thought = self.mlp(self.post_attention_layernorm(middle), record=with_prefix(told, "mlp."))
        after = middle + self.dropout(thought)
        if told is not None:
            told("attention.output", attended)
            told("mlp.output", thought)
            told("residual", after)
        return after


class Decoder(nn.Module):
    """A stack of blocks between a token embedding and an output head.

    The constructor draws weights as PyTorch does by default, module after module in the order of
    the data's way; `initialise` gives the weights that training starts from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.embed_positions = Embedding(config.context, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Block(config, layer=layer) for layer in range(config.layers))
        self.norm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=config.head_bias)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the head's matrix the token embedding itself, where the configuration says so."""
        if self.config.tied:
            self.lm_head.weight = self.embed_tokens.weight

    def hidden(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """A vector for each token, after the final norm, ready for `head`.

        `positions` count from the start when None. `documents` numbers the document of each
        token in packed rows: a token sees its own document only. With a `cache` the ids are new
        tokens of its rows, and the cache grows by them. `record` is told every step by name.
        """
        if positions is None:
            positions = _count_from_start(ids) if cache is None else cache.positions
        residual = self._embed(ids, positions)
        inputs = self._attention_inputs(
            residual,
            positions=positions,
            documents=documents,
            cache=cache,
            watched=watches_attention(record),
        )
        if record is not None:
            record("embedding", residual)
        for block, shared in zip(self.layers, inputs, strict=True):
            residual = block(residual, shared, record=record)
        normed = self.norm(residual)
        if record is not None:
            record("norm", normed)
        if cache is not None:
            cache.commit()
        return normed

    def head(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of the token after each token, from what `hidden` gives."""
        return self.lm_head(hidden)

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of the token after each token: `hidden`, then `head`."""
        return self.head(
            self.hidden(ids, positions=positions, documents=documents, cache=cache, record=record)
        )

    def _embed(
        self, ids: Int[Tensor, "batch time"], positions: Int[Tensor, "#batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        vectors = self.embed_tokens(ids)
        if self.config.positions == "learned":
            vectors = vectors + self.embed_positions(positions)
        elif self.config.positions == "sinusoidal":
            waves = sinusoidal_positions(positions, self.config.width)
            vectors = vectors + waves.to(vectors.dtype)
        return self.dropout(vectors)

    def _attention_inputs(
        self,
        residual: Float[Tensor, "batch time dim"],
        *,
        positions: Int[Tensor, "#batch time"],
        documents: Int[Tensor, "batch time"] | None,
        cache: CacheView | None,
        watched: bool,
    ) -> list[AttentionInputs]:
        """What the attention of each layer is given; equal layers share one."""

        def inputs(window: int | None) -> AttentionInputs:
            return self_attention_inputs(
                residual,
                documents=documents,
                positions=positions,
                window=window,
                dropout=self.config.dropout if self.training else 0.0,
                rotary=rotary,
                cache=cache,
                watched=watched,
                learns=self.training,
                head_dim=self.config.head_dim,
            )

        rotary = rotary_of(self.config, positions, dtype=residual.dtype)
        windows = [
            None if layer < self.config.full_layers else self.config.window
            for layer in range(self.config.layers)
        ]
        made = {window: inputs(window) for window in set(windows)}
        return [made[window] for window in windows]


def _count_from_start(ids: Int[Tensor, "batch time"]) -> Int[Tensor, "1 time"]:
    return torch.arange(ids.shape[1], device=ids.device)[None]
