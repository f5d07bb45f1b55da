"""Positions: published values, and the properties they are used for."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cloche.model.positions import rotary_of, rotary_tables, rotate, sinusoidal_positions
from cloche.model.rope import RopeScaling, ntk_theta


def test_sinusoidal_positions_have_the_published_values():
    table = sinusoidal_positions(torch.arange(16)[None], 64)[0]
    first_row = [0.841471, 0.540302, 0.681561, 0.731761, 0.533168, 0.846009, 0.409309, 0.912396]
    torch.testing.assert_close(table[1, :8], torch.tensor(first_row), atol=1e-6, rtol=0)
    assert table[0].tolist() == [0.0, 1.0] * 32
    last = torch.tensor([0.000422, 1.0, 0.000316, 1.0])
    torch.testing.assert_close(table[1, 54:58], last, atol=1e-6, rtol=0)


def test_sinusoidal_positions_of_an_odd_width_end_with_a_sine():
    assert sinusoidal_positions(torch.arange(4)[None], 5).shape == (1, 4, 5)


def test_rotation_keeps_lengths_and_depends_on_distance_only():
    queries, keys = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))

    def match(query_at: int, key_at: int) -> torch.Tensor:
        turned = []
        for vectors, position in ((queries, query_at), (keys, key_at)):
            tables = rotary_tables(torch.tensor([[position]]), 8, theta=10_000.0)
            turned.append(rotate(vectors, *tables))
        torch.testing.assert_close(turned[0].norm(), queries.norm())
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(match(9, 4), match(105, 100), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(match(9, 4), match(9, 5), atol=1e-3)


def test_rotation_at_the_start_changes_nothing():
    vectors = torch.randn(1, 2, 1, 8)
    assert torch.equal(
        rotate(vectors, *rotary_tables(torch.zeros(1, 1).long(), 8, theta=1e4)), vectors
    )


SCALINGS = {
    "linear": (RopeScaling("linear", 4.0, 64), {"factor": 4.0}),
    "llama3": (
        RopeScaling("llama3", 8.0, 64, low_frequency_factor=1.0, high_frequency_factor=3.0),
        {
            "factor": 8.0,
            "original_max_position_embeddings": 64,
            "low_freq_factor": 1.0,
            "high_freq_factor": 3.0,
        },
    ),
    "yarn": (
        RopeScaling("yarn", 4.0, 512, beta_fast=16.0),
        {"factor": 4.0, "original_max_position_embeddings": 512, "beta_fast": 16.0},
    ),
    "yarn with its own factor": (
        RopeScaling("yarn", 4.0, 40, attention_factor=1.3),
        {"factor": 4.0, "original_max_position_embeddings": 40, "attention_factor": 1.3},
    ),
    "yarn whose ramp has no length": (
        RopeScaling("yarn", 1.0, 2, beta_fast=32.0),
        {"factor": 1.0, "original_max_position_embeddings": 2},
    ),
}


def reference_frequencies(kind: str, parameters: dict, **keywords) -> tuple[torch.Tensor, float]:
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=4,
        max_position_embeddings=64,
        rope_parameters={"rope_type": kind, "rope_theta": 10_000.0, **parameters},
    )
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), **keywords)


@pytest.mark.parametrize(("scaling", "parameters"), SCALINGS.values(), ids=SCALINGS)
def test_stretched_rotations_are_those_of_transformers(scaling, parameters):
    frequencies, sharpening = reference_frequencies(scaling.kind, parameters)
    positions = torch.tensor([[0, 1, 7, 63, 200]])
    cosines, sines = rotary_tables(positions, 16, theta=10_000.0, scaling=scaling)
    angles = (positions[..., None] * frequencies)[:, None]
    torch.testing.assert_close(cosines, angles.cos() * sharpening, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sines, angles.sin() * sharpening, rtol=1e-5, atol=1e-5)
    unstretched, _ = rotary_tables(positions, 16, theta=10_000.0)
    assert scaling.factor == 1.0 or not torch.allclose(cosines, unstretched, atol=0.1)


@pytest.mark.parametrize("dynamic_factor", [1.0, 2.0])
def test_the_stretched_base_is_that_of_transformers_at_the_stretched_length(dynamic_factor):
    stretch = 4.0
    length = round(64 * (stretch + dynamic_factor - 1) / dynamic_factor)
    frequencies, _ = reference_frequencies("dynamic", {"factor": dynamic_factor}, seq_len=length)
    theta = ntk_theta(10_000.0, stretch, head_dim=16)
    mine = 1.0 / theta ** (torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(mine, frequencies)
    assert mine[-1] * stretch == pytest.approx(10_000.0 ** (-14 / 16), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rotation_of_a_model_is_that_of_its_description(tiny_qwen3, dtype):
    scaling = RopeScaling("yarn", 4.0, 8)
    config = replace(tiny_qwen3, rope_theta=500.0, rope_scaling=scaling)
    positions = torch.tensor([[0, 3, 9]])
    made = rotary_of(config, positions, dtype=dtype)
    exact = rotary_tables(positions, config.head_dim, theta=500.0, scaling=scaling)
    assert made is not None
    for mine, expected in zip(made, exact, strict=True):
        assert torch.equal(mine, expected.to(dtype))
    assert rotary_of(replace(config, positions="learned"), positions, dtype=dtype) is None
