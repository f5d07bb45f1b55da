"""The encoder-decoder Transformer: one stack reads a source, another writes a target from it.

The encoder's tokens all look at one another. The decoder's look at those before them and, through
cross-attention, at what the encoder made of the source. Both are built from the blocks of the
decoder-only model; one vocabulary serves both sides.

Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. The default differs in one thing,
`norm_order`: norms before each branch train without the paper's long warm-up (Xiong et al. 2020,
https://arxiv.org/abs/2002.04745); "post" is the paper's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cloche.model.attention import Attention, CrossAttention
from cloche.model.attention_inputs import (
    AttentionInputs,
    cross_attention_inputs,
    self_attention_inputs,
)
from cloche.model.cache import CacheView
from cloche.model.config import ModelConfig
from cloche.model.embedding import Embedding
from cloche.model.mlp import build_mlp
from cloche.model.norms import build_norm
from cloche.model.positions import rotary_of, sinusoidal_positions
from cloche.model.record import Record, watches_attention, with_prefix

KeysAndValues = tuple[
    Float[Tensor, "batch kv_heads source_time head_dim"],
    Float[Tensor, "batch kv_heads source_time head_dim"],
]


@dataclass(frozen=True)
class Memory:
    """What the encoder made of some sources, ready to be looked at by every decoder block."""

    vectors: Float[Tensor, "batch source_time dim"]
    """One for each source token, after the encoder's last norm."""
    keys_values: tuple[KeysAndValues, ...]
    """For the cross-attention of each decoder block: computed once, used at every new token."""
    allowed: Bool[Tensor, "batch 1 1 source_time"] | None
    """False at padding; None where there is none."""

    def rows(self, rows: Int[Tensor, " chosen"]) -> "Memory":
        """The memory of the sources at these places, each as often as it is named."""
        return Memory(
            self.vectors[rows],
            tuple((keys[rows], values[rows]) for keys, values in self.keys_values),
            None if self.allowed is None else self.allowed[rows],
        )


class _Block(nn.Module):
    """Branches around a residual stream, each with a norm before it, or behind it as in 2017."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_order == "pre"
        self.dropout = nn.Dropout(config.dropout)

    def add(self, residual: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """The residual stream after one branch; dropout acts on what the branch gives."""
        if self.norm_first:
            return residual + self.dropout(branch(norm(residual)))
        return norm(residual + self.dropout(branch(residual)))


class EncoderBlock(_Block):
    """Self-attention that sees all of the source, then the MLP."""

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__(config)
        self.self_attn = Attention(config, layer=layer)
        self.mlp = build_mlp(config)
        self.input_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.post_attention_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.record_prefix = f"encoder.layers.{layer}."

    def forward(
        self,
        residual: Float[Tensor, "batch time dim"],
        shared: AttentionInputs,
        *,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """The residual stream after this block."""
        told = with_prefix(record, self.record_prefix)
        watched = with_prefix(told, "attention.")
        residual = self.add(
            residual, self.input_layernorm, lambda x: self.self_attn(x, shared, record=watched)
        )
        residual = self.add(residual, self.post_attention_layernorm, self.mlp)
        if told is not None:
            told("residual", residual)
        return residual


class DecoderBlock(_Block):
    """Causal self-attention, attention to the source's memory, then the MLP."""

    def __init__(self, config: ModelConfig, *, layer: int) -> None:
        super().__init__(config)
        self.self_attn = Attention(config, layer=layer)
        self.cross_attn = CrossAttention(config)
        self.mlp = build_mlp(config)
        self.input_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.cross_attention_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.post_attention_layernorm = build_norm(config.norm, config.width, eps=config.norm_eps)
        self.record_prefix = f"decoder.layers.{layer}."

    def forward(
        self,
        residual: Float[Tensor, "batch time dim"],
        shared: AttentionInputs,
        keys_values: KeysAndValues,
        across: AttentionInputs,
        *,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """The residual stream after this block; `across` says how the memory is looked at."""
        told = with_prefix(record, self.record_prefix)
        within, cross = with_prefix(told, "attention."), with_prefix(told, "cross_attention.")
        residual = self.add(
            residual, self.input_layernorm, lambda x: self.self_attn(x, shared, record=within)
        )
        residual = self.add(
            residual,
            self.cross_attention_layernorm,
            lambda x: self.cross_attn(x, *keys_values, across, record=cross),
        )
        residual = self.add(residual, self.post_attention_layernorm, self.mlp)
        if told is not None:
            told("residual", residual)
        return residual


class Stack(nn.Module):
    """The blocks of one side, its learned positions, and the last norm where norms come first."""

    def __init__(self, config: ModelConfig, blocks: list[nn.Module]) -> None:
        super().__init__()
        if config.positions == "learned":
            self.embed_positions = Embedding(config.context, config.width)
        self.layers = nn.ModuleList(blocks)
        if config.norm_order == "pre":  # else each block has ended with a norm of its own
            self.norm = build_norm(config.norm, config.width, eps=config.norm_eps)
        else:
            self.norm = nn.Identity()


class EncoderDecoder(nn.Module):
    """The whole model: `encode` reads sources, `hidden` and `head` write targets.

    `config.context` is the most tokens of a source, and of a target; `config.layers` are the
    decoder's. The constructor draws weights as PyTorch does by default.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = Stack(
            config, [EncoderBlock(config, layer=n) for n in range(config.encoder_layers)]
        )
        self.decoder = Stack(config, [DecoderBlock(config, layer=n) for n in range(config.layers)])
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=config.head_bias)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the head's matrix the token embedding itself, where the configuration says so."""
        if self.config.tied:
            self.lm_head.weight = self.embed_tokens.weight

    def encode(
        self,
        sources: Int[Tensor, "batch time"],
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        record: Record | None = None,
    ) -> Memory:
        """What the decoder looks at: the sources, right-padded to one length, read.

        `lengths` counts the tokens of each that are no padding; None where all are of one length.
        """
        time = sources.shape[1]
        real = None
        if lengths is not None:
            real = torch.arange(time, device=sources.device) < lengths[:, None]
        positions = torch.arange(time, device=sources.device)[None]
        residual = self._embed(sources, positions, self.encoder)
        shared = self_attention_inputs(
            residual,
            documents=None if real is None else real.long(),  # padding is a document of its own
            causal=False,
            rotary=rotary_of(self.config, positions, dtype=residual.dtype),
            watched=watches_attention(record),
        )
        if record is not None:
            record("encoder.embedding", residual)
        for block in self.encoder.layers:
            residual = block(residual, shared, record=record)
        vectors = self.encoder.norm(residual)
        if record is not None:
            record("encoder.norm", vectors)
        projected = tuple(block.cross_attn.project(vectors) for block in self._decoder_blocks())
        return Memory(vectors, projected, None if real is None else real[:, None, None])

    def hidden(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        memory: Memory,
        positions: Int[Tensor, "#batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """A vector for each target token, after the last norm, ready for `head`.

        Row i of `ids` looks at row i of the memory. `positions` count from the start when None;
        `documents` keeps padding on the left out (on the right nothing looks at it). With a
        `cache` the ids are new tokens of its rows, and the cache grows by them.
        """
        if positions is None:
            count = torch.arange(ids.shape[1], device=ids.device)[None]
            positions = count if cache is None else cache.positions
        residual = self._embed(ids, positions, self.decoder)
        watched = watches_attention(record)
        shared = self_attention_inputs(
            residual,
            documents=documents,
            rotary=rotary_of(self.config, positions, dtype=residual.dtype),
            cache=cache,
            watched=watched,
        )
        across = cross_attention_inputs(residual, allowed=memory.allowed, watched=watched)
        if record is not None:
            record("decoder.embedding", residual)
        for block, keys_values in zip(self.decoder.layers, memory.keys_values, strict=True):
            residual = block(residual, shared, keys_values, across, record=record)
        normed = self.decoder.norm(residual)
        if record is not None:
            record("decoder.norm", normed)
        if cache is not None:
            cache.commit()
        return normed

    def head(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of the token after each target token, from what `hidden` gives."""
        return self.lm_head(hidden)

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        sources: Int[Tensor, "batch source_time"],
        source_lengths: Int[Tensor, " batch"] | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of the token after each target token: `encode`, `hidden`, then `head`."""
        memory = self.encode(sources, lengths=source_lengths, record=record)
        return self.head(self.hidden(ids, memory=memory, record=record))

    def _decoder_blocks(self) -> list[DecoderBlock]:
        return [block for block in self.decoder.layers if isinstance(block, DecoderBlock)]

    def _embed(
        self, ids: Int[Tensor, "batch time"], positions: Int[Tensor, "#batch time"], side: Stack
    ) -> Float[Tensor, "batch time dim"]:
        """Vectors of the tokens, scaled up to the size of the positions added (section 3.4)."""
        vectors = self.embed_tokens(ids) * self.config.width**0.5
        if self.config.positions == "learned":
            vectors = vectors + side.embed_positions(positions)
        elif self.config.positions == "sinusoidal":
            waves = sinusoidal_positions(positions, self.config.width)
            vectors = vectors + waves.to(vectors.dtype)
        return self.dropout(vectors)
