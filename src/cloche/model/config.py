"""What a model is made of: options a user may set, and the complete description. Loads no torch."""

from dataclasses import dataclass, fields
from typing import Literal

Family = Literal["qwen3", "gpt", "bigram", "ngram"]
Norm = Literal["rmsnorm", "layernorm"]
Positions = Literal["rotary", "learned", "sinusoidal", "none"]
Activation = Literal["swiglu", "gelu", "gelu_tanh", "relu"]
Smoothing = Literal["kneser-ney", "additive"]

LARGEST_ORDER = 10
LARGEST_TABLES = 2**31 - 1  # an n-gram's place in its table is kept in 32 bits while counting
COUNTED_ONLY = ("order", "smoothing", "max_ngrams")
MEANINGFUL: dict[str, tuple[str, ...]] = {
    "bigram": ("context",),
    "ngram": ("context", *COUNTED_ONLY),
}
"""The options of the families that have no blocks; those with blocks have all but COUNTED_ONLY."""


@dataclass(frozen=True)
class ModelOptions:
    """The model; whatever is not given is chosen from the text, the machine and the time."""

    family: Family = "qwen3"
    """qwen3: the default. gpt: the textbooks' GPT. bigram: a table of next-token logits. ngram:
    counted, not learned; the baseline every other is held against."""
    layers: int | None = None
    """Number of blocks."""
    heads: int | None = None
    """Number of query heads in each attention layer."""
    kv_heads: int | None = None
    """Number of key and value heads (grouped-query attention); must divide the heads."""
    width: int | None = None
    """Length of the vector that stands for a token (the embedding dimension)."""
    context: int | None = None
    """Most tokens the model looks at."""
    dropout: float | None = None
    """Share of activations dropped in training, from 0 to below 1."""
    norm: Norm | None = None
    """Normalisation before each attention and MLP."""
    positions: Positions | None = None
    """How the model knows the order of tokens."""
    activation: Activation | None = None
    """Nonlinearity of the MLP."""
    tied: bool | None = None
    """Whether the output head is the token embedding itself."""
    order: int | None = None
    """Of ngram: tokens in the longest n-gram counted, the predicted one included; 5 if not given.
    """
    smoothing: Smoothing | None = None
    """Of ngram: kneser-ney (the default), or additive: one added to every count."""
    max_ngrams: int | None = None
    """Of ngram: most n-grams kept, 16 bytes each; 20 million when not given. The rarest go."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        counts = ("layers", "heads", "kv_heads", "width", "context", "order", "max_ngrams")
        found = [
            f"model.{name.replace('_', '-')} must be at least 1, got {value}"
            for name in counts
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.dropout is not None and not 0.0 <= self.dropout < 1.0:
            found.append(f"model.dropout must be in [0, 1), got {self.dropout}")
        if (self.order or 0) > LARGEST_ORDER:
            found.append(f"model.order must be at most {LARGEST_ORDER}, got {self.order}")
        if (self.max_ngrams or 0) > LARGEST_TABLES:
            found.append(f"model.max-ngrams must be below 2^31, got {self.max_ngrams}")
        found += self._meaningless()
        return found or self._contradictions()

    def _meaningless(self) -> list[str]:
        """Options that were given, and that the family has no place for."""
        given = [
            field.name
            for field in fields(self)
            if field.name != "family" and getattr(self, field.name) is not None
        ]
        if self.family in MEANINGFUL:
            refused = [name for name in given if name not in MEANINGFUL[self.family]]
        else:
            refused = [name for name in given if name in COUNTED_ONLY]
        nature = {"bigram": "which is one table of logits", "ngram": "which is counted"}
        reason = nature.get(self.family, "which is trained: it belongs to model.family ngram")
        return [
            f"model.{name.replace('_', '-')} has no meaning with model.family {self.family}, "
            f"{reason}: leave it out, or choose another family"
            for name in refused
        ]

    def _contradictions(self) -> list[str]:
        found = []
        if self.width and self.heads and self.width % self.heads:
            found.append(
                f"model.width {self.width} is not divisible by model.heads {self.heads}: "
                f"use {nearest_multiple(self.width, self.heads)} or another number of heads"
            )
        if self.heads and self.kv_heads and self.heads % self.kv_heads:
            found.append(
                f"model.heads {self.heads} is not divisible by model.kv-heads {self.kv_heads}: "
                "each key and value head serves the same number of query heads"
            )
        return found


@dataclass(frozen=True)
class ModelConfig:
    """A model, complete: nothing is left to choose. Presets for the families: `presets.py`."""

    family: Family
    vocab_size: int
    context: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    norm: Norm = "rmsnorm"
    norm_eps: float = 1e-6
    positions: Positions = "rotary"
    rope_theta: float = 10_000.0
    activation: Activation = "swiglu"
    dropout: float = 0.0
    tied: bool = False
    qk_norm: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    """Bias of the attention's output projection."""
    mlp_bias: bool = False
    head_bias: bool = False
    order: int | None = None
    """Of ngram: tokens in its longest n-gram."""
    smoothing: Smoothing | None = None
    """Of ngram: how probability is kept for what was never seen."""
    ngrams: tuple[int, ...] = ()
    """Of ngram: how many n-grams of each order are stored, single tokens (all of them) first."""

    def problems(self) -> list[str]:
        """What cannot be built, one sentence each, with the way out."""
        found = []
        if self.family == "bigram":
            return found
        if self.family == "ngram":
            return self._counted_problems()
        if self.width % self.heads and self.family == "gpt":
            found.append(
                f"model.width {self.width} is not divisible by model.heads {self.heads}: "
                f"use {nearest_multiple(self.width, self.heads)} or another number of heads"
            )
        if self.heads % self.kv_heads:
            found.append(
                f"model.heads {self.heads} is not divisible by model.kv-heads {self.kv_heads}: "
                "each key and value head serves the same number of query heads"
            )
        if self.positions == "rotary" and self.head_dim % 2:
            found.append(
                f"rotary positions turn pairs of numbers, so width / heads must be even, "
                f"got {self.head_dim}"
            )
        return found

    def _counted_problems(self) -> list[str]:
        order = self.order
        if not isinstance(order, int) or not 1 <= order <= LARGEST_ORDER:
            return [f"an n-gram model's order must be from 1 to {LARGEST_ORDER}, got {self.order}"]
        found = []
        if self.smoothing not in ("kneser-ney", "additive"):
            found.append(f"smoothing must be kneser-ney or additive, got {self.smoothing!r}")
        sizes = [size for size in self.ngrams if isinstance(size, int) and size >= 0]
        if len(sizes) != order or len(self.ngrams) != order or sizes[0] != self.vocab_size:
            found.append(
                f"a model of order {order} over {self.vocab_size} tokens stores as many n-grams of "
                f"order 1, and some of each order up to {order}, got {list(self.ngrams)}"
            )
        if self.context < 2 * order:
            # so that a full context that slides on, and windows that overlap by half, still hold
            # all the tokens it looks at
            found.append(
                f"model.context must be at least twice model.order {order}, got {self.context}"
            )
        return found


def nearest_multiple(value: int, factor: int) -> int:
    """The multiple of `factor` nearest to `value`, at least `factor` itself."""
    return max(factor, round(value / factor) * factor)
