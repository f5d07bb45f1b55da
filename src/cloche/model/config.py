"""What a model is made of: options a user may set, and the complete description. Loads no torch."""

from dataclasses import dataclass, fields
from typing import Literal

from cloche.model.rope import RopeScaling

Family = Literal["qwen3", "moe", "llama", "gpt", "gpt2", "seq2seq", "bigram", "ngram"]
Size = Literal["small", "medium", "large", "xl"]
Norm = Literal["rmsnorm", "layernorm"]
NormOrder = Literal["pre", "post"]
Positions = Literal["rotary", "learned", "sinusoidal", "none"]
Stretch = Literal["linear", "ntk", "yarn"]
Activation = Literal["swiglu", "gelu", "gelu_tanh", "relu", "relu_squared"]
Smoothing = Literal["kneser-ney", "additive"]

LARGEST_THETA = 1e12
LARGEST_ORDER = 10
LARGEST_TABLES = 2**31 - 1  # an n-gram's place in its table is kept in 32 bits while counting
COUNTED_ONLY = ("order", "smoothing", "max_ngrams")
MEANINGFUL: dict[str, tuple[str, ...]] = {
    "bigram": ("context",),
    "ngram": ("context", *COUNTED_ONLY),
}
"""The options of the families that have no blocks; those with blocks have all but BELONGING."""
BELONGING: dict[str, tuple[Family, str]] = {
    "order": ("ngram", "which is trained"),
    "smoothing": ("ngram", "which is trained"),
    "max_ngrams": ("ngram", "which is trained"),
    "experts": ("moe", "which has one MLP in each block"),
    "experts_used": ("moe", "which has one MLP in each block"),
    "encoder_layers": ("seq2seq", "which has no encoder"),
    "norm_order": ("seq2seq", "whose norms come first"),
    "size": ("gpt2", "whose sizes nobody has named"),
}
"""Options of one family alone, and what the others are instead."""
GPT_FAMILIES: tuple[Family, ...] = ("gpt", "gpt2", "seq2seq")
"""Those whose heads share the width without rest."""


@dataclass(frozen=True)
class ModelOptions:
    """The model; whatever is not given is chosen from the text, the machine and the time."""

    family: Family = "qwen3"
    """qwen3: the default. moe: the same with experts. llama, gpt2: as published. gpt: the
    textbooks' GPT. seq2seq: the encoder-decoder of 2017, on pairs. bigram: a table of next-token
    logits. ngram: counted, not learned; the baseline every other is held against."""
    size: Size | None = None
    """Of gpt2: one of the four published sizes; the plan's when not given."""
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
    mlp_width: int | None = None
    """Numbers inside the MLP, or inside one expert; 4 x width (8/3 of it with swiglu)."""
    qkv_bias: bool | None = None
    """Whether queries, keys and values have a bias."""
    head_bias: bool | None = None
    """Whether the output head has a bias."""
    window: int | None = None
    """Tokens that attention reaches back, the present one included; all when not given."""
    rope_theta: float | None = None
    """Base of the rotary frequencies; 10000 when not given."""
    rope_scaling: Stretch | None = None
    """How rotary positions are stretched to a longer context than they were trained on."""
    rope_factor: float | None = None
    """How many times longer; with model.rope-scaling."""
    experts: int | None = None
    """Of moe: experts in each block; 8 when not given."""
    experts_used: int | None = None
    """Of moe: experts that think about a token; 2 when not given."""
    encoder_layers: int | None = None
    """Of seq2seq: blocks of the encoder; as many as the decoder's when not given."""
    norm_order: NormOrder | None = None
    """Of seq2seq: whether norms come before attention and MLP (pre) or after, as in 2017 (post)."""
    order: int | None = None
    """Of ngram: tokens in the longest n-gram counted, the predicted one included; 5 if not given.
    """
    smoothing: Smoothing | None = None
    """Of ngram: kneser-ney (the default), or additive: one added to every count."""
    max_ngrams: int | None = None
    """Of ngram: most n-grams kept, 16 bytes each; 20 million when not given. The rarest go."""

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        counts = (
            *("layers", "heads", "kv_heads", "width", "context", "order", "max_ngrams"),
            *("mlp_width", "window", "experts", "experts_used", "encoder_layers"),
        )
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
        nature = {"bigram": "which is one table of logits", "ngram": "which is counted"}
        if self.family in MEANINGFUL:
            kept = MEANINGFUL[self.family]
            refused = {name: nature[self.family] for name in given if name not in kept}
        else:
            refused = {
                name: f"{BELONGING[name][1]}: it belongs to model.family {BELONGING[name][0]}"
                for name in given
                if name in BELONGING and BELONGING[name][0] != self.family
            }
        if self.family == "seq2seq" and self.window is not None:
            refused["window"] = "which reads a whole sentence"
        return [
            f"model.{name.replace('_', '-')} has no meaning with model.family {self.family}, "
            f"{reason}: leave it out, or choose another family"
            for name, reason in refused.items()
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
        if (self.experts_used or 1) > (self.experts or self.experts_used or 1):
            found.append(
                f"model.experts-used {self.experts_used} is more than model.experts {self.experts}"
            )
        if (self.rope_scaling is None) != (self.rope_factor is None):
            found.append("model.rope-scaling and model.rope-factor belong together: give both")
        if not 1.0 <= (1.0 if self.rope_factor is None else self.rope_factor) <= LARGEST_THETA:
            found.append(
                f"model.rope-factor must be from 1 to {LARGEST_THETA:g}, got {self.rope_factor}"
            )
        if not 1.0 < (10_000.0 if self.rope_theta is None else self.rope_theta) <= LARGEST_THETA:
            found.append(
                f"model.rope-theta must be above 1 and at most {LARGEST_THETA:g}, "
                f"got {self.rope_theta}"
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
    rope_scaling: RopeScaling | None = None
    window: int | None = None
    """Tokens that attention reaches back, the present one included; None for all of them."""
    full_layers: int = 0
    """The first layers, which heed no window."""
    activation: Activation = "swiglu"
    dropout: float = 0.0
    tied: bool = False
    qk_norm: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    """Bias of the attention's output projection."""
    mlp_bias: bool = False
    head_bias: bool = False
    experts: int = 0
    """MLPs in each block, `mlp_width` wide each, of which a token uses few; 0 for a single one."""
    experts_used: int = 0
    normalised_experts: bool = True
    """Whether the weights of a token's experts are made to sum to 1."""
    balance: float = 0.0
    """Weight of the loss that spreads tokens evenly over experts."""
    encoder_layers: int = 0
    """Blocks of the encoder; of seq2seq only."""
    norm_order: NormOrder = "pre"
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
        if self.width % self.heads and self.family in GPT_FAMILIES:
            found.append(
                f"model.width {self.width} is not divisible by model.heads {self.heads}: "
                f"use {nearest_multiple(self.width, self.heads)} or another number of heads"
            )
        if self.heads % self.kv_heads:
            found.append(
                f"model.heads {self.heads} is not divisible by model.kv-heads {self.kv_heads}: "
                "each key and value head serves the same number of query heads"
            )
        if not self.rope_theta <= LARGEST_THETA:
            found.append(
                f"the base of the rotary positions must be at most {LARGEST_THETA:g}, got "
                f"{self.rope_theta:g}: use a smaller model.rope-factor"
            )
        if self.positions == "rotary" and self.head_dim % 2:
            found.append(
                f"rotary positions turn pairs of numbers, so width / heads must be even, "
                f"got {self.head_dim}"
            )
        if not 0 <= self.experts_used <= self.experts or (self.experts and not self.experts_used):
            found.append(
                f"a token can use 1 to {self.experts} of {self.experts} experts, "
                f"not {self.experts_used}"
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
