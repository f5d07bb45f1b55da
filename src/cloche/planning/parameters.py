"""Every tensor that a model learns, listed from its configuration alone. Loads no torch.

The one list that parameter counts, operations and memory are reckoned from.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloche.model.config import ModelConfig


@dataclass(frozen=True)
class Parameters:
    """Some tensors of one shape that serve one purpose."""

    shape: tuple[int, ...]
    tensors: int = 1
    idle: int = 0
    """How many of the tensors a token passes by: experts it does not use."""
    in_blocks: bool = False
    """Whether they belong to a block, and not to embeddings, last norm or head."""

    @property
    def numbers(self) -> int:
        """Learned numbers in all of them."""
        return self.tensors * math.prod(self.shape)

    @property
    def active(self) -> int:
        """Learned numbers that take part in each token."""
        return (self.tensors - self.idle) * math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it is no bias and no norm."""
        return len(self.shape) == 2


def learned_parameters(config: ModelConfig) -> list[Parameters]:
    """All that training changes; empty for a model that is counted."""
    if config.family == "ngram":
        return []
    if config.family == "bigram":
        return [Parameters((config.vocab_size, config.vocab_size))]
    table = (config.vocab_size, config.width)
    found = [Parameters(table)]
    if config.positions == "learned":
        sides = 2 if config.family == "seq2seq" else 1
        found.append(Parameters((config.context, config.width), tensors=sides))
    for block, copies in block_kinds(config):
        found += [
            replace(part, tensors=part.tensors * copies, idle=part.idle * copies) for part in block
        ]
    if config.family != "seq2seq":
        found += _norm(config, config.width)
    elif config.norm_order == "pre":
        found += 2 * _norm(config, config.width)
    if not config.tied:
        found.append(Parameters(table))
    if config.head_bias:
        found.append(Parameters((config.vocab_size,)))
    return found


def block_kinds(config: ModelConfig) -> Iterator[tuple[list[Parameters], int]]:
    """The tensors of each kind of block, and how many blocks of the kind there are."""
    alike = [
        *_attention(config),
        *_mlp(config),
        *_norm(config, config.width),
        *_norm(config, config.width),
    ]
    if config.family == "seq2seq":
        yield _inside(alike), config.encoder_layers
        alike = [*alike, *_attention(config), *_norm(config, config.width)]
    yield _inside(alike), config.layers


def _inside(parts: list[Parameters]) -> list[Parameters]:
    return [replace(part, in_blocks=True) for part in parts]


def _attention(config: ModelConfig) -> list[Parameters]:
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    found = [
        *_linear(config.width, queries, biased=config.qkv_bias),
        *_linear(config.width, keys, biased=config.qkv_bias),
        *_linear(config.width, keys, biased=config.qkv_bias),
        *_linear(queries, config.width, biased=config.output_bias),
    ]
    if config.qk_norm:
        found.append(Parameters((config.head_dim,), tensors=2))
    return found


def _mlp(config: ModelConfig) -> list[Parameters]:
    wide = 2 if config.activation == "swiglu" else 1
    single = [
        *(wide * _linear(config.width, config.mlp_width, biased=config.mlp_bias)),
        *_linear(config.mlp_width, config.width, biased=config.mlp_bias),
    ]
    if not config.experts:
        return single
    idle = config.experts - config.experts_used
    router = _linear(config.width, config.experts, biased=False)
    return router + [replace(part, tensors=config.experts, idle=idle) for part in single]


def _linear(inputs: int, outputs: int, *, biased: bool) -> list[Parameters]:
    matrix = Parameters((outputs, inputs))
    return [matrix, Parameters((outputs,))] if biased else [matrix]


def _norm(config: ModelConfig, width: int) -> list[Parameters]:
    return [Parameters((width,), tensors=1 if config.norm == "rmsnorm" else 2)]
