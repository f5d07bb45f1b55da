"""How rotary positions are stretched to contexts longer than those trained on. Loads no torch.

NTK-aware scaling is nothing but another base, so it needs no description of its own: a model that
was stretched so has the new base as its `rope_theta`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RopeScaling:
    """A change of the rotary frequencies; which fields count depends on the kind.

    linear: every frequency is divided by `factor` (Chen et al. 2023,
    https://arxiv.org/abs/2306.15595). llama3: only the slow ones are, as in Llama 3.1. yarn: the
    slow ones are, and attention is sharpened a little (Peng et al. 2023,
    https://arxiv.org/abs/2309.00071).
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_context: int
    """Tokens the unstretched positions were trained on; llama3 and yarn."""
    low_frequency_factor: float = 1.0
    """Of llama3: wavelengths longer than original_context / this are divided by `factor`."""
    high_frequency_factor: float = 4.0
    """Of llama3: wavelengths shorter than original_context / this stay as they are."""
    beta_fast: float = 32.0
    """Of yarn: frequencies that turn more often than this in original_context stay."""
    beta_slow: float = 1.0
    """Of yarn: frequencies that turn less often than this are divided by `factor`."""
    attention_factor: float | None = None
    """Of yarn: what cosines and sines are multiplied with; 0.1 ln(factor) + 1 when None."""


def ntk_theta(theta: float, factor: float, *, head_dim: int) -> float:
    """The base that stretches the slowest frequency by `factor` and leaves the fastest alone.

    Source: bloc97 2023,
    https://www.reddit.com/r/LocalLLaMA/comments/14lz7j5/ntkaware_scaled_rope_allows_llama_models_to_have/
    """
    if head_dim <= 2:
        return theta  # a single frequency, the fastest
    return theta * factor ** (head_dim / (head_dim - 2))
