"""A decoder's matrices laid out as the kernels read them: see products.hpp."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cloche.model.quantized import INT4_GROUP, INT8_GROUP, QuantizedEmbedding, QuantizedLinear

LANES = 16


class Kind(IntEnum):
    """How weights are kept; the numbers are those of products.hpp."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    INT4 = 3


GROUPS = {Kind.FLOAT32: LANES, Kind.BFLOAT16: LANES, Kind.INT8: INT8_GROUP, Kind.INT4: INT4_GROUP}
"""Inputs are padded to a multiple of this."""


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """A matrix in tiles of 16 outputs, padded with zeros to whole tiles and groups."""

    weights: Tensor
    scales: Tensor | None
    bias: Float[Tensor, " padded_outputs"] | None
    tiles: int
    inputs: int
    """Padded."""
    kind: Kind

    @property
    def bytes(self) -> int:
        """How much is read for a product."""
        parts = (self.weights, self.scales, self.bias)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)


Source = nn.Linear | QuantizedLinear | nn.Embedding | QuantizedEmbedding


def pack_stacked(layers: Sequence[Source]) -> PackedMatrix:
    """Several matrices of the same inputs as one, their outputs one below the other."""
    return _pack([_Rows.of(layer) for layer in layers])


def pack_interleaved(first: Source, second: Source) -> PackedMatrix:
    """Two matrices of the same shape as one: a tile of the first, a tile of the second, ..."""
    rows = [_Rows.of(layer).padded() for layer in (first, second)]
    return _pack([_Rows(*(_in_turn(*parts) for parts in zip(*rows, strict=True)))])  # pyright: ignore


class _Rows(tuple):
    """Numbers (outputs, inputs), scales and minima (outputs, groups), bias (outputs,)."""

    def __new__(
        cls,
        numbers: Tensor,
        scales: Tensor | None,
        minima: Tensor | None,
        bias: Tensor | None,
    ) -> "_Rows":
        return super().__new__(cls, (numbers, scales, minima, bias))

    @classmethod
    def of(cls, layer: Source) -> "_Rows":
        """What a layer holds."""
        if isinstance(layer, QuantizedEmbedding):
            layer = layer.table
        bias = getattr(layer, "bias", None)
        bias = None if bias is None else bias.detach().float()
        if isinstance(layer, QuantizedLinear):
            return cls(layer.numbers, layer.scales, layer.minima, bias)
        return cls(layer.weight.detach(), None, None, bias)

    def padded(self) -> "_Rows":
        """The same with whole tiles of outputs."""
        numbers, *others = self
        padded = (None if part is None else _with_whole_tiles(part) for part in others)
        return _Rows(_with_whole_tiles(numbers), *padded)


def _with_whole_tiles(part: Tensor) -> Tensor:
    missing = -part.shape[0] % LANES
    return functional.pad(part, (0, missing) if part.dim() == 1 else (0, 0, 0, missing))


def _in_turn(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        assert first is None
        assert second is None
        return None
    tiles = [part.unflatten(0, (-1, LANES)) for part in (first, second)]
    return torch.stack(tiles, dim=1).flatten(0, 2)


def _pack(rows: Sequence[_Rows]) -> PackedMatrix:
    numbers, scales, minima, bias = (_below_one_another(parts) for parts in zip(*rows, strict=True))
    assert numbers is not None
    if scales is None:
        kind = Kind.BFLOAT16 if numbers.dtype == torch.bfloat16 else Kind.FLOAT32
        numbers = numbers if kind == Kind.BFLOAT16 else numbers.float()
    else:
        kind = Kind.INT8 if minima is None else Kind.INT4
    padding = (0, -numbers.shape[1] % GROUPS[kind])
    whole = functional.pad(_with_whole_tiles(numbers), padding)
    tiles, inputs = whole.shape[0] // LANES, whole.shape[1]
    return PackedMatrix(
        _tiled(whole, kind),
        _tiled_scales(scales, minima),
        None if bias is None else _with_whole_tiles(bias).contiguous(),
        tiles,
        inputs,
        kind,
    )


def _below_one_another(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    if not present:
        return None
    assert len(present) == len(parts), "either all of them have it or none"
    return present[0] if len(present) == 1 else torch.cat(present)


def _tiled(numbers: Tensor, kind: Kind) -> Tensor:
    """(outputs, inputs) to (tiles, inputs, 16), pairs of inputs side by side where they share a
    word (bfloat16) or a byte (int4)."""
    tiles = numbers.unflatten(0, (-1, LANES))
    if kind in (Kind.FLOAT32, Kind.INT8):
        return tiles.transpose(1, 2).contiguous()
    pairs = tiles.unflatten(2, (-1, 2)).transpose(1, 2)  # (tiles, pairs, 16, 2)
    if kind == Kind.BFLOAT16:
        return pairs.contiguous()
    return (pairs[..., 0] | pairs[..., 1] << 4).contiguous()


def _tiled_scales(scales: Tensor | None, minima: Tensor | None) -> Tensor | None:
    """(outputs, groups) to (tiles, groups, 16): float32, or bfloat16 pairs of scale and minimum."""
    if scales is None:
        return None
    if minima is None:
        both = _with_whole_tiles(scales.float())
        return both.unflatten(0, (-1, LANES)).transpose(1, 2).contiguous()
    parts = [_with_whole_tiles(part).unflatten(0, (-1, LANES)) for part in (scales, minima)]
    pairs = torch.stack([part.transpose(1, 2) for part in parts], dim=-1)
    return pairs.bfloat16().contiguous()
