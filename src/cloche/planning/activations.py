"""Bytes that a training step keeps of its forward pass, for the backward pass. Loads no torch.

Reckoned operation by operation, each number counted where it is first kept, as PyTorch keeps them
on a CPU (a dropout's mask is there as large as what it drops from; on CUDA it is a byte a number).
Tests hold it to what PyTorch says it has saved, within 15%.
"""

from dataclasses import dataclass
from typing import Literal

from cloche.model.config import ModelConfig

Path = Literal["plain", "fused"]
"""The two ways of attention: the table of weights written out, or not."""
FLOAT32, INT64 = 4, 8
SCORED_NUMBERS = 1 << 20
"""Logits that are scored at a time: 4 MB in float32, which a processor's cache holds."""
KEPT_NUMBERS = 1 << 26
"""Gradients of logits that are kept until they are enough for one large matrix product."""


@dataclass(frozen=True)
class _Reckoning:
    """Bytes a token, for one configuration and width of a number."""

    config: ModelConfig
    number: int
    """Bytes of a number in the precision of the passes."""
    path: Path

    def norm(self) -> int:
        """What a norm keeps, its result included, which is read by what follows.

        RMSNorm: the vector and what it became before the weights, both in float32, and their
        scale. LayerNorm: the vector, mean and scale.
        """
        width = self.config.width
        if self.config.norm == "rmsnorm":
            return FLOAT32 * (2 * width + 1) + self.number * width
        return self.number * (2 * width + 2)

    def attention(self, keys: int, *, dropout: float) -> int:
        """What attention keeps for each query and the token it looks at, one for one."""
        config = self.config
        queries = config.heads * config.head_dim
        kept = self.number * (queries + 2 * config.kv_heads * config.head_dim)
        if config.qk_norm:  # an RMSNorm of each head, whose result is not kept twice
            kept += (config.heads + config.kv_heads) * FLOAT32 * (2 * config.head_dim + 1)
        if self.path == "fused" and not dropout:
            # what was gathered, and the logarithm of each softmax's sum
            kept += self.number * queries + FLOAT32 * config.heads
            if config.positions != "rotary" and not config.qk_norm:
                return kept  # lies as the projections left it, and is read so by the last one
        else:
            # one attention weight written out; what dropout leaves of it, and its mask
            kept += config.heads * keys * self.number * (3 if dropout else 1)
        return kept + self.number * queries  # what the output projection reads

    def mlp(self) -> int:
        """What one MLP keeps of a token, but for the vector it reads."""
        copies = {"swiglu": 4, "gelu": 2, "gelu_tanh": 2, "relu_squared": 2, "relu": 1}
        return self.number * copies[self.config.activation] * self.config.mlp_width

    def thought(self) -> int:
        """What an MLP or a mixture of experts keeps of a token, but for the vector it reads."""
        config = self.config
        if not config.experts:
            return self.mlp()
        # of each expert used: the vector, the answer, the answer weighed, its weight, its place
        picked = self.mlp() + self.number * (3 * config.width + 1) + 2 * INT64
        router = FLOAT32 * (config.experts + config.experts_used + 1) + INT64 * config.experts_used
        return config.experts_used * picked + router

    def dropped(self, branches: int) -> int:
        """The masks of dropout behind so many branches."""
        return self.number * self.config.width * branches if self.config.dropout else 0

    def head(self) -> int:
        """The gradient of the loss by what the head reads: made on the way, and logits not kept."""
        read = self.config.vocab_size if self.config.family == "bigram" else self.config.width
        return self.number * read


def activation_bytes(config: ModelConfig, *, batch: int, number_bytes: int, attention: Path) -> int:
    """Bytes kept of a forward pass and loss over `batch` full contexts.

    `number_bytes` is 4 in float32 and 2 in bfloat16. Dropout makes attention plain on a CPU, and
    here. Of an encoder-decoder: `batch` pairs, source and target both of a full context.
    """
    reckoning = _Reckoning(config, number_bytes, attention)
    tokens = batch * config.context
    if config.family == "ngram":
        return 0
    if config.family == "bigram":
        return tokens * (reckoning.head() + INT64)
    if config.family == "seq2seq":
        each = _encoder_decoder(config, reckoning)
    else:
        each = _decoder(config, reckoning)
    tables = 0
    if config.positions == "rotary":
        tables = number_bytes * config.context * config.head_dim
    return tokens * (each + reckoning.head()) + tables


def scoring_bytes(config: ModelConfig, *, batch: int, number_bytes: int) -> int:
    """Bytes that the loss holds while it is computed, on top of all that is kept.

    The gradients of some logits in the precision of the passes, those that are scored just now
    four times in float32, and the gradient of the head before it is scaled.
    """
    logits = batch * config.context * config.vocab_size
    kept = number_bytes * min(logits, KEPT_NUMBERS)
    scored = 4 * FLOAT32 * min(logits, SCORED_NUMBERS)
    matrix = 0 if config.family in ("bigram", "ngram") else config.vocab_size * config.width
    return kept + scored + number_bytes * matrix


def _decoder(config: ModelConfig, reckoning: _Reckoning) -> int:
    block = (
        2 * reckoning.norm()
        + reckoning.attention(config.context, dropout=config.dropout)
        + reckoning.thought()
        + reckoning.dropped(2)
    )
    return config.layers * block + reckoning.norm() + reckoning.dropped(1) + INT64


def _encoder_decoder(config: ModelConfig, reckoning: _Reckoning) -> int:
    """For a token of a target and one of its source; attention's weights are never dropped."""
    attention = reckoning.attention(config.context, dropout=0.0)
    shared = 2 * reckoning.norm() + attention + reckoning.thought() + reckoning.dropped(2)
    looking = reckoning.norm() + attention + reckoning.dropped(1)
    last = 2 * reckoning.norm() if config.norm_order == "pre" else 0
    blocks = (config.encoder_layers + config.layers) * shared + config.layers * looking
    return blocks + last + reckoning.dropped(2) + 2 * INT64
