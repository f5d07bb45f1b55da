"""The weights that training starts from."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete


def started(options: ModelOptions) -> nn.Module:
    model = build_model(complete(options, vocab_size=300, layers=2, width=256, context=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))  # whatever is not set shows
    initialise(model, seed=0)
    return model


def test_every_weight_is_set_and_settled_by_the_seed(config):
    models = [build_model(config) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialise(model, seed=seed)
    first, same, other = (torch.cat([p.flatten() for p in m.parameters()]) for m in models)
    assert torch.equal(first, same)
    assert config.family == "bigram" or not torch.equal(first, other)


def test_the_global_random_numbers_are_left_alone(decoder_config):
    model = build_model(decoder_config)
    before = torch.get_rng_state()
    initialise(model, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def spread(model: nn.Module, name: str) -> float:
    return model.get_parameter(name).std().item()


def test_the_default_family_starts_with_no_guess_and_idle_blocks():
    model = started(ModelOptions())
    assert spread(model, "embed_tokens.weight") == pytest.approx(1.0, rel=0.05)
    for matrix in ("self_attn.q_proj", "mlp.up_proj", "mlp.gate_proj"):
        assert spread(model, f"layers.1.{matrix}.weight") == pytest.approx(1 / 16, rel=0.05)
    for matrix in ("self_attn.o_proj", "mlp.down_proj"):
        assert not model.get_parameter(f"layers.1.{matrix}.weight").any()
    assert not model(torch.randint(300, (1, 16))).any()
    assert (model.get_parameter("norm.weight") == 1).all()


def test_a_tied_embedding_starts_small_because_it_is_the_head():
    model = started(ModelOptions(tied=True))
    assert model.get_submodule("lm_head").weight is model.get_parameter("embed_tokens.weight")
    assert spread(model, "embed_tokens.weight") == pytest.approx(0.02, rel=0.05)


def test_the_gpt_starts_as_the_textbooks_do():
    model = started(ModelOptions(family="gpt"))
    for matrix in ("embed_tokens", "embed_positions", "lm_head"):
        assert spread(model, f"{matrix}.weight") == pytest.approx(0.02, rel=0.05)
    assert spread(model, "layers.0.mlp.down_proj.weight") == pytest.approx(0.02 / 2, rel=0.05)
    assert not model.get_parameter("layers.0.mlp.down_proj.bias").any()


def test_experts_and_their_router_start_as_other_matrices():
    model = started(ModelOptions(family="moe", experts=4))
    for matrix in ("gate", "experts.3.up_proj", "experts.0.gate_proj"):
        assert spread(model, f"layers.1.mlp.{matrix}.weight") == pytest.approx(1 / 16, rel=0.1)
    for expert in range(4):
        assert not model.get_parameter(f"layers.0.mlp.experts.{expert}.down_proj.weight").any()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_decoder_family_starts_with_almost_no_guess(family):
    model = started(ModelOptions(family=family))
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    losses = torch.nn.functional.cross_entropy(
        model(torch.randint(300, (1, 16)))[0], torch.randint(300, (16,))
    )
    assert losses.item() == pytest.approx(torch.tensor(300.0).log().item(), abs=0.3)


@pytest.mark.parametrize("family", ["qwen3", "moe", "llama", "gpt", "gpt2", "bigram"])
def test_a_started_model_can_overfit_one_batch(family):
    torch.manual_seed(0)
    config = complete(ModelOptions(family=family), vocab_size=17, layers=2, width=32, context=8)
    model = build_model(replace(config, dropout=0.0))
    initialise(model, seed=0)
    row = torch.randperm(17)[:9][None]  # each token has one successor, as a bigram needs
    # a table alone stands longer steps than what has blocks
    rate = 0.03 if family == "bigram" else 0.01
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(row[:, :-1])[0], row[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(17.0).log().item(), abs=0.3)
    assert losses[-1] < losses[0] / 3
