"""How far the weights of one model lie from those of another, matrix by matrix."""

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cloche.lens.view import Table

LAYER = re.compile(r"^(?:.*\.)?layers\.(\d+)\.(.+)$")
EXPERT = re.compile(r"\bexperts\.\d+\b")
ROUNDED = ".numbers"
"""The end of the name under which a matrix in 8 or 4 bits lies."""


@dataclass(frozen=True, eq=False)
class WeightChanges:
    """||W2 - W1|| / ||W1|| (Euclidean norms) of every weight that both models have.

    Of a matrix with more rows in one of them, as an embedding has for added tokens, the shared
    rows. All experts of a layer are one. Infinite where zeros have become something.
    """

    kinds: list[str]
    """Such as self_attn.q_proj: the columns of `by_layer`."""
    by_layer: Table
    """(layer, kind); not-a-number where a layer has no weight of this kind."""
    outside: dict[str, float]
    """The same for what lies outside of the layers, by name."""
    apart: list[str]
    """Weights that cannot be compared: of one model only, of other shapes, or rounded to bits."""


@torch.no_grad()
def weight_changes(first: nn.Module, second: nn.Module) -> WeightChanges:
    """The changes from the first model's weights to the second's."""
    one, other = _weights(first), _weights(second)
    squares: dict[tuple[int, str], tuple[float, float]] = {}
    outside: dict[str, tuple[float, float]] = {}
    apart = sorted(one.keys() ^ other.keys())
    for name in (name for name in one if name in other):
        found = _squares(one[name], other[name])
        if found is None:
            apart.append(name)
        elif place := LAYER.match(name):
            key = int(place[1]), EXPERT.sub("experts", place[2]).removesuffix(".weight")
            change, size = squares.get(key, (0.0, 0.0))
            squares[key] = change + found[0], size + found[1]
        else:
            outside[name.removesuffix(".weight")] = found
    kinds = list(dict.fromkeys(kind for _, kind in squares))
    layers = 1 + max((layer for layer, _ in squares), default=-1)
    table = np.full((layers, len(kinds)), np.nan)
    for (layer, kind), found in squares.items():
        table[layer, kinds.index(kind)] = _ratio(*found)
    return WeightChanges(
        kinds,
        Table(table, ("layer", "kind")),
        {name: _ratio(*found) for name, found in outside.items()},
        apart,
    )


def _weights(model: nn.Module) -> dict[str, Tensor | None]:
    """The weights by name; None for what is kept in bits."""
    found: dict[str, Tensor | None] = dict(model.named_parameters())
    for name, _ in model.named_buffers():
        if name.endswith(ROUNDED):
            found[name.removesuffix(ROUNDED) + ".weight"] = None
    return found


def _squares(one: Tensor | None, other: Tensor | None) -> tuple[float, float] | None:
    """The squared norms of the change and of the first; None where they cannot be compared."""
    if one is None or other is None or one.ndim != other.ndim or one.shape[1:] != other.shape[1:]:
        return None
    if one.ndim == 1 and one.shape != other.shape:
        return None
    rows = min(len(one), len(other)) if one.ndim else None
    old, new = (
        each.detach()[:rows].float().cpu() if rows else each.float() for each in (one, other)
    )
    return float((new - old).norm()) ** 2, float(old.norm()) ** 2


def _ratio(change: float, size: float) -> float:
    if size == 0.0:
        return 0.0 if change == 0.0 else math.inf
    return math.sqrt(change / size)
