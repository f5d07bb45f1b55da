"""What an adapter is made of. Loads no torch."""

import math
from dataclasses import dataclass
from typing import Literal

ALL_LINEAR: Literal["all-linear"] = "all-linear"
"""As a target: every linear layer but the output layer, as PEFT means it."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters beside the linear layers of a model whose own weights stay.

    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685
    """

    rank: int = 16
    """Numbers that an adapter squeezes a vector into."""
    alpha: float = 32.0
    """What an adapter adds is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of an adapter's inputs dropped in training, from 0 to below 1."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead, which keeps large ranks learning: Kalajdzievski
    2023, https://arxiv.org/abs/2312.03732"""
    dora: bool = False
    """Learn the length of each row of a matrix apart from its direction: Liu et al. 2024,
    https://arxiv.org/abs/2402.09353"""
    targets: Literal["all-linear"] | tuple[str, ...] = ALL_LINEAR
    """Layers by name, as q_proj or layers.0.mlp.up_proj; all-linear is every one but the head."""

    @property
    def scale(self) -> float:
        """What the product of the two thin matrices is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def problems(self) -> list[str]:
        """What cannot be used, one sentence each."""
        found = []
        if self.rank < 1:
            found.append(f"lora.rank must be at least 1, got {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            found.append(f"lora.alpha must be a number above 0, got {self.alpha}")
        if not 0.0 <= self.dropout < 1.0:
            found.append(f"lora.dropout must be in [0, 1), got {self.dropout}")
        if not self.targets or not all(self.targets):
            found.append(f"lora.targets must name layers, or be {ALL_LINEAR}")
        return found
