"""An adapter over a matrix in 8 or 4 bits: QLoRA.

Numbers of 4 bits lie two in a byte here, and their scales in bfloat16, which holds them exactly:
0.625 bytes a weight. The matrix is made from them in each pass, one layer at a time.

Source: Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, whose 4-bit numbers stand closer
around zero (NF4); ours are evenly spaced between each group's least and greatest weight
"""

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from cloche.model.lora_config import LoraConfig
from cloche.model.lora_layer import LoraLinear, LowRank, thin_product
from cloche.model.quantized import Bits, QuantizedLinear, product_with


class QuantizedLoraLinear(LoraLinear):
    """Over numbers, scales and minima, which keep their names."""

    def __init__(self, layer: QuantizedLinear, config: LoraConfig) -> None:
        super().__init__(layer.in_features, layer.out_features, config, bias=layer.bias)
        self.numbers: Tensor
        self.scales: Tensor
        self.minima: Tensor | None
        self.paired = layer.minima is not None
        if layer.minima is None:
            self.register_buffer("numbers", layer.numbers)
            self.register_buffer("scales", layer.scales)
            self.register_buffer("minima", None)
        else:
            self.register_buffer("numbers", pair(layer.numbers))
            self.register_buffer("scales", layer.scales.bfloat16())
            self.register_buffer("minima", layer.minima.bfloat16())

    def base_matrix(self, dtype: torch.dtype) -> Float[Tensor, "outputs inputs"]:
        """The matrix as the numbers say, made anew; to the bit what `QuantizedLinear` makes."""
        numbers = unpair(self.numbers) if self.paired else self.numbers
        groups = self.scales.shape[1]
        grouped = numbers.float().unflatten(1, (groups, -1))
        grouped *= self.scales.float()[..., None]
        if self.minima is not None:
            grouped += self.minima.float()[..., None]
        return grouped.flatten(1)[:, : self.in_features].to(dtype)

    def product(
        self,
        vectors: Float[Tensor, "*batch inputs"],
        dropped: Float[Tensor, "*batch inputs"],
        low_rank: LowRank,
    ) -> Float[Tensor, "*batch outputs"]:
        """The product with the matrix, made in each pass, and the adapter's."""
        return product_with(vectors, self.base_matrix) + thin_product(dropped, low_rank)

    def plain(self) -> QuantizedLinear:
        """The layer as it was, to the bit."""
        layer = QuantizedLinear(torch.zeros(self.out_features, 0), self.bits)
        layer.in_features = self.in_features
        layer.numbers = unpair(self.numbers) if self.paired else self.numbers
        layer.scales = self.scales.float()
        layer.minima = None if self.minima is None else self.minima.float()
        layer.bias = self.bias
        return layer

    @property
    def bits(self) -> Bits:
        """int8 or int4."""
        return "int4" if self.paired else "int8"


def pair(numbers: UInt8[Tensor, "outputs padded"]) -> UInt8[Tensor, "outputs half"]:
    """Numbers below 16, two in a byte: the first of a pair in its lower half."""
    return numbers[:, 0::2] | (numbers[:, 1::2] << 4)


def unpair(
    pairs: UInt8[Tensor, "outputs half"] | Int8[Tensor, "outputs half"],
) -> UInt8[Tensor, "outputs padded"]:
    """What `pair` was given."""
    return torch.stack([pairs & 15, pairs >> 4], dim=-1).flatten(1)
