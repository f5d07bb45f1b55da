"""Matrices in 8 and 4 bits are as near to the weights as their numbers allow."""

from typing import Any

import pytest
import torch
from torch import nn

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.model.quantized import (
    INT4_GROUP,
    INT8_GROUP,
    QuantizedEmbedding,
    QuantizedLinear,
    quantize,
)

EACH: dict[str, Any] = {"vocab_size": 90, "layers": 2, "width": 48, "context": 16}


def tiny(**options) -> Decoder:
    torch.manual_seed(0)
    model = build_model(complete(ModelOptions(heads=4, **options), **EACH))
    assert isinstance(model, Decoder)
    return model.eval()


def test_int8_is_within_half_a_step_of_every_weight():
    weights = torch.randn(5, 100) * torch.logspace(-3, 3, 5)[:, None]
    rounded = QuantizedLinear(weights, "int8")
    step = rounded.scales.repeat_interleave(INT8_GROUP, dim=1)[:, :100]
    assert ((rounded.matrix() - weights).abs() <= 0.5001 * step).all()
    assert rounded.numbers.dtype == torch.int8


def test_int4_leaves_no_more_squared_error_than_rounding_between_the_extremes():
    weights = torch.randn(40, 96) ** 3
    rounded = QuantizedLinear(weights, "int4")
    error = (rounded.matrix() - weights).square().sum()
    grouped = weights.unflatten(1, (-1, INT4_GROUP))
    low, high = grouped.amin(-1, keepdim=True), grouped.amax(-1, keepdim=True)
    step = (high - low) / 15
    plain = ((grouped - low) / step).round() * step + low
    assert error <= 1.02 * (plain - grouped).square().sum()  # scales are bfloat16
    assert int(rounded.numbers.max()) <= 15


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_weights_that_are_all_alike_stay_so(bits, value):
    weights = torch.full((3, 64), value)
    torch.testing.assert_close(QuantizedLinear(weights, bits).matrix(), weights, rtol=0.01, atol=0)


def test_a_grid_of_sixteen_numbers_stays_as_it_is():
    numbers = torch.randint(0, 16, (6, 64))
    numbers[:, 0::INT4_GROUP], numbers[:, 1::INT4_GROUP] = 0, 15
    weights = numbers * 0.25 - 2.0
    torch.testing.assert_close(QuantizedLinear(weights, "int4").matrix(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_rounded_model_says_nearly_the_same(bits, tied):
    model = tiny(tied=tied)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = model(ids)
        quantize(model, bits)
        found = model(ids)
    error = float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    assert error < (0.02 if bits == "int8" else 0.3)
    assert isinstance(model.embed_tokens, QuantizedEmbedding)
    assert isinstance(model.lm_head, QuantizedLinear)
    assert (model.lm_head.numbers is model.embed_tokens.table.numbers) == tied
    assert not [layer for layer in model.modules() if type(layer) is nn.Linear]


def test_a_mixtures_router_stays_exact():
    model = tiny(family="moe")
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = model(ids)
        quantize(model, "int8")
        error = (model(ids) - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 0.05
    assert [layer for layer in model.modules() if type(layer) is nn.Linear]


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_a_rounded_model_computes_in_the_dtype_that_it_is_moved_to(bits):
    model = tiny(tied=True)
    quantize(model, bits)
    assert not [name for name in model.state_dict() if "sample" in name]
    with torch.no_grad():
        expected = model(torch.arange(12)[None])
        found = model.to(torch.bfloat16)(torch.arange(12)[None])
    assert found.dtype == torch.bfloat16
    scale = float(expected.square().mean().sqrt())
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1 * scale)
