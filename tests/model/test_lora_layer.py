"""Single layers with adapters, at the edges of what numbers do."""

import torch

from cloche.model.lora_config import LoraConfig
from cloche.model.lora_layer import DenseLoraLinear, LowRank, linear_layer
from cloche.model.lora_quantized import pair, unpair


def test_numbers_of_four_bits_lie_two_in_a_byte():
    numbers = torch.randint(0, 16, (5, 64), dtype=torch.uint8)
    assert pair(numbers).shape == (5, 32)
    assert torch.equal(unpair(pair(numbers)), numbers)


def test_a_row_of_zeros_has_no_direction_and_gives_no_nan():
    layer = linear_layer(torch.zeros(4, 6), None)
    wrapped = DenseLoraLinear(layer, LoraConfig(rank=2, dora=True))
    wrapped.draw(seed=0, name="x")
    assert torch.equal(wrapped(torch.randn(3, 6)), torch.zeros(3, 4))
    merged = wrapped.low_rank.adapted(layer.weight)
    assert torch.equal(merged, torch.zeros(4, 6))
    assert isinstance(wrapped.low_rank, LowRank)
