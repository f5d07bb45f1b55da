"""Every tensor that a model learns, listed from its configuration alone. Loads no torch.

The one list that parameter counts, operations and memory are reckoned from.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cloche.model.config import ModelConfig

Part = Literal["embedding", "positions", "attention", "MLP", "norms", "head"]
"""What parameters are for; the router of a mixture of experts belongs to the MLP."""


@dataclass(frozen=True)
class Parameters:
    """Some tensors of one shape that serve one purpose."""

    shape: tuple[int, ...]
    part: Part
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
        return [Parameters((config.vocab_size, config.vocab_size), "embedding")]
    table = (config.vocab_size, config.width)
    found = [Parameters(table, "embedding")]
    if config.positions == "learned":
        sides = 2 if config.family == "seq2seq" else 1
        found.append(Parameters((config.context, config.width), "positions", tensors=sides))
    for block, copies in block_kinds(config):
        found += [
            replace(part, tensors=part.tensors * copies, idle=part.idle * copies) for part in block
        ]
    if config.family != "seq2seq":
        found += _norm(config, config.width)
    elif config.norm_order == "pre":
        found += 2 * _norm(config, config.width)
    if not config.tied:
        found.append(Parameters(table, "head"))
    if config.head_bias:
        found.append(Parameters((config.vocab_size,), "head"))
    return found


def parameters_by_part(config: ModelConfig) -> dict[Part, int]:
    """Learned numbers for each part that the model has; a tied head is the embedding."""
    found: dict[Part, int] = {}
    for tensors in learned_parameters(config):
        found[tensors.part] = found.get(tensors.part, 0) + tensors.numbers
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
        *_linear(config.width, queries, part="attention", biased=config.qkv_bias),
        *_linear(config.width, keys, part="attention", biased=config.qkv_bias),
        *_linear(config.width, keys, part="attention", biased=config.qkv_bias),
        *_linear(queries, config.width, part="attention", biased=config.output_bias),
    ]
    if config.qk_norm:
        found.append(Parameters((config.head_dim,), "norms", tensors=2))
    return found


def _mlp(config: ModelConfig) -> list[Parameters]:
    wide = 2 if config.activation == "swiglu" else 1
    single = [
        *(wide * _linear(config.width, config.mlp_width, part="MLP", biased=config.mlp_bias)),
        *_linear(config.mlp_width, config.width, part="MLP", biased=config.mlp_bias),
    ]
    if not config.experts:
        return single
    idle = config.experts - config.experts_used
    router = _linear(config.width, config.experts, part="MLP", biased=False)
    return router + [replace(part, tensors=config.experts, idle=idle) for part in single]


def _linear(inputs: int, outputs: int, *, part: Part, biased: bool) -> list[Parameters]:
    matrix = Parameters((outputs, inputs), part)
    return [matrix, Parameters((outputs,), part)] if biased else [matrix]


def _norm(config: ModelConfig, width: int) -> list[Parameters]:
    return [Parameters((width,), "norms", tensors=1 if config.norm == "rmsnorm" else 2)]
