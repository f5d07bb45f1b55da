"""Tiny models with every weight drawn at random, so that no branch is silent."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete
from cloche.model.rope import RopeScaling

TINY_QWEN3 = ModelConfig(
    family="qwen3",
    vocab_size=29,
    context=32,
    width=24,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_width=40,
)
TINY_GPT = complete(
    ModelOptions(family="gpt", heads=3), vocab_size=29, layers=3, width=24, context=32
)
TINY_BIGRAM = complete(ModelOptions(family="bigram"), vocab_size=29, layers=1, width=8, context=32)
CONFIGS = {
    "qwen3": TINY_QWEN3,
    "qwen3-tied": replace(TINY_QWEN3, tied=True, kv_heads=4),
    "gpt": TINY_GPT,
    "gpt-sinusoidal": replace(TINY_GPT, positions="sinusoidal", activation="relu", head_bias=True),
    "qwen3-window": replace(TINY_QWEN3, window=3, full_layers=1),
    "llama-yarn": replace(
        TINY_QWEN3, family="llama", qk_norm=False, rope_scaling=RopeScaling("yarn", 4.0, 8)
    ),
    "qwen2": replace(TINY_QWEN3, family="llama", qk_norm=False, qkv_bias=True),
    "gpt2": replace(TINY_GPT, family="gpt2", qkv_bias=True, tied=True),
    "moe": replace(TINY_QWEN3, family="moe", experts=4, experts_used=2, balance=0.01),
    "bigram": TINY_BIGRAM,
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> ModelConfig:
    """Each kind of model in turn."""
    return CONFIGS[request.param]


@pytest.fixture(params=[name for name in CONFIGS if name != "bigram"])
def decoder_config(request: pytest.FixtureRequest) -> ModelConfig:
    """Each kind of model that looks at more than one token."""
    return CONFIGS[request.param]


@pytest.fixture
def tiny_qwen3() -> ModelConfig:
    """The default family, to be changed."""
    return TINY_QWEN3


@pytest.fixture
def random_model() -> Callable[[ModelConfig], nn.Module]:
    """Builds a model in evaluation mode, its weights and norms drawn with a fixed seed."""

    def build(config: ModelConfig) -> nn.Module:
        torch.manual_seed(7)
        model = build_model(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.uniform_(0.5, 1.5)
        return model

    return build
