"""What a model takes of a machine's memory, in bytes, part by part. Loads no torch.

Weights, gradients, optimizer and cache are exact. Activations are what the backward pass needs
kept of the forward one, reckoned operation by operation as the model is written. What each
operation holds for a moment, what the allocator keeps of it, and what the libraries themselves take
is measured (docs/planning.md), and told as working memory.
"""

from dataclasses import astuple, dataclass
from typing import Literal

from cloche.model.config import ModelConfig
from cloche.planning.activations import Path, activation_bytes, scoring_bytes
from cloche.planning.parameters import learned_parameters

Precision = Literal["float32", "bfloat16"]
FLOAT32 = 4
LIBRARY_BYTES = 75_000_000
"""What a process grows by in its first step, whatever the model: libraries, their buffers."""
TOKENIZER_BYTES = 80_000_000
"""What learning a BPE leaves of the memory that it took."""
WORKING_SHARE = 0.46
"""Of the activations, what is held on top of them at the worst moment, and by an allocator that
keeps what was freed; on a CPU."""
NUMBER_BYTES: dict[Precision, int] = {"float32": FLOAT32, "bfloat16": 2}


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for."""

    weights: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    """Of one micro-batch, when its loss has just been computed."""
    cache: int = 0
    working: int = 0
    """Of the operations, the allocator and the libraries; measured, not reckoned."""
    copies: int = 0
    """Of weights and optimizer, to be written while the training goes on; of the weights, to tell
    how far a step moved them."""

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(astuple(self))


def training_memory(
    config: ModelConfig,
    *,
    batch: int,
    precision: Precision,
    optimizer: Literal["adamw", "muon"],
    attention: Path,
    parts: int = 1,
) -> Memory:
    """What training takes with `batch` full contexts computed at once (pairs, with an encoder).

    Weights are float32; in bfloat16 the copy that computes has its own. Gradients are of the
    precision of the passes, and added up in float32 beside them where a step has several `parts`.
    Of a counted model, its tables: counting has a budget of its own.
    """
    if config.family == "ngram":
        return Memory(weights=table_bytes(config))
    learned = parameter_bytes(config)
    copy = 0 if precision == "float32" else learned * NUMBER_BYTES[precision] // FLOAT32
    activations = activation_bytes(
        config, batch=batch, number_bytes=NUMBER_BYTES[precision], attention=attention
    )
    added_up = learned if precision == "float32" or parts > 1 else 0
    gradients = copy + added_up
    scoring = scoring_bytes(config, batch=batch, number_bytes=NUMBER_BYTES[precision])
    return Memory(
        weights=learned + copy,
        gradients=gradients,
        optimizer=optimizer_bytes(config, optimizer=optimizer),
        activations=activations,
        # what the loss holds is let go before most gradients are made: they share their room
        working=LIBRARY_BYTES + round(WORKING_SHARE * activations) + max(0, scoring - gradients),
    )


def copy_bytes(config: ModelConfig, *, optimizer: Literal["adamw", "muon"]) -> int:
    """What is copied: for a checkpoint that is written while the training goes on, and in steps
    that tell figures by layer."""
    return 2 * parameter_bytes(config) + optimizer_bytes(config, optimizer=optimizer)


def generation_memory(
    config: ModelConfig, *, rows: int, context: int | None = None, precision: Precision
) -> Memory:
    """What writing takes with `rows` texts at once, each up to `context` tokens long."""
    if config.family == "ngram":
        weights = table_bytes(config)
    else:
        weights = parameter_bytes(config) * NUMBER_BYTES[precision] // FLOAT32
    return Memory(
        weights=weights,
        cache=cache_bytes(
            config, rows=rows, capacity=context or config.context, precision=precision
        ),
    )


def parameter_bytes(config: ModelConfig) -> int:
    """Bytes of all learned numbers in float32."""
    return FLOAT32 * sum(part.numbers for part in learned_parameters(config))


def table_bytes(config: ModelConfig) -> int:
    """Bytes of a counted model: 12 for an n-gram, 4 for each context, 4 for a single token."""
    sizes = config.ngrams
    longer, contexts = sum(sizes[1:]), sum(sizes[:-1])
    return 12 * longer + 4 * contexts + 4 * config.vocab_size


def optimizer_bytes(config: ModelConfig, *, optimizer: Literal["adamw", "muon"]) -> int:
    """Bytes of the optimizer's state, all float32.

    AdamW keeps two moments of each number and one count of steps for each tensor; Muon, which has
    the matrices of the blocks, one momentum.
    """
    found = 0
    for part in learned_parameters(config):
        if optimizer == "muon" and part.in_blocks and part.is_matrix:
            found += FLOAT32 * part.numbers
        else:
            found += FLOAT32 * (2 * part.numbers + part.tensors)
    return found


def cache_bytes(config: ModelConfig, *, rows: int, capacity: int, precision: Precision) -> int:
    """Bytes of keys and values of `rows` texts with room for `capacity` tokens each.

    Those that a decoder keeps of its source come on top: as much again for a source as long.
    """
    numbers = config.layers * rows * config.kv_heads * capacity * config.head_dim
    return 2 * numbers * NUMBER_BYTES[precision]
