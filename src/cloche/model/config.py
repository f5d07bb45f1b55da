"""What a model is made of: options a user may set, and the complete description. Loads no torch."""

from dataclasses import dataclass
from typing import Literal

Family = Literal["qwen3", "gpt", "bigram"]
Norm = Literal["rmsnorm", "layernorm"]
Positions = Literal["rotary", "learned", "sinusoidal", "none"]
Activation = Literal["swiglu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True)
class ModelOptions:
    """The model; whatever is not given is chosen from the text, the machine and the time."""

    family: Family = "qwen3"
    """qwen3: the default. gpt: the textbooks' GPT. bigram: a table of next-token logits."""
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

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        counts = ("layers", "heads", "kv_heads", "width", "context")
        found = [
            f"model.{name.replace('_', '-')} must be at least 1, got {value}"
            for name in counts
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.dropout is not None and not 0.0 <= self.dropout < 1.0:
            found.append(f"model.dropout must be in [0, 1), got {self.dropout}")
        return found or self._contradictions()

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

    def problems(self) -> list[str]:
        """What cannot be built, one sentence each, with the way out."""
        found = []
        if self.family == "bigram":
            return found
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


def nearest_multiple(value: int, factor: int) -> int:
    """The multiple of `factor` nearest to `value`, at least `factor` itself."""
    return max(factor, round(value / factor) * factor)
