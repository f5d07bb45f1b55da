"""Bytes that a token reads, counted by hand."""

import pytest
import torch
from torch import nn

from cloche.bench.generating_weights import bytes_read_per_token
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.model.quantized import quantize
from cloche.planning.flops import parameter_count


def config_of(**options) -> ModelConfig:
    given = ModelOptions(heads=2, **options)
    return complete(given, vocab_size=96, layers=2, width=64, context=16)


def test_a_tied_table_counts_whole_and_once():
    config = config_of(family="llama", tied=True)
    assert bytes_read_per_token(build_model(config)) == 4 * parameter_count(config)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_of_a_table_that_is_no_head_one_row_is_read(dtype, size):
    config = config_of(family="llama", tied=False)
    model = build_model(config).to(dtype)
    unread = (96 - 1) * 64
    assert bytes_read_per_token(model) == size * (parameter_count(config) - unread)


def test_of_learned_positions_one_row_is_read():
    config = config_of(family="gpt2")
    unread = (16 - 1) * 64
    assert bytes_read_per_token(build_model(config)) == 4 * (parameter_count(config) - unread)


def test_of_experts_those_in_use_are_read():
    config = config_of(family="moe", experts=4, experts_used=1, tied=True)
    model = build_model(config)
    experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    assert experts
    read = bytes_read_per_token(model, expert_share=1 / 4)
    assert read == 4 * (parameter_count(config) - experts * 3 // 4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_rounded_weights_count_as_they_are_read(bits, tied):
    model = build_model(config_of(family="llama", tied=tied, mlp_width=128))
    layers = [m for m in model.layers.modules() if isinstance(m, nn.Linear)]  # pyright: ignore
    numbers = sum(layer.weight.numel() for layer in layers)
    norms = 4 * 64 * (2 * 2 + 1)
    head = 96 * 64 + 4 * 96  # one group a row
    table = 0 if tied else 64 + 4
    quantize(model, bits)
    matrices = numbers + 4 * numbers // 64 if bits == "int8" else numbers // 2 + 4 * numbers // 32
    assert bytes_read_per_token(model) == matrices + head + table + norms


def test_a_shared_tensor_of_plain_layers_counts_once():
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    assert bytes_read_per_token(nn.Sequential(first, second)) == 4 * 16
